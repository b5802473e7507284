//! Drives one `Transfer`: carries its actions out and tells it what happened. The one thread that writes to the part.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded, never, select};

use super::source::{self, Report, Source, What};
use crate::logic::select::{Rating, rank};
use crate::logic::transfer::{Action, Event, Failure, Transfer};
use crate::node::api::{CommandError, Progress};
use crate::node::engine::Engine;
use crate::node::find::{self, LiveHolder};
use crate::rt::{How, Stop, Threads, clock};
use crate::store::{Partial, PartialError};
use crate::types::{ContentKey, FileName, Geometry, Holding, Manifest, Md5Digest, Provider, Query, limits};

/// One being filled, one being verified, one being written.
const PIECE_BUFFERS: usize = 3;

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
    AllFailed(Vec<Failure>),
    /// Nobody has the content any more, and the name means something else now.
    Replaced(Vec<Failure>),
    Cancelled,
    Disk(PartialError),
    System(std::io::Error),
}

/// One download under way.
pub(super) struct Fetch<'a> {
    pub(super) engine: &'a Engine,
    pub(super) name: &'a FileName,
    pub(super) content: ContentKey,
    pub(super) part: &'a Partial,
    /// Everyone who was found to have the content: the last resort when nobody can be asked.
    pub(super) providers: BTreeMap<SocketAddr, Provider>,
    pub(super) cancel: &'a Stop,
    pub(super) progress: &'a mut dyn FnMut(Progress),
}

/// The source thread in use.
struct InUse {
    thread: u64,
    endpoint: SocketAddr,
    fetches: Sender<u32>,
    received: Arc<AtomicU64>,
    held_back: Duration,
    stop: Stop,
}

/// What changes while a fetch runs.
struct Run {
    transfer: Transfer,
    threads: Threads,
    reports: (Sender<Report>, Receiver<Report>),
    buffers: (Sender<Vec<u8>>, Receiver<Vec<u8>>),
    in_use: Option<InUse>,
    next_thread: u64,
    /// The piece list and who gave it.
    manifest: Option<(Arc<Manifest>, SocketAddr)>,
    fetched: Fetched,
    done_bytes: u64,
}

