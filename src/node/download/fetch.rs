//! Drives one `Transfer`: carries its actions out and tells it what has happened. The one thread that writes
//! to the part.
//!
//! Everything comes to it as a [`SourceMessage`]: pieces from the source threads, verdicts from the verifier,
//! the piece list, new rankings. It waits for these and for the clock, and for nothing else but the disk.

mod holders;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, bounded, never, select};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::buffers::Buffers;
use super::offering::PartialAnnouncer;
use super::peer::{Asker, SourceError};
use super::piece_list::{self, Giver, Next, PieceList};
use super::refresh::Refresh;
use super::report::SourceMessage;
use super::search::HeldPieces;
use super::sources::Sources;
use super::verifier::{self, Arrival, Checked, Verifier};
use crate::logic::select::{Candidate, Rating};
use crate::logic::transfer::{Action, Event, Plan, SourceFailure, Transfer};
use crate::node::context::Context;
use crate::node::report::{DownloadRequest, Progress};
use crate::proto::peer::PeerRefusal;
use crate::rt::{How, Stop, Threads, clock};
use crate::store::{Partial, PartialError, Record};
use crate::types::{ContentKey, Geometry, Manifest, Md5Digest, Provider, WrongPiece, limits};

/// Reports that may wait; threads wait when it is full.
const REPORTS_MAX: usize = 64;

/// Every piece is written.
#[derive(Debug)]
pub(super) struct Fetched {
    /// Sources that pieces came from, in order of first use.
    pub(super) sources: Vec<SocketAddr>,
    /// True if the MD5 of each piece was checked against a list that proved right.
    pub(super) piece_md5s_hold: bool,
    /// That list, for a file of more than one piece.
    pub(super) manifest: Option<Arc<Manifest>>,
}

/// Why not every piece could be written.
#[derive(Debug)]
pub(super) enum FetchError {
    AllFailed(Vec<SourceFailure>),
    /// Nobody has the content any more, and the name means something else now.
    Replaced(Vec<SourceFailure>),
    Cancelled,
    Disk(PartialError),
    System(std::io::Error),
}

/// One download under way.
pub(super) struct Fetch<'a> {
    pub(super) context: &'a Arc<Context>,
    pub(super) request: &'a DownloadRequest,
    pub(super) content: ContentKey,
    pub(super) part: &'a Arc<Partial>,
    /// Everyone who was found to have the content: the last resort when nobody can be asked.
    pub(super) providers: BTreeMap<SocketAddr, Provider>,
    pub(super) cancel: &'a Stop,
    pub(super) progress: &'a mut dyn FnMut(Progress),
    pub(super) offering: &'a mut PartialAnnouncer,
}

/// What an earlier download has left.
#[derive(Debug, Default)]
pub(super) struct LeftoverPieces {
    /// Pieces that seem to be there.
    pub(super) marked: Vec<u32>,
    pub(super) manifest: Option<Arc<Manifest>>,
}

/// What changes while a fetch runs.
struct Run {
    transfer: Transfer,
    sources: Sources,
    verifier: Verifier,
    /// Verdicts that are still to be acted upon: right pieces to be written.
    checked: VecDeque<Checked>,
    piece_list: PieceList,
    /// Holders as last ranked, best first.
    ranked: Vec<Candidate>,
    is_searching: bool,
    /// Those of them that have a part only.
    refresh: Refresh,
    buffers: Buffers,
    reports: (Sender<SourceMessage>, Receiver<SourceMessage>),
    threads: Threads,
    /// Ends all threads of the download.
    stop: Stop,
    fetched: Fetched,
    done_bytes: u64,
    fetched_bytes: u64,
}

