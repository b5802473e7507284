//! The loop of a download: it executes the actions of the machine and reports events to it.
//!
//! All input comes as a [`Message`]: pieces from the source threads, verdicts from the verifier, manifests,
//! rankings. The driver waits for messages and for the clock. Apart from that only the disk and the start of
//! a thread can delay it. It runs on the thread of its caller, the only one that writes to the partial file.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, bounded, never, select};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::interface::{Driver, FetchedContent, LeftoverPieces, TransferError};
use super::message::Message;
use crate::logic::select::Candidate;
use crate::logic::transfer::{Action, Event, Plan, Transfer};
use crate::rt::{How, Stop, Threads, clock};
use crate::transfer::have_schedule::HaveSchedule;
use crate::transfer::manifest_search::ManifestSearch;
use crate::transfer::search::{HeldPieces, with_pieces};
use crate::transfer::source::{Buffers, Sources};
use crate::transfer::verifier::{self, CheckedPiece, Verifier};
use crate::types::{Geometry, Ranked, limits};

/// Messages that may wait. A thread that sends one more blocks until the driver receives one.
const MESSAGES_MAX: usize = 64;

/// What changes while a transfer runs.
pub(super) struct Run {
    pub(super) transfer: Transfer,
    pub(super) sources: Sources,
    pub(super) verifier: Verifier,
    /// Checked pieces whose verdict is not applied yet: right ones are still to be written.
    pub(super) checked: VecDeque<CheckedPiece>,
    pub(super) manifest: ManifestSearch,
    /// The last ranking of the holders, best first.
    pub(super) ranked: Vec<Candidate>,
    pub(super) is_searching: bool,
    /// When to ask the partial holders.
    pub(super) have_schedule: HaveSchedule,
    pub(super) buffers: Buffers,
    /// Every thread of the download gets a clone of the sender.
    pub(super) messages: (Sender<Message>, Receiver<Message>),
    pub(super) threads: Threads,
    /// Ends all threads of the download.
    pub(super) stop: Stop,
    pub(super) fetched: FetchedContent,
    /// Verified bytes, those of an earlier download included.
    pub(super) done_bytes: u64,
    /// Verified bytes that came from sources in this run.
    pub(super) fetched_bytes: u64,
}