impl Fetch<'_> {
    /// Fetches every piece of the content, best of `ranked` first.
    pub(super) fn run(&mut self, ranked: &[SocketAddr]) -> Result<Fetched, FetchError> {
        let pieces = Geometry::of(self.content.size_bytes).count().unwrap_or(0);
        let buffers = bounded(PIECE_BUFFERS);
        for _ in 0..PIECE_BUFFERS {
            buffers.0.send(Vec::new()).expect("as many fit as were made");
        }
        let mut run = Run {
            transfer: Transfer::new(pieces, ranked, self.engine.retries),
            threads: Threads::new(),
            reports: bounded(PIECE_BUFFERS),
            buffers,
            in_use: None,
            next_thread: 0,
            manifest: None,
            fetched: Fetched { sources: Vec::new(), piece_md5s_hold: true, manifest: None },
            done_bytes: 0,
        };
        if pieces == 0 {
            run.fetched.sources.extend(ranked.first());
        }
        let result = self.work(&mut run);
        run.leave();
        // Stopped threads end at once: each of their waits watches the stop.
        run.threads.join(clock::now() + limits::ms(limits::STOP_DEADLINE_MS));
        run.fetched.manifest =
            run.manifest.filter(|_| run.fetched.piece_md5s_hold).map(|(manifest, _)| manifest);
        result.map(|()| run.fetched)
    }

    /// Carries actions out until the machine ends; waits only when it has none.
    fn work(&mut self, run: &mut Run) -> Result<(), FetchError> {
        loop {
            let actions = run.transfer.next_actions(clock::now());
            if actions.is_empty() {
                self.wait(run)?;
            }
            for action in actions {
                match action {
                    Action::Open(endpoint) => self.open(run, endpoint)?,
                    Action::Fetch { piece, .. } => {
                        if let Some(in_use) = &run.in_use {
                            // A thread that has just failed does not take it; its report is on the way.
                            let _thread_has_failed = in_use.fetches.send(piece);
                        }
                    }
                    Action::Leave { source, why } => {
                        run.leave();
                        (self.progress)(Progress::Left { endpoint: source, why });
                    }
                    Action::Pause { round, of, pause } => {
                        (self.progress)(Progress::Retry { round, of, pause });
                    }
                    Action::Search => {
                        let ranked = self.search(&run.transfer)?;
                        run.transfer.on_event(clock::now(), Event::Ranked(ranked));
                    }
                    Action::Finish => return Ok(()),
                    Action::GiveUp => {
                        return Err(FetchError::AllFailed(run.transfer.failures().to_vec()));
                    }
                }
            }
        }
    }

    /// Waits for a report, or until the machine wants to look at the clock, and tells it what came.
    fn wait(&mut self, run: &mut Run) -> Result<(), FetchError> {
        let wake = run.transfer.next_wake(clock::now()).map_or_else(never, crossbeam_channel::at);
        select! {
            recv(self.cancel.receiver()) -> _ => return Err(FetchError::Cancelled),
            recv(run.reports.1) -> report => if let Ok(report) = report {
                self.take(run, report)?;
            },
            recv(run.threads.ended()) -> ended => if ended.is_ok_and(|ended| ended.how == How::Panicked) {
                return Err(FetchError::System(std::io::Error::other("a source thread has panicked")));
            },
            recv(wake) -> _ => {}
        }
        if let Some(in_use) = &run.in_use {
            let bytes = in_use.received.load(Ordering::Relaxed);
            run.transfer.on_event(
                clock::now(),
                Event::Received { source: in_use.endpoint, bytes, held_back: in_use.held_back },
            );
        }
        Ok(())
    }

    fn open(&mut self, run: &mut Run, endpoint: SocketAddr) -> Result<(), FetchError> {
        (self.progress)(Progress::Source { endpoint });
        let stop = self.cancel.child().map_err(FetchError::System)?;
        // As many as the machine may ask ahead; it never asks for a piece twice.
        let (fetches, to_fetch) = bounded(limits::PIECE_REQUESTS_MAX);
        let received = Arc::new(AtomicU64::new(0));
        let thread = run.next_thread;
        run.next_thread += 1;
        let emulated_latency = match self.engine.emulate_latency {
            true => self.engine.latencies.lock().emulated(endpoint),
            false => Duration::ZERO,
        };
        let source = Source {
            thread,
            endpoint,
            bind: self.engine.ip,
            asker: self.engine.memory.node,
            content: self.content,
            md5_claim: self
                .providers
                .get(&endpoint)
                .map_or(Md5Digest([0; 16]), |provider| provider.entry.md5),
            manifest: run.manifest.as_ref().map(|(manifest, _)| Arc::clone(manifest)),
            emulated_latency,
            received: Arc::clone(&received),
            fetches: to_fetch,
            buffers: run.buffers.1.clone(),
            reports: run.reports.0.clone(),
            stop: stop.clone(),
        };
        run.threads.spawn("source", move || source::run(&source)).map_err(FetchError::System)?;
        run.in_use = Some(InUse { thread, endpoint, fetches, received, held_back: emulated_latency, stop });
        Ok(())
    }

    fn take(&mut self, run: &mut Run, report: Report) -> Result<(), FetchError> {
        let Some(source) =
            run.in_use.as_ref().filter(|in_use| in_use.thread == report.thread).map(|in_use| in_use.endpoint)
        else {
            // The last words of a source that was left.
            if let What::Piece { bytes, .. } | What::Wrong { bytes, .. } = report.what {
                run.give_back(bytes);
            }
            return Ok(());
        };
        let now = clock::now();
        match report.what {
            What::Manifest(manifest) => {
                // For a file of one piece it is only what this source claims.
                if manifest.pieces().len() > 1 {
                    run.manifest = Some((manifest, source));
                }
            }
            What::Piece { piece, bytes, md5_is_right } => {
                self.take_piece(run, source, piece, bytes, md5_is_right)?
            }
            What::Wrong { piece, why, bytes } => {
                run.give_back(bytes);
                run.transfer.on_event(now, Event::Wrong { source, piece, why });
            }
            What::Failed { why, by_digest } => {
                run.transfer.on_event(now, Event::Failed { source, why, by_digest })
            }
        }
        Ok(())
    }

    /// A piece with the right BLAKE3. If its listed MD5 is wrong, whoever gave the list lied: it is named and left, and the list dropped.
    fn take_piece(
        &mut self,
        run: &mut Run,
        source: SocketAddr,
        piece: u32,
        bytes: Vec<u8>,
        md5_is_right: bool,
    ) -> Result<(), FetchError> {
        let now = clock::now();
        let geometry = Geometry::of(self.content.size_bytes);
        if !md5_is_right && geometry.count() == Some(1) {
            run.give_back(bytes);
            let why = "the md5 it publishes is not that of the bytes it sends".to_owned();
            run.transfer.on_event(now, Event::Failed { source, why, by_digest: true });
            return Ok(());
        }
        let range = geometry.range(piece).expect("the machine asks for pieces that there are");
        self.part.write_piece(range.start, &bytes).map_err(FetchError::Disk)?;
        run.done_bytes += bytes.len() as u64;
        run.give_back(bytes);
        if !run.fetched.sources.contains(&source) {
            run.fetched.sources.push(source);
        }
        run.transfer.on_event(now, Event::Verified { source, piece });
        (self.progress)(Progress::Bytes {
            done_bytes: run.done_bytes,
            total_bytes: self.content.size_bytes,
            fetched_bytes: run.done_bytes,
        });
        if !md5_is_right {
            run.fetched.piece_md5s_hold = false;
            if let Some((_, liar)) = run.manifest.take() {
                let why = format!("piece {piece}: the md5 in its piece list is wrong");
                match liar == source {
                    true => run.transfer.on_event(now, Event::Failed { source, why, by_digest: true }),
                    false => (self.progress)(Progress::Left { endpoint: liar, why }),
                }
            }
        }
        Ok(())
    }

    /// Finds and ranks the holders of the content anew. Where nobody can be asked who they are, those known before are probed again.
    fn search(&mut self, transfer: &Transfer) -> Result<Vec<SocketAddr>, FetchError> {
        match find::providers(self.engine, &Query::Content(self.content.id.into()), self.cancel) {
            Ok(providers) => {
                let has_holders = !providers.is_empty();
                let same = providers.into_iter().filter(|provider| provider.entry.key() == self.content);
                self.providers = same.map(|provider| (provider.endpoint, provider)).collect();
                if !has_holders && self.is_replaced() {
                    return Err(FetchError::Replaced(transfer.failures().to_vec()));
                }
            }
            Err(CommandError::Cancelled) => return Err(FetchError::Cancelled),
            Err(error) => self.engine.warn(format!("{error}; going on with the sources known before")),
        }
        let known = self.providers.values().cloned().collect();
        let probed = find::probe(self.engine, known, self.cancel).map_err(|error| match error {
            CommandError::System(why) => FetchError::System(std::io::Error::other(why)),
            _ => FetchError::Cancelled,
        })?;
        let ranking = ranking(self.engine, &probed.live);
        let endpoints = ranking.iter().map(|rating| rating.candidate.endpoint).collect();
        (self.progress)(Progress::Ranked { key: self.content, ranking });
        Ok(endpoints)
    }
}

