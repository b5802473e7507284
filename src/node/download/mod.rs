//! One download, from a name to a file in place: choose the content, fetch it, verify it, place it, offer it.
//!
//! Nothing appears under the name before every byte is verified and durable, and nothing of the user's is
//! touched without `force`.

mod buffers;
mod fetch;
#[cfg(test)]
mod layouts;
mod offering;
mod peer;
mod piece_list;
mod progress;
mod refresh;
mod report;
mod resolve;
mod search;
mod slots;
mod source;
mod sources;
mod target;
mod verifier;

use std::net::SocketAddr;
use std::sync::Arc;

use fetch::{Fetch, FetchError, Fetched, LeftoverPieces};
use offering::PartialAnnouncer;
use progress::reported;
use resolve::ContentCandidates;
use slots::DownloadSlots;
use target::Target;

use super::context::Context;
use super::error::{CommandError, DownloadError};
use super::index::catalog::SharedFile;
use super::report::{Attempt, DownloadRequest, Downloaded, Outcome, Progress};
use crate::logic::transfer::SourceFailure;
use crate::proto::event::DownloadEvent;
use crate::rt::{Stop, clock};
use crate::store::{Opened, Partial, PartialError, Placed};
use crate::types::{
    Checksum, ContentKey, FileEntry, FileName, FileOrigin, Geometry, Holding, Manifest, Md5Digest, Md5Origin,
    Provider, ReplicaTask, limits,
};

/// A download as it was asked for, or as one that was broken off is gone on with.
struct DownloadTask<'a> {
    context: &'a Arc<Context>,
    slots: &'a DownloadSlots,
    request: &'a DownloadRequest,
    /// What it is here afterwards.
    kind: FileOrigin,
    /// Gone on with: this content and no other that the name may mean by now.
    only: Option<ContentKey>,
    cancel: &'a Stop,
}

/// Runs the downloads of one node.
#[derive(Debug)]
pub(super) struct Downloader {
    context: Arc<Context>,
    slots: DownloadSlots,
}

impl Downloader {
    pub(super) fn new(context: Arc<Context>) -> Downloader {
        Downloader { context, slots: DownloadSlots::default() }
    }

    pub(super) fn context(&self) -> &Arc<Context> {
        &self.context
    }

    /// Runs a download to its end. A name that comes to mean another content meanwhile is begun anew, as
    /// often as rounds are tried again.
    pub(super) fn download(
        &self,
        request: &DownloadRequest,
        cancel: &Stop,
        progress: &mut dyn FnMut(DownloadEvent),
    ) -> Result<Downloaded, DownloadError> {
        let progress = &mut reported(&request.name, progress);
        let job = self.task(request, FileOrigin::Downloaded, None, cancel);
        for _ in 0..self.context.peers.retries {
            match attempt(&job, progress) {
                Err(Failed::Replaced(_)) => {
                    let text =
                        format!("`{}` has other content at its holders now: beginning anew", request.name);
                    self.context.notices.warn(text);
                }
                Err(Failed::For(error)) => return Err(error),
                Ok(downloaded) => return Ok(downloaded),
            }
        }
        attempt(&job, progress).map_err(Failed::into_error)
    }

    /// Goes on with a download of `content` that was broken off. Its part stays wanted if sources are all
    /// that is missing.
    pub(super) fn resume(
        &self,
        request: &DownloadRequest,
        content: ContentKey,
        cancel: &Stop,
        progress: &mut dyn FnMut(DownloadEvent),
    ) -> Result<Downloaded, DownloadError> {
        let progress = &mut reported(&request.name, progress);
        let job = self.task(request, FileOrigin::Downloaded, Some(content), cancel);
        attempt(&job, progress).map_err(Failed::into_error)
    }

    /// Fetches a content that is kept for others, in one try: whoever has asked for it asks again. What was
    /// fetched stays for that.
    pub(super) fn keep_replica(&self, task: &ReplicaTask, cancel: &Stop) -> Result<Outcome, DownloadError> {
        let name = task.name.clone();
        let request = DownloadRequest { name, checksum: None, verify_whole: false, force: false };
        let job = self.task(&request, FileOrigin::Replicated, Some(task.content), cancel);
        attempt(&job, &mut |_| {}).map(|done| done.outcome).map_err(Failed::into_error)
    }

