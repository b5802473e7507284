//! The handle to the announce thread: requests go in through its mailbox, each with its own reply channel.
//!
//! One thread owns the control connection, so that registration and requests cannot overtake each other: the
//! first request after a restart of the tracker registers this node before it is sent.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, select};
use parking_lot::Mutex;

use super::announce::{self, AnnounceThread, Request};
use super::interface::{NamePage, ReplicationRequest, TrackerClientConfig, TrackerEvent, TrackerSession};
use crate::discovery::error::DiscoveryError;
use crate::discovery::finder::{Finder, Publisher};
use crate::discovery::published::PublishedCatalog;
use crate::rt::{Post, Stop, Threads, clock, mailbox};
use crate::types::{FileName, NodeSummary, Nonce, Provider, Query, ReplicationStatus};

/// Maximum number of requests that wait for the announce thread.
const WAITING_MAX: usize = 256;
/// Maximum wait for a reply of the announce thread. The thread itself waits less long for the tracker.
const TIME_LIMIT: Duration = Duration::from_secs(60);

/// A client of one tracker. Cheap to clone; all clones use the same announce thread.
#[derive(Debug, Clone)]
pub struct TrackerClient {
    tracker: SocketAddr,
    requests: Post<Request>,
    /// The announce thread writes it.
    is_registered: Arc<AtomicBool>,
    /// Disconnects when the announce thread has left the tracker and ended.
    left: Receiver<Infallible>,
}

impl TrackerClient {
    /// Starts the announce thread in `threads`; it leaves the tracker and ends with `stop`. The thread stores
    /// in `nonce` what the listener must show when the tracker calls it back, and reports through `report`.
    ///
    /// # Errors
    /// When the system gives no thread or descriptor.
    pub fn start(
        config: TrackerClientConfig,
        catalog: Arc<dyn PublishedCatalog>,
        nonce: Arc<Mutex<Option<Nonce>>>,
        report: impl Fn(TrackerEvent) + Send + 'static,
        threads: &Threads,
        stop: &Stop,
    ) -> std::io::Result<TrackerClient> {
        let (requests, mail) = mailbox(WAITING_MAX)?;
        let tracker = config.tracker;
        let is_registered = Arc::new(AtomicBool::new(false));
        let registered = Arc::clone(&is_registered);
        let thread =
            AnnounceThread::new(config, catalog, nonce, Box::new(report), mail, registered, stop.clone());
        let (leaving, left) = bounded(0);
        threads.spawn("announce", move || {
            announce::run(thread);
            drop::<Sender<Infallible>>(leaving);
        })?;
        Ok(TrackerClient { tracker, requests, is_registered, left })
    }

    fn ask<T>(
        &self,
        request: impl FnOnce(Sender<Result<T, DiscoveryError>>) -> Request,
        deadline: Instant,
        cancel: &Stop,
    ) -> Result<T, DiscoveryError> {
        let (reply, answer) = bounded(1);
        let unavailable = |why: &str| DiscoveryError::NoTracker { tracker: self.tracker, why: why.into() };
        self.requests
            .send(request(reply))
            .map_err(|_| unavailable("too many requests are waiting for it"))?;
        let late: Receiver<Instant> = crossbeam_channel::at(deadline);
        select! {
            // The announce thread drops the channel if it stops before it has served the request.
            recv(answer) -> result => result.unwrap_or(Err(DiscoveryError::Cancelled)),
            recv(cancel.receiver()) -> _ => Err(DiscoveryError::Cancelled),
            recv(late) -> _ => Err(unavailable("no answer in time")),
        }
    }
}

fn time_limit() -> Instant {
    clock::now() + TIME_LIMIT
}

impl Finder for TrackerClient {
    fn name(&self) -> String {
        format!("tracker {}", self.tracker)
    }

    fn find(&self, query: &Query, deadline: Instant, cancel: &Stop) -> Result<Vec<Provider>, DiscoveryError> {
        self.ask(|reply| Request::Find(query.clone(), reply), deadline, cancel)
    }
}

impl Publisher for TrackerClient {
    fn publish(&self) {
        // A full mailbox means that requests wait. Each of them publishes the catalog before it is sent.
        self.requests.send(Request::Publish(None)).ok();
    }
}

impl TrackerSession for TrackerClient {
    fn is_registered(&self) -> bool {
        self.is_registered.load(Ordering::Relaxed)
    }

    fn publish_now(&self, deadline: Instant, cancel: &Stop) -> Result<(), DiscoveryError> {
        self.ask(|reply| Request::Publish(Some(reply)), deadline, cancel)
    }

    fn nodes(&self, cancel: &Stop) -> Result<Vec<NodeSummary>, DiscoveryError> {
        self.ask(Request::Nodes, time_limit(), cancel)
    }

    fn names(&self, after: Option<FileName>, cancel: &Stop) -> Result<NamePage, DiscoveryError> {
        self.ask(|reply| Request::Names(after, reply), time_limit(), cancel)
    }

    fn replicate(
        &self,
        request: ReplicationRequest,
        cancel: &Stop,
    ) -> Result<ReplicationStatus, DiscoveryError> {
        self.ask(|reply| Request::Replicate(request, reply), time_limit(), cancel)
    }

    fn request_tasks(&self) {
        // A full mailbox means that many requests wait. The next heartbeat asks for tasks again.
        self.requests.send(Request::TakeTasks).ok();
    }

    fn wait_until_left(&self, deadline: Instant) {
        // The channel never delivers: it disconnects, or the deadline passes. Both end the wait.
        self.left.recv_deadline(deadline).ok();
    }
}