impl Fetch<'_> {
    /// Fetches every piece of the content that `left` does not have.
    pub(super) fn run(
        &mut self,
        ranking: &[Rating],
        parts: HeldPieces,
        left: LeftoverPieces,
    ) -> Result<Fetched, FetchError> {
        if let Some(manifest) = &left.manifest {
            // The request may be another one than that which left the part.
            self.remember(manifest)?;
        }
        let geometry = Geometry::of(self.content.size_bytes);
        let candidates: Vec<_> = ranking.iter().map(|rating| rating.candidate).collect();
        let buffers = Buffers::of(&geometry);
        let plan = self.plan(&geometry, &buffers, &left);
        let (verifier, batches) = Verifier::new(geometry, left.marked);
        let stop = self.cancel.child().map_err(FetchError::System)?;
        let mut refresh = Refresh::new();
        refresh.searched(&parts, clock::now());
        let mut run = Run {
            transfer: Transfer::new(plan, holders::ranked(&candidates, parts), clock::now()),
            sources: Sources::new(Asker::new(self.context, self.content), buffers.clone()),
            verifier,
            checked: VecDeque::new(),
            piece_list: PieceList::new(&geometry, left.manifest),
            ranked: candidates,
            is_searching: false,
            refresh,
            buffers,
            reports: bounded(REPORTS_MAX),
            threads: Threads::new(),
            stop,
            fetched: Fetched { sources: Vec::new(), piece_md5s_hold: true, manifest: None },
            done_bytes: 0,
            fetched_bytes: 0,
        };
        let (part, reports) = (Arc::clone(self.part), run.reports.0.clone());
        let deliver = move |checked| reports.send(SourceMessage::Checked(checked)).is_ok();
        let verifying = run.threads.spawn("verify", move || verifier::run(&batches, &part, deliver));
        let result = verifying.map_err(FetchError::System).and_then(|()| self.work(&mut run));
        run.end().map(|fetched| result.map(|()| fetched))?
    }

    fn plan(&self, geometry: &Geometry, buffers: &Buffers, left: &LeftoverPieces) -> Plan {
        let pieces = geometry.count().unwrap_or(0);
        Plan {
            pieces,
            piece_len_bytes: geometry.piece_len_bytes(),
            marked: left.marked.clone(),
            // Those who fetch a file together begin at different places, so that they have something for each
            // other.
            first_piece: SmallRng::from_os_rng().random_range(0..pieces.max(1)),
            seed: SmallRng::from_os_rng().random(),
            // Each may hold a buffer that fills slowly: unless there is one for each piece, half of them are
            // left for the others.
            sources_max: match buffers.all() as u64 >= u64::from(pieces) {
                true => limits::SOURCES_AT_ONCE,
                false => limits::SOURCES_AT_ONCE.min(buffers.all().div_ceil(2)),
            },
            load_weight: self.context.peers.load_weight,
            retries: self.context.peers.retries,
        }
    }

    /// Carries actions out; waits only when there are none.
    fn work(&mut self, run: &mut Run) -> Result<(), FetchError> {
        loop {
            let now = clock::now();
            let actions = run.transfer.next_actions(now);
            if actions.is_empty() {
                self.see_to_piece_list(run, now)?;
                self.verify_what_is_due(run, now);
                self.refresh_parts(run, now);
                self.go_on(run, now)?;
            }
            for action in actions {
                match action {
                    Action::Open(source) => self.open(run, source),
                    Action::Fetch { source, piece } => run.sources.fetch(source, piece),
                    Action::Leave { source, why } => {
                        run.sources.leave(source);
                        run.piece_list.give_up_on(source);
                        (self.progress)(Progress::Left { endpoint: source, why });
                    }
                    Action::Pause { round, of, pause } => {
                        (self.progress)(Progress::Retry { round, of, pause });
                    }
                    Action::Search => self.search(run)?,
                    Action::Finish => return Ok(()),
                    Action::GiveUp => {
                        return Err(FetchError::AllFailed(run.transfer.failures().to_vec()));
                    }
                }
            }
        }
    }

    /// Takes in a report if there is one, else writes a piece if one is verified, else waits. Writing comes
    /// last, so that the source threads and the verifier have something to do meanwhile.
    fn go_on(&mut self, run: &mut Run, now: Instant) -> Result<(), FetchError> {
        if self.cancel.is_triggered() {
            return Err(FetchError::Cancelled);
        }
        match (run.reports.1.try_recv(), run.checked.is_empty()) {
            (Ok(report), _) => self.take(run, report)?,
            (Err(_), false) => {
                let checked = run.checked.pop_front();
                checked.map_or(Ok(()), |checked| self.take_checked(run, checked))?;
            }
            (Err(_), true) => self.wait(run, now)?,
        }
        let now = clock::now();
        for event in run.sources.received() {
            run.transfer.on_event(now, event);
        }
        Ok(())
    }

    /// Waits for a report, or until somebody wants to look at the clock, and takes in what came.
    fn wait(&mut self, run: &mut Run, now: Instant) -> Result<(), FetchError> {
        let verify_at = run.verifier.due_at().filter(|_| !run.piece_list.is_missing());
        let wakes =
            [run.transfer.next_wake(now), verify_at, run.piece_list.next_wake(), run.refresh.next_wake()];
        let wake = wakes.into_iter().flatten().min();
        select! {
            recv(self.cancel.receiver()) -> _ => return Err(FetchError::Cancelled),
            recv(run.reports.1) -> report => if let Ok(report) = report {
                self.take(run, report)?;
            },
            recv(run.threads.ended()) -> ended => {
                run.threads.reap();
                if ended.is_ok_and(|ended| ended.how == How::Panicked) {
                    let why = "a thread of the download has panicked";
                    return Err(FetchError::System(std::io::Error::other(why)));
                }
            },
            recv(wake.map_or_else(never, crossbeam_channel::at)) -> _ => {}
        }
        Ok(())
    }

    fn open(&mut self, run: &mut Run, source: SocketAddr) {
        (self.progress)(Progress::Source { endpoint: source });
        if let Err(error) = run.sources.open(source, &run.threads, &run.reports.0, &run.stop) {
            // Those in use go on.
            let why = format!("the system gives no thread or descriptor for it: {error}");
            run.transfer.on_event(clock::now(), Event::Failed { source, why, by_digest: false });
        }
    }

    /// Has the piece list on its way from somebody if it is needed: from a source in use, else from any that
    /// was ranked, as perhaps nothing is missing, so that no source is opened; but first from those that have
    /// all pieces, and so have held every line of it against one. When all have been asked in vain, what
    /// waits to be verified is dropped.
    fn see_to_piece_list(&self, run: &mut Run, now: Instant) -> Result<(), FetchError> {
        let ranked = run.ranked.iter().map(|candidate| candidate.endpoint);
        let holders = run.sources.endpoints().chain(ranked);
        let (full, partial) = (holders.clone(), holders);
        let full = full.filter(|holder| !run.transfer.is_partial(*holder));
        match run.piece_list.next(now, full.chain(partial)) {
            Next::Nobody => {}
            Next::Ask(of) => {
                let stop = run.stop.child().map_err(FetchError::System)?;
                let request = run.piece_list.ask(of, stop.clone());
                let (asker, reports) = (run.sources.asker().clone(), run.reports.0.clone());
                let get = move || {
                    let outcome = piece_list::fetch(&asker, of, &stop);
                    let _download_has_ended =
                        reports.send(SourceMessage::PieceList { from: of, request, outcome });
                };
                run.threads.spawn("piece list", get).map_err(FetchError::System)?;
            }
            Next::Exhausted => {
                for source in run.piece_list.take_withholders() {
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

    fn take(&mut self, run: &mut Run, report: SourceMessage) -> Result<(), FetchError> {
        let now = clock::now();
        match report {
            SourceMessage::Arrived { source, thread, piece, bytes } => {
                if run.sources.is_in_use(source, thread) {
                    let is_wanted = run.transfer.wants(piece);
                    run.transfer.on_event(now, Event::Arrived { source, piece });
                    if is_wanted {
                        run.verifier.push(Arrival { piece, bytes, source: Some(source) }, now);
                    }
                }
            }
            SourceMessage::Lacks { source, thread, piece } => {
                if run.sources.is_in_use(source, thread) {
                    run.transfer.on_event(now, Event::Lacks { source, piece });
                }
            }
            SourceMessage::SourceFailed { source, thread, why, by_digest } => {
                if run.sources.is_in_use(source, thread) {
                    run.sources.leave(source);
                    run.piece_list.give_up_on(source);
                    run.transfer.on_event(now, Event::Failed { source, why, by_digest });
                }
            }
            SourceMessage::PieceList { from, request, outcome } => {
                self.take_piece_list(run, (from, request), outcome)?
            }
            SourceMessage::Checked(checked) => {
                run.verifier.is_idle_again();
                run.checked.extend(checked);
            }
            SourceMessage::Searched(searched) => self.take_searched(run, searched)?,
            SourceMessage::Have(told) => self.take_have(run, told)?,
        }
        Ok(())
    }

    fn take_piece_list(
        &mut self,
        run: &mut Run,
        (from, request): (SocketAddr, u64),
        outcome: Result<Manifest, SourceError>,
    ) -> Result<(), FetchError> {
        let giver = Giver { endpoint: from, is_partial: run.transfer.is_partial(from) };
        match outcome.map(Arc::new) {
            Ok(manifest) if run.piece_list.arrived(&manifest, giver) => self.remember(&manifest)?,
            Err(fault) if run.piece_list.failed(request) => {
                if giver.is_partial && matches!(fault, SourceError::Refused(PeerRefusal::NotShared)) {
                    // It may have found its list to be false: see `name_list_giver`.
                    run.piece_list.withheld(from);
                    return Ok(());
                }
                let (why, by_digest) = (fault.why(), fault.by_digest());
                run.sources.leave(from);
                run.transfer.on_event(clock::now(), Event::NoList { source: from, why, by_digest });
            }
            // It has come from another one, or this one was given up.
            Ok(_) | Err(_) => {}
        }
        Ok(())
    }

    /// From here on a download that is broken off can be gone on with.
    fn remember(&self, manifest: &Arc<Manifest>) -> Result<(), FetchError> {
        let DownloadRequest { name, checksum, verify_whole, force } = self.request.clone();
        let record =
            Record { name, key: self.content, checksum, verify_whole, force, manifest: Arc::clone(manifest) };
        self.part.remember(&record).map_err(FetchError::Disk)
    }

    /// Hands the verifier a batch if there is one to start.
    fn verify_what_is_due(&self, run: &mut Run, now: Instant) {
        let single;
        let manifest = match run.piece_list.manifest() {
            Some(manifest) => manifest,
            None => {
                // The list of a content of one piece is what its sender publishes.
                let source = run.verifier.first_source();
                let md5 = source.and_then(|source| self.providers.get(&source)).map(|one| one.entry.md5);
                match Manifest::of_single(self.content, md5.unwrap_or(Md5Digest([0; 16]))) {
                    Some(manifest) => {
                        single = Arc::new(manifest);
                        &single
                    }
                    None => return,
                }
            }
        };
        let more_may_come = run.transfer.on_the_wire() > 0;
        run.verifier.start_if_due(manifest, &run.buffers, more_may_come, now);
    }

    fn take_checked(&mut self, run: &mut Run, checked: Checked) -> Result<(), FetchError> {
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
            (Err(WrongPiece::Md5(_)), _) => self.name_list_giver(run, piece),
            (Ok(()), _) => {}
        }
        if let Some(source) = source {
            let range =
                Geometry::of(self.content.size_bytes).range(piece).expect("a piece that was asked for");
            self.part.write_piece(range.start, bytes.bytes()).map_err(FetchError::Disk)?;
            run.fetched_bytes += bytes.bytes().len() as u64;
            if !run.fetched.sources.contains(&source) {
                run.fetched.sources.push(source);
            }
        }
        run.done_bytes += bytes.bytes().len() as u64;
        run.transfer.on_event(clock::now(), Event::Verified { piece });
        // Others may have it now.
        if run.transfer.is_done(piece)
            && let Some(manifest) = run.piece_list.manifest()
        {
            self.offering.add(piece, manifest, self.part, clock::now());
        }
        (self.progress)(Progress::Bytes {
            done_bytes: run.done_bytes,
            total_bytes: self.content.size_bytes,
            fetched_bytes: run.fetched_bytes,
        });
        Ok(())
    }

    /// The bytes are right and the MD5 listed for them is not: whoever gave the list lied, if it has all
    /// pieces; else it may have been lied to and have passed it on before it came to this piece. It is named,
    /// once. Its bytes and the list's BLAKE3 values are as good as anybody's; the MD5 of the whole file is
    /// computed instead.
    fn name_list_giver(&mut self, run: &mut Run, piece: u32) {
        run.fetched.piece_md5s_hold = false;
        self.offering.withhold_list();
        let name = &self.request.name;
        match run.piece_list.take_giver() {
            Some(Giver { endpoint, is_partial: false }) => {
                self.context.notices.warn(format!("`{name}`: {endpoint} falsely claims an md5 for piece {piece}"));
            }
            Some(Giver { endpoint, is_partial: true }) => self.context.notices.warn(format!(
                "`{name}`: {endpoint}, which has a part only, gave a piece list with a false md5 for piece {piece}"
            )),
            None => {}
        }
    }
}

impl Run {
    /// Ends all threads of the download.
    fn end(self) -> Result<Fetched, FetchError> {
        let Run { stop, threads, mut fetched, piece_list, sources, verifier, reports, ranked, .. } = self;
        stop.trigger();
        // Nobody listens and nobody sends any more: whoever waits for either ends.
        drop((sources, verifier, reports));
        let ended = threads.join(clock::now() + limits::ms(limits::STOP_DEADLINE_MS));
        if !ended.still_running.is_empty() {
            let names = ended.still_running.join(", ");
            return Err(FetchError::System(std::io::Error::other(format!("still running: {names}"))));
        }
        if fetched.piece_md5s_hold {
            fetched.manifest = piece_list.into_manifest();
        }
        if fetched.sources.is_empty() {
            // Nothing had to be fetched: the first in rank is named.
            fetched.sources.extend(ranked.first().map(|candidate| candidate.endpoint));
        }
        Ok(fetched)
    }
}