    fn task<'a>(
        &'a self,
        request: &'a DownloadRequest,
        kind: FileOrigin,
        only: Option<ContentKey>,
        cancel: &'a Stop,
    ) -> DownloadTask<'a> {
        let Downloader { context, slots } = self;
        DownloadTask { context, slots, request, kind, only, cancel }
    }
}

/// Why one attempt has failed.
enum Failed {
    For(DownloadError),
    /// The content chosen is gone and the name means another one; the error is the one to give if that is the
    /// end.
    Replaced(DownloadError),
}

impl Failed {
    fn into_error(self) -> DownloadError {
        match self {
            Failed::For(error) | Failed::Replaced(error) => error,
        }
    }
}

impl<E: Into<DownloadError>> From<E> for Failed {
    fn from(error: E) -> Failed {
        Failed::For(error.into())
    }
}

fn attempt(job: &DownloadTask<'_>, progress: &mut dyn FnMut(Progress)) -> Result<Downloaded, Failed> {
    let &DownloadTask { context, request, cancel, .. } = job;
    let target = Target::of(context, job.kind, &request.name)?;
    let own = target.own(context, cancel)?;
    let contents =
        match ContentCandidates::find(context, request, job.only, own.as_deref(), cancel, progress)? {
            resolve::SearchOutcome::AlreadyHere(key) => {
                if let Some(replica) = own.filter(|own| !target.is_in_place(context, own)) {
                    target.take_over(context, &replica)?;
                }
                return Ok(Downloaded { name: request.name.clone(), key, outcome: Outcome::AlreadyHere });
            }
            resolve::SearchOutcome::Contents(contents) => contents,
        };
    target.refuse_to_overwrite(context, request.force)?;
    let mut failed = None;
    for candidates in contents {
        let key = candidates.key;
        match one_content(job, &target, &candidates, progress) {
            Ok(Some(outcome)) => return Ok(Downloaded { name: request.name.clone(), key, outcome }),
            Ok(None) => {}
            // The holders of another content that claims the same MD5 may be better.
            Err(error @ Failed::For(DownloadError::AllFailed { .. })) => failed = Some(error),
            Err(error) => return Err(error),
        }
    }
    if let Some(error) = failed {
        return Err(error);
    }
    let checksum =
        request.checksum.map_or_else(|| "the md5 published for it".into(), |checksum| checksum.to_string());
    Err(DownloadError::Checksum { name: request.name.clone(), checksum }.into())
}

fn standing_error(name: &FileName, error: &std::io::Error) -> DownloadError {
    DownloadError::Disk { name: name.clone(), why: error.to_string() }
}

/// Counts as a download in the node's load while it lives.
struct Counted<'a> {
    context: &'a Context,
    content: ContentKey,
}