impl Driver<'_> {
    /// Fetches every piece of the content that `left` does not have.
    ///
    /// # Errors
    /// [`TransferError`]. Pieces that were written stay in the partial file.
    pub fn run(
        &mut self,
        ranking: &[Ranked],
        held: HeldPieces,
        left: LeftoverPieces,
    ) -> Result<FetchedContent, TransferError> {
        if let Some(manifest) = &left.manifest {
            // The present request may differ from the request that left the partial file.
            self.remember(manifest)?;
        }
        let geometry = self.geometry;
        let candidates: Vec<_> = ranking.iter().map(Candidate::from).collect();
        let buffers = Buffers::of(&geometry);
        let plan = self.plan(&geometry, &buffers, &left);
        let (verifier, batches) = Verifier::new(geometry, left.marked);
        let stop = self.cancel.child().map_err(TransferError::System)?;
        let mut have_schedule = HaveSchedule::new();
        have_schedule.replace(&held, clock::now());
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
            messages: bounded(MESSAGES_MAX),
            threads: Threads::new(),
            stop,
            fetched: FetchedContent { sources: Vec::new(), piece_md5s_hold: true, manifest: None },
            done_bytes: 0,
            fetched_bytes: 0,
        };
        let (partial, messages) = (Arc::clone(self.partial), run.messages.0.clone());
        let deliver = move |checked| messages.send(Message::Checked(checked)).is_ok();
        let verifying =
            run.threads.spawn("verify", move || verifier::run(&batches, &partial, geometry, deliver));
        let result = verifying.map_err(TransferError::System).and_then(|()| self.work(&mut run));
        // An error of `end` wins: a thread that did not end may still use the partial file.
        run.end().map(|fetched| result.map(|()| fetched))?
    }

    fn plan(&self, geometry: &Geometry, buffers: &Buffers, left: &LeftoverPieces) -> Plan {
        let pieces = geometry.count().unwrap_or(0);
        Plan {
            pieces,
            piece_len_bytes: geometry.piece_len_bytes(),
            marked: left.marked.clone(),
            // Downloads that begin together begin at different pieces, so that each has pieces for the
            // others.
            first_piece: SmallRng::from_os_rng().random_range(0..pieces.max(1)),
            seed: SmallRng::from_os_rng().random(),
            // Each source may hold a buffer that fills slowly. Unless there is a buffer for each piece, half
            // of them are left for the other sources.
            sources_max: if buffers.count() as u64 >= u64::from(pieces) {
                limits::SOURCES_AT_ONCE
            } else {
                limits::SOURCES_AT_ONCE.min(buffers.count().div_ceil(2))
            },
            load_weight: self.config.load_weight,
            retries: self.config.retries,
        }
    }

    /// Executes actions until the transfer ends. While the machine has none, does what is due and handles
    /// one message.
    fn work(&mut self, run: &mut Run) -> Result<(), TransferError> {
        loop {
            let now = clock::now();
            let actions = run.transfer.next_actions(now);
            if actions.is_empty() {
                self.request_manifest(run, now)?;
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
                        run.manifest.cancel_request(source);
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

    /// Applies a message if there is one, else a verdict if there is one, else waits. Verdicts come last
    /// because a right piece is written to the disk: source threads and verifier have work meanwhile.
    fn step(&mut self, run: &mut Run, now: Instant) -> Result<(), TransferError> {
        if self.cancel.is_triggered() {
            return Err(TransferError::Cancelled);
        }
        if let Ok(message) = run.messages.1.try_recv() {
            self.apply(run, message)?;
        } else if let Some(checked) = run.checked.pop_front() {
            self.apply_verdict(run, checked)?;
        } else {
            self.wait(run, now)?;
        }
        let now = clock::now();
        for event in run.sources.byte_counts() {
            run.transfer.on_event(now, event);
        }
        Ok(())
    }

    /// Waits for a message or for the next deadline, and applies the message.
    fn wait(&mut self, run: &mut Run, now: Instant) -> Result<(), TransferError> {
        // No batch can start without the manifest.
        let verify_at = run.verifier.due_at().filter(|_| !run.manifest.is_missing());
        let wakes =
            [run.transfer.next_wake(now), verify_at, run.manifest.next_wake(), run.have_schedule.next_wake()];
        let wake = wakes.into_iter().flatten().min();
        select! {
            recv(self.cancel.receiver()) -> _ => return Err(TransferError::Cancelled),
            recv(run.messages.1) -> message => if let Ok(message) = message {
                self.apply(run, message)?;
            },
            recv(run.threads.ended()) -> ended => {
                run.threads.reap();
                if ended.is_ok_and(|ended| ended.how == How::Panicked) {
                    return Err(TransferError::Bug("a thread of the download has panicked"));
                }
            },
            // A deadline: `work` then does what is due.
            recv(wake.map_or_else(never, crossbeam_channel::at)) -> _ => {}
        }
        Ok(())
    }

    fn open(&mut self, run: &mut Run, source: SocketAddr) {
        (self.publish)(self.reporter.source(source, clock::now()));
        let messages = run.messages.0.clone();
        let report = move |thread, report| messages.send(Message::Source { source, thread, report }).is_ok();
        if let Err(error) = run.sources.open(source, &run.threads, &run.stop, report) {
            // The sources in use continue.
            let why = format!("the system gives no thread or descriptor for it: {error}");
            run.transfer.on_event(clock::now(), Event::Failed { source, why, sent_wrong_data: false });
        }
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
            Message::Search(result) => self.apply_search(run, result)?,
            Message::HeldPieces(held) => self.apply_held_pieces(run, held)?,
        }
        Ok(())
    }
}

impl Run {
    /// Ends all threads of the download.
    fn end(self) -> Result<FetchedContent, TransferError> {
        let Run { stop, threads, mut fetched, manifest, sources, verifier, messages, ranked, .. } = self;
        stop.trigger();
        // Closes the channels, so that threads that wait for them end.
        drop((sources, verifier, messages));
        let ended = threads.join(clock::now() + limits::ms(limits::STOP_DEADLINE_MS));
        if !ended.still_running.is_empty() {
            return Err(TransferError::Bug("a thread of the download does not end"));
        }
        if fetched.piece_md5s_hold {
            fetched.manifest = manifest.into_manifest();
        }
        if fetched.sources.is_empty() {
            fetched.sources.extend(ranked.first().map(|candidate| candidate.endpoint));
        }
        Ok(fetched)
    }
}
