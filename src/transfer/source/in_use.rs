//! The sources in use: a thread for each, with a queue of the pieces that it is to fetch.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crossbeam_channel::{Sender, bounded};

use super::buffers::{Buffer, Buffers};
use super::connection::{SourceConnector, SourceError};
use super::thread::{Meter, SourceThread};
use crate::logic::transfer::Event;
use crate::rt::{Stop, Threads};
use crate::types::{Geometry, limits};

/// A report of the thread of a source.
#[derive(Debug)]
pub(crate) enum SourceReport {
    /// A piece has arrived. It is not verified.
    Arrived { piece: u32, bytes: Buffer },
    /// The source does not have a piece that was requested. Its thread goes on.
    LacksPiece { piece: u32 },
    /// The source cannot be used any more. Its thread has ended.
    Failed(SourceError),
}

/// All sources in use.
#[derive(Debug)]
pub(crate) struct Sources {
    connector: Arc<dyn SourceConnector>,
    geometry: Geometry,
    buffers: Buffers,
    in_use: BTreeMap<SocketAddr, InUse>,
    next_thread: u64,
}

#[derive(Debug)]
struct InUse {
    thread: u64,
    fetches: Sender<u32>,
    meter: Arc<Meter>,
    reply_delay: Duration,
    stop: Stop,
}

impl Sources {
    pub(crate) fn new(connector: Arc<dyn SourceConnector>, geometry: Geometry, buffers: Buffers) -> Sources {
        Sources { connector, geometry, buffers, in_use: BTreeMap::new(), next_thread: 0 }
    }

    pub(crate) fn connector(&self) -> &Arc<dyn SourceConnector> {
        &self.connector
    }

    /// Starts the thread of a source. `report` receives its reports, with the number of the thread, and
    /// returns false to end the thread; `stop` ends it too.
    ///
    /// # Errors
    /// If the system gives no thread or descriptor.
    pub(crate) fn open(
        &mut self,
        endpoint: SocketAddr,
        threads: &Threads,
        stop: &Stop,
        report: impl Fn(u64, SourceReport) -> bool + Send + 'static,
    ) -> std::io::Result<()> {
        let stop = stop.child()?;
        let (fetches, to_fetch) = bounded(limits::PIECE_REQUESTS_MAX);
        let meter = Arc::new(Meter::default());
        let thread = self.next_thread;
        self.next_thread += 1;
        let source = SourceThread {
            connector: Arc::clone(&self.connector),
            endpoint,
            geometry: self.geometry,
            meter: Arc::clone(&meter),
            fetches: to_fetch,
            buffers: self.buffers.clone(),
            stop: stop.clone(),
        };
        threads.spawn("source", move || {
            let ended = source.run(|piece, bytes| {
                let arrived = bytes.map(|bytes| SourceReport::Arrived { piece, bytes });
                report(thread, arrived.unwrap_or(SourceReport::LacksPiece { piece }))
            });
            if let Err(error) = ended
                && !matches!(error, SourceError::Stopped)
            {
                // The thread ends, whether the download wants more reports or not.
                let _wants_more = report(thread, SourceReport::Failed(error));
            }
        })?;
        let reply_delay = self.connector.reply_delay(endpoint);
        self.in_use.insert(endpoint, InUse { thread, fetches, meter, reply_delay, stop });
        Ok(())
    }

    /// Requests a piece from a source in use.
    pub(crate) fn fetch(&self, endpoint: SocketAddr, piece: u32) {
        if let Some(in_use) = self.in_use.get(&endpoint) {
            // The queue has room for all requests that the machine makes at once. It is closed if the thread
            // has just failed: then a report of that is on the way.
            in_use.fetches.try_send(piece).ok();
        }
    }

    /// Ends the thread of a source and does not wait for it.
    pub(crate) fn leave(&mut self, endpoint: SocketAddr) {
        if let Some(in_use) = self.in_use.remove(&endpoint) {
            in_use.stop.trigger();
        }
    }

    /// Returns true if and only if this thread serves the source now.
    pub(crate) fn is_in_use(&self, endpoint: SocketAddr, thread: u64) -> bool {
        self.in_use.get(&endpoint).is_some_and(|in_use| in_use.thread == thread)
    }

    pub(crate) fn endpoints(&self) -> impl Iterator<Item = SocketAddr> + Clone {
        self.in_use.keys().copied()
    }

    /// Events with the bytes that have arrived from each source so far.
    pub(crate) fn byte_counts(&self) -> impl Iterator<Item = Event> {
        self.in_use.iter().map(|(endpoint, in_use)| Event::Received {
            source: *endpoint,
            bytes: in_use.meter.received_bytes.load(Ordering::Relaxed),
            reply_delay: in_use.reply_delay,
            waits_for_us: in_use.meter.waits_for_us.load(Ordering::Relaxed),
        })
    }
}
