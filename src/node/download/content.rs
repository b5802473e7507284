//! The download of one content: slot, partial file, transfer, check, place, publication.

use std::io::ErrorKind;
use std::sync::Arc;

use super::check::{self, Claim};
use super::error::{AttemptError, disk_error};
use super::file::announced_partial::AnnouncedPartial;
use super::file::disposition::disposition;
use super::file::place::NewFile;
use super::file::target::Target;
use super::ports;
use super::progress::DownloadEvents;
use super::resolve::ContentCandidates;
use super::task::DownloadTask;
use crate::node::context::Context;
use crate::node::report::{DownloadRequest, Outcome};
use crate::store::{Opened, Partial, Record};
use crate::transfer::{
    Driver, FetchedContent, HeldPieces, HolderSearch, LeftoverPieces, NativeConnector, Notices,
    PartialAnnouncer, PieceOffer, TransferConfig, TransferError, held_pieces, ranking,
};
use crate::types::{ContentKey, Geometry, Manifest, Md5Digest, Ranked};

/// The download of one of the contents that a name may mean.
pub(super) struct ContentDownload<'a> {
    task: &'a DownloadTask<'a>,
    target: &'a Target,
    candidates: &'a ContentCandidates,
    content: ContentKey,
    geometry: Geometry,
    config: TransferConfig,
}

/// The holders that the transfer begins with.
struct FirstSources {
    ranking: Vec<Ranked>,
    /// The pieces of the partial holders.
    held: HeldPieces,
}

/// A content whose pieces are all in the partial file. The whole-file MD5 is right if it was computed.
struct CheckedContent {
    fetched: FetchedContent,
    claims: Vec<Claim>,
    md5: Option<Md5Digest>,
}

