//! The handle to the announce thread: requests go in through its mailbox, each with its own reply channel.
//!
//! One thread owns the control connection, so registration and requests cannot overtake each other: any
//! request made after a tracker was restarted registers this node first.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, select};
use parking_lot::Mutex;

use super::session::{self, Announce, Request, TrackerClientConfig, TrackerEvent};
use crate::discovery::{Discovery, DiscoveryError, NamePage, PublishedCatalog, ReplicationRequest};
use crate::rt::{Post, Stop, Threads, clock, mailbox};
use crate::types::{FileName, NodeSummary, Nonce, Provider, Query, ReplicationStatus};

/// Requests that may wait for the announce thread.
const WAITING_MAX: usize = 256;

/// Cheap to clone.
#[derive(Debug, Clone)]
pub struct TrackerClient {
    tracker: SocketAddr,
    requests: Post<Request>,
    /// Kept by the announce thread.
    is_registered: Arc<AtomicBool>,
    /// Disconnects when the announce thread has left the tracker and ended.
    left: Receiver<Infallible>,
}

impl TrackerClient {
    /// Starts the announce thread in `threads`; it leaves the tracker and ends with `stop`. `nonce` is where
    /// it puts what the listener must show when called back, `news` what it is told through.
    ///
    /// # Errors
    /// When the system gives no thread or descriptor.
    pub fn start(
        config: TrackerClientConfig,
        catalog: Arc<dyn PublishedCatalog>,
        nonce: Arc<Mutex<Option<Nonce>>>,
        news: impl Fn(TrackerEvent) + Send + 'static,
        threads: &Threads,
        stop: &Stop,
    ) -> std::io::Result<TrackerClient> {
        let (requests, mail) = mailbox(WAITING_MAX)?;
        let tracker = config.tracker;
        let is_registered = Arc::new(AtomicBool::new(false));
        let registered = Arc::clone(&is_registered);
        let thread = Announce::new(config, catalog, nonce, Box::new(news), mail, registered, stop.clone());
        let (leaving, left) = bounded(0);
        threads.spawn("announce", move || {
            session::run(thread);
            drop::<Sender<Infallible>>(leaving);
        })?;
        Ok(TrackerClient { tracker, requests, is_registered, left })
    }

    /// Whether the tracker offers this node to others, as far as is known: it is registered, could be called
    /// back, and has a connection.
    pub fn is_registered(&self) -> bool {
        self.is_registered.load(Ordering::Relaxed)
    }

    /// Waits until the announce thread, having been stopped, has left the tracker.
    pub fn wait_until_left(&self, deadline: Instant) {
        // Either it has left or there is no more time for it.
        let _never_delivers = self.left.recv_deadline(deadline);
    }

    /// Publishes the catalog as it is now and waits for it, at most until `deadline`.
    ///
    /// # Errors
    /// [`DiscoveryError`] if the tracker has not taken it by then.
    pub fn publish_now(&self, deadline: Instant, cancel: &Stop) -> Result<(), DiscoveryError> {
        self.ask(|reply| Request::Publish(Some(reply)), deadline, cancel)
    }

    /// All nodes that the tracker knows.
    ///
    /// # Errors
    /// [`DiscoveryError`] when it could not be asked.
    pub fn nodes(&self, cancel: &Stop) -> Result<Vec<NodeSummary>, DiscoveryError> {
        self.ask(Request::Nodes, self.patience(), cancel)
    }

    /// A page of the names that can be downloaded, in order, those after `after`, and whether there are more.
    ///
    /// # Errors
    /// [`DiscoveryError`] when it could not be asked.
    pub fn names(&self, after: Option<FileName>, cancel: &Stop) -> Result<NamePage, DiscoveryError> {
        self.ask(|reply| Request::Names(after, reply), self.patience(), cancel)
    }

    /// Wishes for copies of a content; this node tells it again to a restarted tracker for as long as it
    /// runs.
    ///
    /// # Errors
    /// [`DiscoveryError`] when it could not be asked, or does not keep the wish.
    pub fn replicate(
        &self,
        wish: ReplicationRequest,
        cancel: &Stop,
    ) -> Result<ReplicationStatus, DiscoveryError> {
        self.ask(|reply| Request::Replicate(wish, reply), self.patience(), cancel)
    }

    /// Asks what to keep for others; what is told comes as [`TrackerEvent::Tasks`]. Does not wait.
    pub fn take_tasks(&self) {
        // A full mailbox means that much is being asked, and the next heartbeat asks this.
        let _asked_later = self.requests.send(Request::TakeTasks);
    }

    /// The announce thread keeps its own deadlines; this one only bounds the wait for its turn.
    fn patience(&self) -> Instant {
        clock::now() + Duration::from_secs(60)
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
            recv(answer) -> result => result.unwrap_or(Err(DiscoveryError::Cancelled)),
            recv(cancel.receiver()) -> _ => Err(DiscoveryError::Cancelled),
            recv(late) -> _ => Err(unavailable("no answer in time")),
        }
    }
}

impl Discovery for TrackerClient {
    fn publish(&self) {
        // A full mailbox means that requests wait, and each of them publishes first.
        let _requests_wait = self.requests.send(Request::Publish(None));
    }

    fn find(&self, query: &Query, cancel: &Stop) -> Result<Vec<Provider>, DiscoveryError> {
        self.ask(|reply| Request::Find(query.clone(), reply), self.patience(), cancel)
    }
}