impl Fetch<'_> {
    /// Returns true if and only if the name is offered with other content.
    fn is_replaced(&self) -> bool {
        let by_name = find::providers(self.engine, &Query::Name(self.name.clone()), self.cancel);
        by_name.is_ok_and(|providers| providers.iter().any(|one| one.entry.key() != self.content))
    }
}

impl Run {
    /// Ends the source thread in use, if there is one.
    fn leave(&mut self) {
        if let Some(in_use) = self.in_use.take() {
            in_use.stop.trigger();
        }
        self.threads.reap();
        // A buffer that was being filled goes down with its thread.
        while self.buffers.0.try_send(Vec::new()).is_ok() {}
    }

    fn give_back(&self, mut bytes: Vec<u8>) {
        bytes.clear();
        // One was made anew for it when its thread was left.
        let _there_are_enough = self.buffers.0.try_send(bytes);
    }
}

/// Live full holders, each endpoint once, best first.
pub(super) fn ranking(engine: &Engine, live: &[LiveHolder]) -> Vec<Rating> {
    let full = live.iter().filter(|holder| holder.provider.entry.holding == Holding::Full);
    let by_endpoint: BTreeMap<_, _> =
        full.map(|holder| (holder.candidate.endpoint, holder.candidate)).collect();
    let candidates: Vec<_> = by_endpoint.into_values().collect();
    rank(&candidates, engine.load_weight)
}
