//! Drives one [`Transfer`]: executes its actions and reports events to it. The only thread that writes to the
//! partial file.
//!
//! All input comes as a [`Message`]: pieces from the source threads, verdicts from the verifier, the
//! manifest, new rankings. The driver waits for messages and for the clock, and for nothing else except the
//! disk.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, bounded, never, select};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::announcer::PartialAnnouncer;
use super::config::TransferConfig;
use super::have_schedule::HaveSchedule;
use super::manifest::{ManifestGiver, ManifestSearch, Next};
use super::message::Message;
use super::piece_check::PieceCheck;
use super::ports::{HolderSearch, Notices};
use super::search::{HeldPieces, with_pieces};
use super::source::{Buffers, SourceConnector, SourceError, SourceReport, Sources};
use super::verifier::{self, Arrival, Checked, Verifier};
use crate::logic::progress::DownloadReporter;
use crate::logic::select::Candidate;
use crate::logic::transfer::{Action, Event, Plan, SourceFailure, Transfer};
use crate::proto::event::DownloadEvent;
use crate::proto::peer::PeerRefusal;
use crate::rt::{How, Stop, Threads, clock};
use crate::store::{Partial, PartialError};
use crate::types::{ContentKey, FileName, Geometry, Manifest, Provider, Ranked, WrongPiece, limits};

/// Messages that may wait. A thread blocks when the queue is full.
const REPORTS_MAX: usize = 64;

/// A transfer in which every piece was written.
#[derive(Debug)]
pub struct Fetched {
    /// The sources that pieces came from, in order of first use. If nothing had to be fetched: the first in
    /// rank.
    pub sources: Vec<SocketAddr>,
    /// True if the MD5 of each piece was checked, and every one was right.
    pub piece_md5s_hold: bool,
    /// The manifest with these MD5s, for a file of more than one piece.
    pub manifest: Option<Arc<Manifest>>,
}

/// Why not every piece could be written.
#[derive(Debug)]
pub enum TransferError {
    /// No source is left in any round.
    AllFailed(Vec<SourceFailure>),
    /// No node has the content any more, and the name means another content now.
    Replaced(Vec<SourceFailure>),
    /// The download was cancelled.
    Cancelled,
    /// The partial file cannot be written.
    Disk(PartialError),
    /// The partial file cannot be read back.
    Read(std::io::Error),
    /// The system refuses a thread, a descriptor or a socket.
    System(std::io::Error),
    /// The program is wrong: this must not happen. Contains what happened.
    Bug(&'static str),
}

/// One transfer: a content, its partial file, and the program around it.
pub struct Driver<'a> {
    /// Settings of the download.
    pub config: TransferConfig,
    /// Connects to the sources.
    pub connector: Arc<dyn SourceConnector>,
    /// Finds further holders.
    pub holders: Arc<dyn HolderSearch>,
    /// Takes messages for the user.
    pub notices: Arc<dyn Notices>,
    /// The name that was requested.
    pub name: FileName,
    /// The content that is fetched.
    pub content: ContentKey,
    /// How the content is cut into pieces.
    pub geometry: Geometry,
    /// The file that pieces are written to.
    pub partial: &'a Arc<Partial>,
    /// All known holders of the content: used if discovery gives no answer.
    pub providers: BTreeMap<SocketAddr, Provider>,
    /// Ends the download.
    pub cancel: &'a Stop,
    /// Makes the events of the download.
    pub reporter: &'a mut DownloadReporter,
    /// Takes the events of the download. It must not wait.
    pub publish: &'a mut dyn FnMut(DownloadEvent),
    /// Makes verified pieces available to other nodes.
    pub announcer: &'a mut PartialAnnouncer,
    /// Keeps the manifest with the request, so that the download can be resumed from then on.
    pub remember: &'a dyn Fn(&Arc<Manifest>) -> Result<(), PartialError>,
}

impl std::fmt::Debug for Driver<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Driver")
            .field("name", &self.name)
            .field("content", &self.content)
            .finish_non_exhaustive()
    }
}