impl<'a> Counted<'a> {
    fn new(context: &'a Context, content: ContentKey) -> Counted<'a> {
        context.state.ledger.lock().download_began(content);
        Counted { context, content }
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.context.state.ledger.lock().download_ended(self.content);
    }
}

/// Fetches and places one content. `None`: its MD5 is not the one asked for, or matches nobody's claim;
/// nothing was placed.
fn one_content(
    job: &DownloadTask<'_>,
    target: &Target,
    candidates: &ContentCandidates,
    progress: &mut dyn FnMut(Progress),
) -> Result<Option<Outcome>, Failed> {
    let &DownloadTask { context, request, cancel, .. } = job;
    let name = &request.name;
    let content = candidates.key;
    let parts = search::parts(context, content, &candidates.live, cancel)?;
    let ranking = search::ranking(context, &candidates.live, &parts);
    progress(Progress::Ranked { key: content, ranking: ranking.clone() });

    let turn = job.slots.take(content, cancel, &mut || progress(Progress::Waiting))?;
    if turn.has_waited
        && target
            .own(context, cancel)?
            .is_some_and(|own| own.entry.key() == content && target.is_in_place(context, &own))
    {
        return Ok(Some(Outcome::AlreadyHere));
    }
    let counted = Counted::new(context, content);
    let Opened { part, marked, record } =
        Partial::open(&target.folder, content).map_err(|error| disk_error(name, &error))?;
    let geometry = Geometry::of(content.size_bytes);
    if !marked.is_empty() {
        let marked_bytes = marked.iter().filter_map(|piece| geometry.len_bytes(*piece)).sum();
        progress(Progress::Resumed { marked_bytes });
    }
    let left = LeftoverPieces { marked, manifest: record.map(|record| record.manifest) };
    let providers =
        candidates.providers.iter().map(|provider| (provider.endpoint, provider.clone())).collect();
    let part = Arc::new(part);
    // Lives until the file is in the catalog, so that there is always something to serve its pieces from; but
    // no longer than a part that comes to nothing: what is being sent of it then is all that keeps it on the
    // disk.
    let shared_as = target.shared_as.as_ref().map(|(_, name)| name.clone());
    let mut offering = PartialAnnouncer::new(context, shared_as, content, candidates.claimed_md5());
    let offered = &mut offering;
    let mut fetch =
        Fetch { context, request, content, part: &part, providers, cancel, progress, offering: offered };
    let fetched = fetch.run(&ranking, parts, left);
    let claims = claims(candidates.providers.iter().chain(fetch.providers.values()));
    let part = Arc::into_inner(part).ok_or_else(|| {
        let why = "the disk does not answer: the part is still being read".into();
        DownloadError::Disk { name: name.clone(), why }
    })?;
    let fetched = match fetched {
        Ok(fetched) => fetched,
        Err(error) => {
            drop(offering);
            match &error {
                FetchError::Cancelled => part.keep(),
                // Sources may come, or room.
                FetchError::AllFailed(_) | FetchError::Disk(PartialError::NoSpace { .. })
                    if job.only.is_some() =>
                {
                    part.keep();
                }
                // Nobody has this content any more.
                FetchError::Replaced(_) => discard(part),
                _ => part.set_aside(),
            }
            return Err(fetch_error(name, error));
        }
    };
    let md5 = match whole_md5(request, &fetched, &part, content, &claims, cancel, progress) {
        Ok(Verdict::Right(md5)) => md5,
        Ok(Verdict::Wrong(md5)) => {
            drop(offering);
            name_liars(context, name, &claims, md5);
            discard(part);
            return Ok(None);
        }
        Err(error) => {
            drop(offering);
            match error {
                DownloadError::Command(CommandError::Cancelled) => part.keep(),
                _ => part.set_aside(),
            }
            return Err(error.into());
        }
    };
    if let Some(md5) = md5 {
        name_liars(context, name, &claims, md5);
    }
    part.mark();
    let placed = match part.place(&target.name, request.force) {
        Ok(placed) => placed,
        Err((part, error)) => {
            drop(offering);
            part.set_aside();
            return Err(disk_error(&target.name, &error).into());
        }
    };
    if let Some(shared_as) = &target.shared_as {
        offer(context, shared_as, content, &fetched, md5, &claims, &placed, cancel);
    }
    drop((counted, offering));
    let pieces = geometry.count().unwrap_or(0);
    Ok(Some(Outcome::Fetched { md5, pieces, sources: fetched.sources }))
}

/// A whole-file MD5 that somebody publishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Claim {
    endpoint: SocketAddr,
    md5: Md5Digest,
    /// Who has a part only passes on what others claim, and cannot know better.
    is_passed_on: bool,
}

/// Who claims which whole-file MD5, each once: those found first, and those found since.
fn claims<'a>(providers: impl Iterator<Item = &'a Provider>) -> Vec<Claim> {
    let claim = |provider: &Provider| Claim {
        endpoint: provider.endpoint,
        md5: provider.entry.md5,
        is_passed_on: provider.entry.holding != Holding::Full,
    };
    let mut claims: Vec<_> = providers.map(claim).collect();
    claims.sort_unstable();
    claims.dedup();
    claims
}

