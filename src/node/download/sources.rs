//! The sources in use: a thread each, told what to fetch.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crossbeam_channel::{Sender, bounded};

use super::buffers::Buffers;
use super::peer::{Asker, SourceError};
use super::report::SourceMessage;
use super::source::{self, Meter, Source};
use crate::logic::transfer::Event;
use crate::rt::{Stop, Threads};
use crate::types::limits;

#[derive(Debug)]
pub(super) struct Sources {
    asker: Asker,
    buffers: Buffers,
    in_use: BTreeMap<SocketAddr, InUse>,
    next_thread: u64,
}

#[derive(Debug)]
struct InUse {
    thread: u64,
    fetches: Sender<u32>,
    meter: Arc<Meter>,
    held_back: Duration,
    stop: Stop,
}

impl Sources {
    pub(super) fn new(asker: Asker, buffers: Buffers) -> Sources {
        Sources { asker, buffers, in_use: BTreeMap::new(), next_thread: 0 }
    }

    pub(super) fn asker(&self) -> &Asker {
        &self.asker
    }

    /// Starts the thread of a source. What comes from it is reported; `stop` ends it too.
    ///
    /// # Errors
    /// When the system gives no thread or descriptor.
    pub(super) fn open(
        &mut self,
        endpoint: SocketAddr,
        threads: &Threads,
        reports: &Sender<SourceMessage>,
        stop: &Stop,
    ) -> std::io::Result<()> {
        let stop = stop.child()?;
        let (fetches, to_fetch) = bounded(limits::PIECE_REQUESTS_MAX);
        let meter = Arc::new(Meter::default());
        let thread = self.next_thread;
        self.next_thread += 1;
        let source = Source {
            asker: self.asker.clone(),
            endpoint,
            meter: Arc::clone(&meter),
            fetches: to_fetch,
            buffers: self.buffers.clone(),
            stop: stop.clone(),
        };
        let held_back = source.held_back();
        let reports = reports.clone();
        threads.spawn("source", move || {
            let deliver = |piece, bytes| {
                let report = match bytes {
                    Some(bytes) => SourceMessage::Arrived { source: endpoint, thread, piece, bytes },
                    None => SourceMessage::Lacks { source: endpoint, thread, piece },
                };
                reports.send(report).is_ok()
            };
            if let Err(fault) = source::run(&source, deliver)
                && !matches!(fault, SourceError::Stopped)
            {
                let (why, by_digest) = (fault.why(), fault.by_digest());
                let failed = SourceMessage::SourceFailed { source: endpoint, thread, why, by_digest };
                let _download_has_ended = reports.send(failed);
            }
        })?;
        self.in_use.insert(endpoint, InUse { thread, fetches, meter, held_back, stop });
        Ok(())
    }

    /// Has a source in use fetch a piece.
    pub(super) fn fetch(&self, endpoint: SocketAddr, piece: u32) {
        if let Some(in_use) = self.in_use.get(&endpoint) {
            // A thread that has just failed does not take it; its report is on the way. More than fit are
            // never asked for.
            let _thread_has_failed = in_use.fetches.try_send(piece);
        }
    }

    /// Ends the thread of a source, without waiting for it.
    pub(super) fn leave(&mut self, endpoint: SocketAddr) {
        if let Some(in_use) = self.in_use.remove(&endpoint) {
            in_use.stop.trigger();
        }
    }

    /// Returns true if and only if this thread is the one that serves the source now.
    pub(super) fn is_in_use(&self, endpoint: SocketAddr, thread: u64) -> bool {
        self.in_use.get(&endpoint).is_some_and(|in_use| in_use.thread == thread)
    }

    pub(super) fn endpoints(&self) -> impl Iterator<Item = SocketAddr> + Clone {
        self.in_use.keys().copied()
    }

    /// What has come from each so far.
    pub(super) fn received(&self) -> impl Iterator<Item = Event> {
        self.in_use.iter().map(|(endpoint, in_use)| Event::Received {
            source: *endpoint,
            bytes: in_use.meter.received_bytes.load(Ordering::Relaxed),
            held_back: in_use.held_back,
            waits_for_us: in_use.meter.waits_for_us.load(Ordering::Relaxed),
        })
    }
}