/// What an earlier download has left.
#[derive(Debug, Default)]
pub struct LeftoverPieces {
    /// Pieces that may be in the partial file. They are verified again.
    pub marked: Vec<u32>,
    /// The manifest, if the earlier download had it.
    pub manifest: Option<Arc<Manifest>>,
}

/// What changes while a transfer runs.
pub(super) struct Run {
    pub(super) transfer: Transfer,
    sources: Sources,
    verifier: Verifier,
    /// Verdicts that are not handled yet: right pieces are still to be written.
    checked: VecDeque<Checked>,
    manifest: ManifestSearch,
    /// Holders as last ranked, best first.
    pub(super) ranked: Vec<Candidate>,
    pub(super) is_searching: bool,
    /// When to ask the partial holders.
    pub(super) have_schedule: HaveSchedule,
    buffers: Buffers,
    pub(super) reports: (Sender<Message>, Receiver<Message>),
    pub(super) threads: Threads,
    /// Ends all threads of the download.
    pub(super) stop: Stop,
    pub(super) fetched: Fetched,
    done_bytes: u64,
    fetched_bytes: u64,
}

impl Driver<'_> {
    /// Fetches every piece of the content that `left` does not have.
    ///
    /// # Errors
    /// [`TransferError`]. What was written stays in the partial file.
    pub fn run(
        &mut self,
        ranking: &[Ranked],
        held: HeldPieces,
        left: LeftoverPieces,
    ) -> Result<Fetched, TransferError> {
        if let Some(manifest) = &left.manifest {
            // The request may be another one than that which left the partial file.
            self.remember(manifest)?;
        }
        let geometry = self.geometry;
        let candidates: Vec<_> = ranking.iter().map(Candidate::from).collect();
        let buffers = Buffers::of(&geometry);
        let plan = self.plan(&geometry, &buffers, &left);
        let (verifier, batches) = Verifier::new(geometry, left.marked);
        let stop = self.cancel.child().map_err(TransferError::System)?;
        let mut have_schedule = HaveSchedule::new();
        have_schedule.searched(&held, clock::now());
        let mut run = Run {
            transfer: Transfer::new(plan, with_pieces(&candidates, held), clock::now()),
            sources: Sources::new(Arc::clone(&self.connector), geometry, buffers.clone()),
            verifier,
            checked: VecDeque::new(),
            manifest: ManifestSearch::new(&geometry, left.manifest),
            ranked: candidates,
            is_searching: false,
            have_schedule,
            buffers,
            reports: bounded(REPORTS_MAX),
            threads: Threads::new(),
            stop,
            fetched: Fetched { sources: Vec::new(), piece_md5s_hold: true, manifest: None },
            done_bytes: 0,
            fetched_bytes: 0,
        };
        let (partial, reports) = (Arc::clone(self.partial), run.reports.0.clone());
        let deliver = move |checked| reports.send(Message::Checked(checked)).is_ok();
        let verifying =
            run.threads.spawn("verify", move || verifier::run(&batches, &partial, geometry, deliver));
        let result = verifying.map_err(TransferError::System).and_then(|()| self.work(&mut run));
        run.end().map(|fetched| result.map(|()| fetched))?
    }

    fn plan(&self, geometry: &Geometry, buffers: &Buffers, left: &LeftoverPieces) -> Plan {
        let pieces = geometry.count().unwrap_or(0);
        Plan {
            pieces,
            piece_len_bytes: geometry.piece_len_bytes(),
            marked: left.marked.clone(),
            // Downloads that begin together begin at different places, so that each has pieces for the
            // others.
            first_piece: SmallRng::from_os_rng().random_range(0..pieces.max(1)),
            seed: SmallRng::from_os_rng().random(),
            // Each source may hold a buffer that fills slowly. Unless there is a buffer for each piece, half
            // of them are left for the other sources.
            sources_max: if buffers.all() as u64 >= u64::from(pieces) {
                limits::SOURCES_AT_ONCE
            } else {
                limits::SOURCES_AT_ONCE.min(buffers.all().div_ceil(2))
            },
            load_weight: self.config.load_weight,
            retries: self.config.retries,
        }
    }

    /// Executes actions; waits only if there are none.
    fn work(&mut self, run: &mut Run) -> Result<(), TransferError> {
        loop {
            let now = clock::now();
            let actions = run.transfer.next_actions(now);
            if actions.is_empty() {
                self.ensure_manifest(run, now)?;
                self.start_due_batch(run, now);
                self.ask_partial_holders(run, now);
                self.step(run, now)?;
            }
            for action in actions {
                match action {
                    Action::Open(source) => self.open(run, source),
                    Action::Fetch { source, piece } => run.sources.fetch(source, piece),
                    Action::Leave { source, why } => {
                        run.sources.leave(source);
                        run.manifest.give_up_on(source);
                        (self.publish)(self.reporter.left(source, why, now));
                    }
                    Action::Pause { round, of, pause } => {
                        (self.publish)(self.reporter.retry(round, of, pause));
                    }
                    Action::Search => self.search(run)?,
                    Action::Finish => return Ok(()),
                    Action::GiveUp => {
                        return Err(TransferError::AllFailed(run.transfer.failures().to_vec()));
                    }
                }
            }
        }
    }

    /// Handles a message if there is one, else writes a piece if one is verified, else waits. Writing comes
    /// last, so that source threads and verifier have work meanwhile.
    fn step(&mut self, run: &mut Run, now: Instant) -> Result<(), TransferError> {
        if self.cancel.is_triggered() {
            return Err(TransferError::Cancelled);
        }
        match (run.reports.1.try_recv(), run.checked.is_empty()) {
            (Ok(report), _) => self.apply(run, report)?,
            (Err(_), false) => {
                let checked = run.checked.pop_front();
                checked.map_or(Ok(()), |checked| self.apply_verdict(run, checked))?;
            }
            (Err(_), true) => self.wait(run, now)?,
        }
        let now = clock::now();
        for event in run.sources.received() {
            run.transfer.on_event(now, event);
        }
        Ok(())
    }

    /// Waits for a message or for the next deadline, and handles the message.
    fn wait(&mut self, run: &mut Run, now: Instant) -> Result<(), TransferError> {
        let verify_at = run.verifier.due_at().filter(|_| !run.manifest.is_missing());
        let wakes =
            [run.transfer.next_wake(now), verify_at, run.manifest.next_wake(), run.have_schedule.next_wake()];
        let wake = wakes.into_iter().flatten().min();
        select! {
            recv(self.cancel.receiver()) -> _ => return Err(TransferError::Cancelled),
            recv(run.reports.1) -> report => if let Ok(report) = report {
                self.apply(run, report)?;
            },
            recv(run.threads.ended()) -> ended => {
                run.threads.reap();
                if ended.is_ok_and(|ended| ended.how == How::Panicked) {
                    return Err(TransferError::Bug("a thread of the download has panicked"));
                }
            },
            recv(wake.map_or_else(never, crossbeam_channel::at)) -> _ => {}
        }
        Ok(())
    }

    fn open(&mut self, run: &mut Run, source: SocketAddr) {
        (self.publish)(self.reporter.source(source, clock::now()));
        let reports = run.reports.0.clone();
        let report = move |thread, report| reports.send(Message::Source { source, thread, report }).is_ok();
        if let Err(error) = run.sources.open(source, &run.threads, &run.stop, report) {
            // The sources in use continue.
            let why = format!("the system gives no thread or descriptor for it: {error}");
            run.transfer.on_event(clock::now(), Event::Failed { source, why, by_digest: false });
        }
    }

    /// Requests the manifest from a source if it is missing. Full holders come first, as they have checked
    /// every line of it; sources in use come before others. Sources that are not in use count too: if no
    /// piece is missing, no source is opened. When all sources have failed, the pieces that wait for
    /// verification are dropped.
    fn ensure_manifest(&self, run: &mut Run, now: Instant) -> Result<(), TransferError> {
        let ranked = run.ranked.iter().map(|candidate| candidate.endpoint);
        let holders = run.sources.endpoints().chain(ranked);
        let (full, partial) = (holders.clone(), holders);
        let full = full.filter(|holder| !run.transfer.is_partial(*holder));
        match run.manifest.next(now, full.chain(partial)) {
            Next::NoSource => {}
            Next::Ask(of) => {
                let stop = run.stop.child().map_err(TransferError::System)?;
                let request = run.manifest.ask(of, stop.clone());
                let (connector, reports) = (Arc::clone(run.sources.connector()), run.reports.0.clone());
                let get = move || {
                    let outcome = connector.fetch_manifest(of, &stop);
                    let _download_has_ended = reports.send(Message::Manifest { from: of, request, outcome });
                };
                run.threads.spawn("manifest", get).map_err(TransferError::System)?;
            }
            Next::Exhausted => {
                for source in run.manifest.take_withholders() {
                    run.sources.leave(source);
                    let why = SourceError::Refused(PeerRefusal::NotShared).why();
                    run.transfer.on_event(now, Event::NoList { source, why, by_digest: false });
                }
                for piece in run.verifier.drop_all() {
                    run.transfer.on_event(now, Event::Dropped { piece });
                }
            }
        }
        Ok(())
    }

    fn apply(&mut self, run: &mut Run, message: Message) -> Result<(), TransferError> {
        let now = clock::now();
        match message {
            Message::Source { source, thread, report } => {
                if run.sources.is_in_use(source, thread) {
                    Self::apply_report(run, source, report, now);
                }
            }
            Message::Manifest { from, request, outcome } => {
                self.apply_manifest(run, (from, request), outcome)?
            }
            Message::Checked(checked) => {
                run.verifier.batch_is_done();
                run.checked.extend(checked);
            }
            Message::Searched(searched) => self.apply_search(run, searched)?,
            Message::Have(held) => self.apply_have(run, held)?,
        }
        Ok(())
    }

    fn apply_report(run: &mut Run, source: SocketAddr, report: SourceReport, now: Instant) {
        match report {
            SourceReport::Arrived { piece, bytes } => {
                let is_wanted = run.transfer.wants(piece);
                run.transfer.on_event(now, Event::Arrived { source, piece });
                if is_wanted {
                    run.verifier.push(Arrival { piece, bytes, source: Some(source) }, now);
                }
            }
            SourceReport::Lacks { piece } => run.transfer.on_event(now, Event::Lacks { source, piece }),
            SourceReport::Failed(error) => {
                run.sources.leave(source);
                run.manifest.give_up_on(source);
                let (why, by_digest) = (error.why(), error.is_by_digest());
                run.transfer.on_event(now, Event::Failed { source, why, by_digest });
            }
        }
    }

    fn apply_manifest(
        &mut self,
        run: &mut Run,
        (from, request): (SocketAddr, u64),
        outcome: Result<Manifest, SourceError>,
    ) -> Result<(), TransferError> {
        let giver = ManifestGiver { endpoint: from, is_partial: run.transfer.is_partial(from) };
        match outcome.map(Arc::new) {
            Ok(manifest) if run.manifest.arrived(&manifest, giver) => self.remember(&manifest)?,
            Err(error) if run.manifest.failed(request) => {
                if giver.is_partial && matches!(error, SourceError::Refused(PeerRefusal::NotShared)) {
                    // It may have found a wrong MD5 in its manifest: see `name_manifest_giver`.
                    run.manifest.withheld(from);
                    return Ok(());
                }
                let (why, by_digest) = (error.why(), error.is_by_digest());
                run.sources.leave(from);
                run.transfer.on_event(clock::now(), Event::NoList { source: from, why, by_digest });
            }
            // Another source gave the manifest before, or the request was given up.
            Ok(_) | Err(_) => {}
        }
        Ok(())
    }

    /// From here on the download can be resumed.
    fn remember(&self, manifest: &Arc<Manifest>) -> Result<(), TransferError> {
        (self.remember)(manifest).map_err(TransferError::Disk)
    }

    /// Sends a batch to the verifier if one is due.
    fn start_due_batch(&self, run: &mut Run, now: Instant) {
        let check = match run.manifest.manifest() {
            Some(manifest) => PieceCheck::Native(Arc::clone(manifest)),
            None if run.manifest.is_missing() => return,
            None => {
                let source = run.verifier.first_source();
                let md5 = source.and_then(|source| self.providers.get(&source)).map(|one| one.entry.md5);
                PieceCheck::Single { content: self.content, md5 }
            }
        };
        let more_may_come = run.transfer.on_the_wire() > 0;
        run.verifier.start_if_due(&check, &run.buffers, more_may_come, now);
    }

    fn apply_verdict(&mut self, run: &mut Run, checked: Checked) -> Result<(), TransferError> {
        let Checked { arrival: Arrival { piece, bytes, source }, outcome } = checked;
        match (outcome, source) {
            (Err(WrongPiece::Md5(_)), Some(_)) if self.content.size_bytes == bytes.bytes().len() as u64 => {
                let why = "the md5 it publishes is not that of the bytes it sends".to_owned();
                run.transfer.on_event(clock::now(), Event::Wrong { piece, why });
                return Ok(());
            }
            (Err(WrongPiece::Bytes(_) | WrongPiece::Length(_)), _) => {
                let why = WrongPiece::Bytes(piece).to_string();
                run.transfer.on_event(clock::now(), Event::Wrong { piece, why });
                return Ok(());
            }
            (Err(WrongPiece::Md5(_)), _) => self.name_manifest_giver(run, piece),
            (Ok(()), _) => {}
        }
        if let Some(source) = source {
            let range = self.geometry.range(piece).expect("a piece that was requested");
            self.partial.write_piece(range.start, bytes.bytes()).map_err(TransferError::Disk)?;
            run.fetched_bytes += bytes.bytes().len() as u64;
            if !run.fetched.sources.contains(&source) {
                run.fetched.sources.push(source);
            }
        }
        run.done_bytes += bytes.bytes().len() as u64;
        run.transfer.on_event(clock::now(), Event::Verified { piece });
        // Other nodes may have the piece now.
        if run.transfer.is_done(piece)
            && let Some(manifest) = run.manifest.manifest()
        {
            self.announcer.add(piece, manifest, self.partial, clock::now());
        }
        let (done, fetched) = (run.done_bytes, run.fetched_bytes);
        let event = self.reporter.bytes(done, self.content.size_bytes, fetched, clock::now());
        (self.publish)(event);
        Ok(())
    }

    /// Handles a piece whose bytes are right but whose MD5 in the manifest is wrong. A full holder that gave
    /// the manifest has lied; a partial holder may have passed it on before it had this piece. The user
    /// learns the giver once. The pieces and BLAKE3 values of the manifest stay valid; the MD5 of the whole
    /// file is computed instead.
    fn name_manifest_giver(&mut self, run: &mut Run, piece: u32) {
        run.fetched.piece_md5s_hold = false;
        self.announcer.withhold_manifest();
        let name = &self.name;
        match run.manifest.take_giver() {
            Some(ManifestGiver { endpoint, is_partial: false }) => {
                self.notices.warn(format!("`{name}`: {endpoint} falsely claims an md5 for piece {piece}"));
            }
            Some(ManifestGiver { endpoint, is_partial: true }) => {
                let who = format!("{endpoint}, which has a part only,");
                let warning = format!("`{name}`: {who} gave a manifest with a false md5 for piece {piece}");
                self.notices.warn(warning);
            }
            None => {}
        }
    }
}

impl Run {
    /// Ends all threads of the download.
    fn end(self) -> Result<Fetched, TransferError> {
        let Run { stop, threads, mut fetched, manifest, sources, verifier, reports, ranked, .. } = self;
        stop.trigger();
        // Closes the channels, so that threads that wait for them end.
        drop((sources, verifier, reports));
        let ended = threads.join(clock::now() + limits::ms(limits::STOP_DEADLINE_MS));
        if !ended.still_running.is_empty() {
            return Err(TransferError::Bug("a thread of the download does not end"));
        }
        if fetched.piece_md5s_hold {
            fetched.manifest = manifest.into_manifest();
        }
        if fetched.sources.is_empty() {
            // If nothing had to be fetched, the first in rank is named.
            fetched.sources.extend(ranked.first().map(|candidate| candidate.endpoint));
        }
        Ok(fetched)
    }
}