/// What the MD5 of the whole file says, as far as it was to be computed.
enum Verdict {
    Right(Option<Md5Digest>),
    Wrong(Md5Digest),
}

/// Computes the whole-file MD5 where it is asked for or must stand in for piece MD5s, and compares.
fn whole_md5(
    request: &DownloadRequest,
    fetched: &Fetched,
    part: &Partial,
    content: ContentKey,
    claims: &[Claim],
    cancel: &Stop,
    progress: &mut dyn FnMut(Progress),
) -> Result<Verdict, DownloadError> {
    let is_small = Geometry::of(content.size_bytes).count().is_some_and(|pieces| pieces <= 1);
    let is_wanted = request.verify_whole || request.checksum.is_some() || !fetched.piece_md5s_hold;
    if !is_wanted && !is_small {
        return Ok(Verdict::Right(None));
    }
    if !is_small {
        progress(Progress::Hashing);
    }
    let md5 = part.whole_md5(cancel).map_err(|error| match error.kind() {
        std::io::ErrorKind::Interrupted => DownloadError::Command(CommandError::Cancelled),
        _ => DownloadError::Disk { name: request.name.clone(), why: error.to_string() },
    })?;
    let is_right = match request.checksum {
        Some(Checksum::Md5(wanted)) => md5 == wanted,
        _ => claims.iter().any(|claim| claim.md5 == md5),
    };
    Ok(if is_right { Verdict::Right(Some(md5)) } else { Verdict::Wrong(md5) })
}

fn name_liars(context: &Context, name: &FileName, claims: &[Claim], md5: Md5Digest) {
    for Claim { endpoint, md5: claimed, .. } in
        claims.iter().filter(|claim| claim.md5 != md5 && !claim.is_passed_on)
    {
        context.notices.warn(format!("`{name}` has md5 {md5}; {endpoint} falsely claims {claimed}"));
    }
}

/// Puts the file into the catalog and waits a little for the tracker to know it.
#[allow(clippy::too_many_arguments, reason = "what a catalog entry is made of")]
fn offer(
    context: &Context,
    (kind, name): &(FileOrigin, FileName),
    content: ContentKey,
    fetched: &Fetched,
    md5: Option<Md5Digest>,
    claims: &[Claim],
    placed: &Placed,
    cancel: &Stop,
) {
    let first = fetched.sources.first();
    let claimed =
        claims.iter().find(|claim| Some(&claim.endpoint) == first).or(claims.first()).map(|claim| claim.md5);
    let entry = FileEntry {
        name: name.clone(),
        size_bytes: content.size_bytes,
        mtime_ns: placed.stamp.mtime_ns,
        content: content.id,
        md5: md5.or(claimed).unwrap_or(Md5Digest([0; 16])),
        md5_origin: if md5.is_some() { Md5Origin::Computed } else { Md5Origin::Claimed },
        holding: Holding::Full,
        attributes: FileEntry::attributes_of(*kind == FileOrigin::Replicated),
    };
    let manifest = match &fetched.manifest {
        Some(manifest) => Some(Arc::clone(manifest)),
        None => Manifest::of_single(content, entry.md5).map(Arc::new),
    };
    let known = match manifest {
        Some(manifest) => {
            let file = SharedFile {
                entry: Arc::new(entry),
                kind: *kind,
                manifest,
                stamp: placed.stamp,
                racy: false,
                claimants: claims
                    .iter()
                    .filter(|claim| !claim.is_passed_on)
                    .map(|claim| (claim.endpoint, claim.md5))
                    .collect(),
            };
            context.indexer.add_placed(file)
        }
        // The piece list that came along was false; serving needs a true one.
        None => context.indexer.checked_file(name, cancel).map(drop),
    };
    if known.is_err() {
        // We are being stopped, or it was to be hashed first. The file is in place and the next scan finds
        // it.
        return;
    }
    let deadline = clock::now() + limits::ms(limits::OFFER_WAIT_MS);
    if let Err(error) = context.tracker.publish_now(deadline, cancel) {
        context.notices.warn(format!("`{name}` is here and not yet offered to others: {error}"));
    }
}

fn discard(part: Partial) {
    // A part that cannot be removed is hidden, and reused by the next download of this content.
    let _left_behind = part.discard();
}