impl<'a> ContentDownload<'a> {
    pub(super) fn new(
        task: &'a DownloadTask<'a>,
        target: &'a Target,
        candidates: &'a ContentCandidates,
    ) -> ContentDownload<'a> {
        let content = candidates.key;
        let (geometry, config) = (Geometry::of(content.size_bytes), ports::config(task.context));
        ContentDownload { task, target, candidates, content, geometry, config }
    }

    /// Runs the download to its end. `None`: the MD5 of the content is neither the requested one nor a
    /// claimed one, and nothing was placed.
    pub(super) fn run(self, events: &mut DownloadEvents<'_>) -> Result<Option<Outcome>, AttemptError> {
        let &DownloadTask { context, slots, request, cancel, .. } = self.task;
        let first = self.rank(events)?;
        let slot =
            slots.acquire(self.content, cancel, &mut || events.publish(|reporter, _| reporter.waiting()))?;
        if slot.has_waited && self.is_in_place()? {
            return Ok(Some(Outcome::AlreadyHere));
        }
        let _load = LoadGuard::new(context, self.content);
        let (mut partial, left) = self.open(events)?;
        let fetched = self.fetch(first, left, &mut partial, events);
        match fetched.and_then(|fetched| self.check_md5(&mut partial, fetched, events)) {
            Ok(Some(checked)) => self.place(partial, checked).map(Some),
            Ok(None) => {
                partial.discard();
                Ok(None)
            }
            Err(error) => {
                partial.dispose(disposition(&error, self.task.is_unattended()));
                Err(AttemptError::from_transfer(&request.name, error))
            }
        }
    }

    fn rank(&self, events: &mut DownloadEvents<'_>) -> Result<FirstSources, AttemptError> {
        let (content, live) = ((self.content, self.geometry), &self.candidates.live);
        let held = held_pieces(&self.config, content, live, self.task.cancel)?;
        let ranking = ranking(live, &held, self.config.load_weight);
        events.publish(|reporter, now| reporter.ranked(self.content, ranking.clone(), now));
        Ok(FirstSources { ranking, held })
    }

    /// Returns true if and only if another download has put the content in place meanwhile.
    fn is_in_place(&self) -> Result<bool, AttemptError> {
        let context = self.task.context;
        let own = self.target.find_own_file(context, self.task.cancel)?;
        Ok(own.is_some_and(|own| own.entry.key() == self.content && self.target.is_in_place(&own)))
    }

    fn open(
        &self,
        events: &mut DownloadEvents<'_>,
    ) -> Result<(AnnouncedPartial, LeftoverPieces), AttemptError> {
        let DownloadTask { context, request, .. } = self.task;
        let opened = Partial::open(&self.target.folder, self.content);
        let Opened { partial, marked, record } = opened.map_err(|error| disk_error(&request.name, &error))?;
        if !marked.is_empty() {
            let marked_bytes = marked.iter().filter_map(|piece| self.geometry.len_bytes(*piece)).sum();
            events.publish(|reporter, now| reporter.resumed(marked_bytes, now));
        }
        let shared_as = self.target.shared_as.as_ref().map(|(_, name)| name.clone());
        let md5 = self.candidates.claimed_md5();
        let offer = Arc::clone(context) as Arc<dyn PieceOffer>;
        let announcer = PartialAnnouncer::new(offer, shared_as, self.content, md5);
        let left = LeftoverPieces { marked, manifest: record.map(|record| record.manifest) };
        Ok((AnnouncedPartial::new(partial, announcer), left))
    }

    /// Fetches all pieces that the partial file lacks. The result also has the MD5 claims of all holders that
    /// were known in the beginning or found meanwhile.
    fn fetch(
        &self,
        first: FirstSources,
        left: LeftoverPieces,
        partial: &mut AnnouncedPartial,
        events: &mut DownloadEvents<'_>,
    ) -> Result<(FetchedContent, Vec<Claim>), TransferError> {
        let &DownloadTask { context, request, cancel, .. } = self.task;
        let candidates = &self.candidates.providers;
        let (file, announcer) = partial.file_and_announcer();
        let mut driver = Driver {
            config: self.config.clone(),
            connector: Arc::new(NativeConnector::new(self.config.clone(), self.content)),
            holders: Arc::clone(context) as Arc<dyn HolderSearch>,
            notices: Arc::clone(context) as Arc<dyn Notices>,
            name: request.name.clone(),
            content: self.content,
            geometry: self.geometry,
            partial: file,
            providers: candidates.iter().map(|one| (one.endpoint, one.clone())).collect(),
            cancel,
            reporter: &mut events.reporter,
            publish: &mut *events.publish,
            announcer,
            remember: &|manifest| file.write_record(&self.record(manifest)),
        };
        let fetched = driver.run(&first.ranking, first.held, left);
        let claims = check::claims(candidates.iter().chain(driver.providers.values()));
        // The driver has ended its threads: one that still runs does not get its bytes from the disk.
        if partial.is_in_use() {
            let why = "the disk does not answer: the partial file is still being read";
            return Err(TransferError::Read(std::io::Error::other(why)));
        }
        Ok((fetched?, claims))
    }

    /// What a restarted node needs to resume the download.
    fn record(&self, manifest: &Arc<Manifest>) -> Record {
        let DownloadRequest { name, checksum, verify_whole, force } = self.task.request.clone();
        Record { name, key: self.content, checksum, verify_whole, force, manifest: Arc::clone(manifest) }
    }

    /// Checks the whole-file MD5, if it has to be computed. `None`: it is wrong.
    fn check_md5(
        &self,
        partial: &mut AnnouncedPartial,
        (fetched, claims): (FetchedContent, Vec<Claim>),
        events: &mut DownloadEvents<'_>,
    ) -> Result<Option<CheckedContent>, TransferError> {
        let &DownloadTask { context, request, cancel, .. } = self.task;
        if !check::is_md5_needed(request, &fetched, &self.geometry) {
            return Ok(Some(CheckedContent { fetched, claims, md5: None }));
        }
        // One piece is hashed in no time: the user need not be told.
        if self.geometry.count() > Some(1) {
            events.publish(|reporter, _| reporter.hashing());
        }
        let md5 = partial.file_and_announcer().0.whole_md5(cancel).map_err(|error| match error.kind() {
            // The kind of a triggered stop, see `rt::interrupted`.
            ErrorKind::Interrupted => TransferError::Cancelled,
            _ => TransferError::Read(error),
        })?;
        check::warn_of_false_claims(context, &request.name, &claims, md5);
        Ok(check::is_right(request, &claims, md5).then_some(CheckedContent {
            fetched,
            claims,
            md5: Some(md5),
        }))
    }

    /// Puts the file in place and publishes it, if it is shared.
    fn place(&self, partial: AnnouncedPartial, checked: CheckedContent) -> Result<Outcome, AttemptError> {
        let (DownloadTask { context, request, cancel, .. }, target) = (self.task, self.target);
        let CheckedContent { fetched, claims, md5 } = checked;
        let placed = partial.place(&target.name, request.force);
        // The announcer lives to the end of this function: other nodes get pieces until the file is in the
        // catalog.
        let (placed, _announcer) = placed.map_err(|error| disk_error(&target.name, &error))?;
        if let Some((origin, name)) = &target.shared_as {
            let (fetched, claims) = (&fetched, claims.as_slice());
            let file = NewFile { origin: *origin, name, content: self.content, placed, fetched, md5, claims };
            file.publish(context, cancel);
        }
        let pieces = self.geometry.count().unwrap_or(0);
        Ok(Outcome::Fetched { md5, pieces, sources: fetched.sources })
    }
}

/// Makes a download count in the node's load while it lives.
struct LoadGuard<'a> {
    context: &'a Context,
    content: ContentKey,
}

impl<'a> LoadGuard<'a> {
    fn new(context: &'a Context, content: ContentKey) -> LoadGuard<'a> {
        context.state.load_counter.lock().download_began(content);
        LoadGuard { context, content }
    }
}

impl Drop for LoadGuard<'_> {
    fn drop(&mut self) {
        self.context.state.load_counter.lock().download_ended(self.content);
    }
}