fn fetch_error(name: &FileName, error: FetchError) -> Failed {
    Failed::For(match error {
        FetchError::Cancelled => CommandError::Cancelled.into(),
        FetchError::Disk(error) => disk_error(name, &error),
        FetchError::System(error) => CommandError::System(error.to_string()).into(),
        FetchError::AllFailed(failures) => all_failed(name, failures),
        FetchError::Replaced(failures) => return Failed::Replaced(all_failed(name, failures)),
    })
}

fn all_failed(name: &FileName, failures: Vec<SourceFailure>) -> DownloadError {
    DownloadError::AllFailed {
        name: name.clone(),
        all_by_digest: !failures.is_empty() && failures.iter().all(|failure| failure.by_digest),
        attempts: failures
            .into_iter()
            // What others have said in it was made inert where it came from.
            .map(|failure| Attempt { endpoint: failure.source, why: failure.why })
            .collect(),
    }
}

fn disk_error(name: &FileName, error: &PartialError) -> DownloadError {
    let name = name.clone();
    match error {
        PartialError::NoSpace { .. } | PartialError::TooLarge { .. } => {
            DownloadError::NoSpace { name, why: error.to_string() }
        }
        PartialError::Exists { .. } => DownloadError::Exists { name },
        _ => DownloadError::Disk { name, why: error.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::{Node, NodeConfig};
    use crate::tracker::{Tracker, TrackerConfig};
    use std::fs;
    use std::path::Path;

    fn node(share: &Path, tracker: &Tracker) -> Node {
        let config = NodeConfig::new([127, 0, 0, 1].into(), share, tracker.addr());
        let node = Node::start(NodeConfig { heartbeat: None, retries: 0, ..config });
        let node = node.expect("it starts");
        node.wait_ready(&Stop::new().expect("a descriptor")).expect("ready");
        node
    }

    /// Downloads a file of two pieces, cancelled at the first event of which `when` is true; what came of it,
    /// and the names in the share and among the parts then.
    fn cancelled(
        asker: &Node,
        share: &Path,
        verify_whole: bool,
        when: fn(&DownloadEvent) -> bool,
    ) -> (Result<Downloaded, DownloadError>, usize) {
        let cancel = Stop::new().expect("a descriptor");
        let name = FileName::new("a").expect("a name");
        let request = DownloadRequest { name, checksum: None, verify_whole, force: false };
        let done = asker.download(&request, &cancel, &mut |progress| {
            if when(&progress) {
                cancel.trigger();
            }
        });
        (done, fs::read_dir(share.join(".nearpeer")).expect("made").count())
    }

    #[test]
    fn a_cancel_at_the_end_loses_neither_the_part_nor_the_file_that_is_in_place() {
        let (from, to) =
            (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
        fs::write(from.path().join("a"), vec![7; (1 << 20) + 1]).expect("written");
        let tracker = Tracker::start(&TrackerConfig::default()).expect("it starts");
        let (holder, asker) = (node(from.path(), &tracker), node(to.path(), &tracker));
        let hashing = |event: &DownloadEvent| matches!(event, DownloadEvent::Hashing { .. });
        let (done, parts) = cancelled(&asker, to.path(), true, hashing);
        // The part and its record.
        assert_eq!((done, parts), (Err(CommandError::Cancelled.into()), 2));
        let last = |event: &DownloadEvent| matches!(event, DownloadEvent::Bytes { done_bytes, total_bytes, .. } if done_bytes == total_bytes);
        // What is lost by chance is lost by one of several.
        for _ in 0..8 {
            let (done, parts) = cancelled(&asker, to.path(), false, last);
            assert!(done.is_ok() && parts == 0, "{done:?}");
            assert_eq!(asker.files().len(), 1, "in place and not shared");
            fs::remove_file(to.path().join("a")).expect("in place");
            asker.update_list(&Stop::new().expect("a descriptor")).expect("scanned");
        }
        for report in [asker.stop(), holder.stop(), tracker.stop()] {
            assert!(report.is_clean(), "{report:?}");
        }
    }
}
