//! The announce thread owns the control connection to the tracker. It registers this node, publishes changes
//! of the catalog, sends heartbeats and requests, and leaves the tracker at its end.
//!
//! One wait covers the mailbox, the end of the connection and the next heartbeat. The thread replaces a lost
//! connection after a random part of a second, and one whose registration was refused after
//! [`RETRY_PAUSE_MIN`] or longer; a request comes before that. With heartbeats off it connects for requests
//! only. A new connection begins with the whole catalog.

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use parking_lot::Mutex;
use rand::SeedableRng;
use rand::rngs::SmallRng;

use super::control::{Control, ControlError, Registration};
use super::interface::{NamePage, ReplicationRequest, TrackerClientConfig, TrackerEvent};
use crate::discovery::error::DiscoveryError;
use crate::discovery::published::PublishedCatalog;
use crate::logic::backoff;
use crate::net::client::{ClientError, Woken};
use crate::rt::{Mailbox, Stop, clock};
use crate::types::{
    ContentKey, Epoch, FileName, NodeSummary, Nonce, Provider, Query, ReplicationStatus, limits,
};

/// The first pause after a registration that was refused or not verified. The pause doubles with each
/// repetition, up to [`RETRY_PAUSE_MAX`].
const RETRY_PAUSE_MIN: Duration = Duration::from_secs(5);
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(300);

/// A request to the announce thread.
#[derive(Debug)]
pub(crate) enum Request {
    /// Publish the catalog as it is now. With a channel: reply once the tracker has it.
    Publish(Option<Sender<Result<(), DiscoveryError>>>),
    Find(Query, Sender<Result<Vec<Provider>, DiscoveryError>>),
    Nodes(Sender<Result<Vec<NodeSummary>, DiscoveryError>>),
    Names(Option<FileName>, Sender<Result<NamePage, DiscoveryError>>),
    Replicate(ReplicationRequest, Sender<Result<ReplicationStatus, DiscoveryError>>),
    /// Ask the tracker which replicas to keep.
    TakeTasks,
}

/// The state of the thread.
pub(crate) struct AnnounceThread {
    config: TrackerClientConfig,
    catalog: Arc<dyn PublishedCatalog>,
    nonce: Arc<Mutex<Option<Nonce>>>,
    report: Box<dyn Fn(TrackerEvent) + Send>,
    mail: Mailbox<Request>,
    /// The tracker offers this node, as far as is known. Other threads read it.
    is_registered: Arc<AtomicBool>,
    stop: Stop,
    rng: SmallRng,
    control: Option<Control>,
    /// When to connect again without a request.
    reconnect_at: Option<Instant>,
    next_heartbeat: Option<Instant>,
    /// The next registration, while the tracker does not offer the endpoint because it could not verify it.
    verification: Option<VerificationRetry>,
    /// The pause after the last refusal, while the tracker refuses.
    refused_pause: Option<Duration>,
    /// The epoch of the tracker at the last registration. A restarted tracker has another one.
    known_epoch: Option<Epoch>,
    /// Requests for copies that this node has sent. It repeats them to a restarted tracker.
    replications: BTreeMap<ContentKey, ReplicationRequest>,
    /// Requests that a restarted tracker does not have yet.
    unrepeated: VecDeque<ContentKey>,
}

/// When the node registers again so that the tracker can verify its endpoint, and the pause before that.
#[derive(Debug, Clone, Copy)]
struct VerificationRetry {
    at: Instant,
    pause: Duration,
}

/// Runs the thread until it is stopped, then leaves the tracker.
pub(crate) fn run(mut thread: AnnounceThread) {
    if thread.config.heartbeat.is_some() {
        thread.reconnect_at = Some(clock::now());
    }
    while !thread.stop.is_triggered() {
        thread.step();
        let registration = thread.control.as_ref().and_then(Control::registration);
        let is_in_effect = registration.is_some_and(|registration| registration.unverified.is_none());
        thread.is_registered.store(is_in_effect, Ordering::Relaxed);
    }
    if let Some(control) = thread.control {
        control.leave();
    }
}

impl AnnounceThread {
    pub(crate) fn new(
        config: TrackerClientConfig,
        catalog: Arc<dyn PublishedCatalog>,
        nonce: Arc<Mutex<Option<Nonce>>>,
        report: Box<dyn Fn(TrackerEvent) + Send>,
        mail: Mailbox<Request>,
        is_registered: Arc<AtomicBool>,
        stop: Stop,
    ) -> AnnounceThread {
        let rng = SmallRng::from_os_rng();
        AnnounceThread {
            config,
            catalog,
            nonce,
            report,
            mail,
            is_registered,
            stop,
            rng,
            control: None,
            reconnect_at: None,
            next_heartbeat: None,
            verification: None,
            refused_pause: None,
            known_epoch: None,
            replications: BTreeMap::new(),
            unrepeated: VecDeque::new(),
        }
    }

    /// Waits for one event and serves it.
    fn step(&mut self) {
        if self.control.is_some() && self.next_heartbeat.is_some_and(|at| at <= clock::now()) {
            // Before any request: if many requests in a row delayed heartbeats, the tracker would suspect
            // this node.
            self.act_on_time();
        }
        self.mail.clear();
        if let Some(request) = self.mail.next() {
            return self.serve(request);
        }
        if self.control.is_some() && !self.unrepeated.is_empty() {
            return self.repeat_request();
        }
        let Some(control) = &mut self.control else { return self.wait_without_connection() };
        let idle = clock::now() + limits::ms(limits::HEARTBEAT_MAX_MS);
        // With heartbeats off the thread acts on requests only.
        let verify_at = self.verification.map(|retry| retry.at).filter(|_| self.config.heartbeat.is_some());
        let deadline = [self.next_heartbeat, verify_at].into_iter().flatten().min().unwrap_or(idle);
        match control.wait(self.mail.as_fd(), deadline) {
            Ok(Woken::Mail) | Err(ClientError::Stopped) => {}
            Ok(Woken::Deadline) => self.act_on_time(),
            // The node awaits no reply: the connection has ended, or the tracker breaks the protocol.
            Ok(Woken::Socket) => self.lost("it closed the control connection"),
            Err(error) => self.lost(&error.to_string()),
        }
    }

    /// Waits for mail, or until the time to connect has come, and then connects.
    fn wait_without_connection(&mut self) {
        self.mail.wait(&self.stop, self.reconnect_at);
        if self.reconnect_at.is_some_and(|at| at <= clock::now()) && !self.stop.is_triggered() {
            // `connected` plans the next attempt if this one fails.
            self.connected().ok();
        }
    }

    fn serve(&mut self, request: Request) {
        // Replies are dropped if the caller was cancelled: its channel is closed then.
        match request {
            Request::Publish(None) => {
                if self.control.is_some() {
                    // `on_control` publishes first; there is nothing else to send. `lost` reports a failure,
                    // and the next registration publishes the whole catalog.
                    self.on_control(|_| Ok(())).ok();
                }
            }
            Request::Publish(Some(reply)) => drop(reply.send(self.on_control(|_| Ok(())))),
            Request::Find(query, reply) => drop(reply.send(self.on_control(|control| control.find(&query)))),
            Request::Nodes(reply) => drop(reply.send(self.on_control(Control::nodes))),
            Request::Names(after, reply) => {
                drop(reply.send(self.on_control(|control| control.names(after.clone()))));
            }
            Request::Replicate(request, reply) => drop(reply.send(self.replicate(request))),
            Request::TakeTasks => self.take_tasks(),
        }
    }

    /// Sends the tracker a request for copies, and remembers it for a restarted tracker.
    fn replicate(&mut self, request: ReplicationRequest) -> Result<ReplicationStatus, DiscoveryError> {
        let status = self.on_control(|control| control.replicate(&request, false))?;
        if request.copies == 0 {
            self.replications.remove(&request.content);
        } else if self.replications.len() < limits::REPLICA_REQUESTS_MAX {
            self.replications.insert(request.content, request);
        }
        Ok(status)
    }

    /// Repeats to a restarted tracker one request for copies that it had before. The request stays in the
    /// queue if the connection is lost.
    fn repeat_request(&mut self) {
        let request = self.unrepeated.front().and_then(|content| self.replications.get(content)).cloned();
        match request.and_then(|request| Some(self.control.as_mut()?.replicate(&request, true))) {
            Some(Err(failure)) if !matches!(failure, ControlError::Refused(_)) => {
                self.lost(&failure.to_string())
            }
            // The tracker has accepted or refused the request, or the user has taken it back.
            _ => drop(self.unrepeated.pop_front()),
        }
    }

    /// Asks the tracker which replicas to keep, if this node keeps any.
    fn take_tasks(&mut self) {
        // Read before `on_control` publishes the catalog. A replica that completes in between is then
        // published while it still counts as running. In the other order it would be neither, and the tracker
        // would count a failure.
        let Some(capacity) = self.catalog.replica_capacity().filter(|_| self.control.is_some()) else {
            return;
        };
        // `lost` reports a failure, and the next heartbeat asks again.
        if let Ok(tasks) = self.on_control(|control| control.take_tasks(&capacity))
            && !tasks.is_empty()
        {
            (self.report)(TrackerEvent::Tasks(tasks));
        }
    }

    /// Runs `request` on the control connection, after all changes of the catalog are published. Connects if
    /// there is no connection. Replaces a connection that turns out to be lost, once. A tracker that is too
    /// slow gets no second request.
    fn on_control<T>(
        &mut self,
        request: impl Fn(&mut Control) -> Result<T, ControlError>,
    ) -> Result<T, DiscoveryError> {
        let had_connection = self.control.is_some();
        let result = match self.try_on_control(&request) {
            Err(
                ControlError::Connection(ClientError::Closed | ClientError::Io(_))
                | ControlError::NotRegistered,
            ) if had_connection => self.try_on_control(&request),
            result => result,
        };
        let tracker = self.config.tracker;
        result.map_err(|failure| match failure {
            ControlError::Connection(ClientError::Stopped) => DiscoveryError::Cancelled,
            ControlError::Refused(why) => DiscoveryError::Refused { tracker, why },
            failure => DiscoveryError::NoTracker { tracker, why: failure.to_string() },
        })
    }

    fn try_on_control<T>(
        &mut self,
        request: impl Fn(&mut Control) -> Result<T, ControlError>,
    ) -> Result<T, ControlError> {
        let catalog = Arc::clone(&self.catalog);
        let control = self.connected()?;
        let updated = control.update(catalog.as_ref());
        // The tracker accepts no further page on a connection on which it has refused a page.
        let is_usable = updated.is_ok();
        let result = updated.and_then(|()| request(control));
        if let Err(failure) = &result
            && !(is_usable && matches!(failure, ControlError::Refused(_)))
        {
            self.lost(&failure.to_string());
        }
        result
    }

    /// The control connection. If there is none, opens it and registers, or plans the next attempt.
    fn connected(&mut self) -> Result<&mut Control, ControlError> {
        let control = match self.control.take() {
            Some(control) => control,
            None => {
                let show_nonce = |nonce| *self.nonce.lock() = Some(nonce);
                let opened = if self.config.registers {
                    Control::register(&self.config, self.catalog.as_ref(), show_nonce, &self.stop)
                } else {
                    Control::connect(&self.config, &self.stop)
                };
                match opened {
                    Ok(control) => self.record_registration(control),
                    Err(failure) => {
                        match failure {
                            ControlError::Refused(_) => self.plan_after_refusal(),
                            _ => self.plan_reconnect(),
                        }
                        return Err(failure);
                    }
                }
            }
        };
        Ok(self.control.insert(control))
    }

    /// Records a new connection and the tracker's reply to the registration, and reports what has changed.
    fn record_registration(&mut self, control: Control) -> Control {
        let now = clock::now();
        self.reconnect_at = None;
        self.refused_pause = None;
        self.next_heartbeat = self.config.heartbeat.map(|interval| now + interval);
        let Some(Registration { endpoint, epoch, unverified, .. }) = control.registration().cloned() else {
            return control;
        };
        match (unverified, self.verification) {
            (None, None) => {}
            (None, Some(_)) => {
                self.verification = None;
                (self.report)(TrackerEvent::Verified { endpoint });
            }
            (Some(why), before) => {
                if before.is_none() {
                    (self.report)(TrackerEvent::Unverified { endpoint, why });
                }
                let pause = next_pause(before.map(|retry| retry.pause));
                self.verification = Some(VerificationRetry { at: now + pause, pause });
            }
        }
        let is_other_tracker = self.known_epoch.replace(epoch).is_some_and(|known| known != epoch);
        if is_other_tracker {
            (self.report)(TrackerEvent::Restarted);
            // `step` repeats them one by one, between heartbeats and requests.
            self.unrepeated = self.replications.keys().copied().collect();
        }
        if self.catalog.replica_capacity().is_some() {
            // The tracker should learn soon which replicas this node is fetching: a heartbeat says it.
            self.next_heartbeat = self.config.heartbeat.map(|_| now);
        }
        control
    }

    /// Sends the heartbeat that is due, or registers again so that the tracker can verify the endpoint.
    fn act_on_time(&mut self) {
        let now = clock::now();
        if self.verification.is_some_and(|retry| retry.at <= now) {
            // The listener may have been slow, or not reachable for a while.
            self.control = None;
            // `connected` plans the next attempt if this one fails.
            self.connected().ok();
        } else if self.next_heartbeat.is_some_and(|at| at <= now) {
            self.next_heartbeat = self.config.heartbeat.map(|interval| now + interval);
            let load = self.catalog.load();
            if let Some(Err(failure)) = self.control.as_mut().map(|control| control.heartbeat(load)) {
                self.lost(&failure.to_string());
            }
            self.take_tasks();
        }
    }

    /// Drops the control connection and plans the next one.
    fn lost(&mut self, why: &str) {
        // A node that does not register loses nothing: its next request connects again.
        if self.control.take().is_some() && self.config.registers && !self.stop.is_triggered() {
            (self.report)(TrackerEvent::Lost { why: why.to_owned() });
        }
        self.plan_reconnect();
    }

    fn plan_reconnect(&mut self) {
        let max = limits::ms(limits::RECONNECT_JITTER_MS);
        self.reconnect_at = self.config.heartbeat.map(|_| clock::now() + backoff::jitter(&mut self.rng, max));
    }

    /// Waits longer after each refusal: the reason of a refusal seldom ends soon, and each attempt sends the
    /// whole catalog.
    fn plan_after_refusal(&mut self) {
        let pause = next_pause(self.refused_pause);
        self.refused_pause = Some(pause);
        self.reconnect_at = self.config.heartbeat.map(|_| clock::now() + pause);
    }
}

fn next_pause(before: Option<Duration>) -> Duration {
    before.map_or(RETRY_PAUSE_MIN, |pause| (pause * 2).min(RETRY_PAUSE_MAX))
}

#[cfg(test)]
mod tests;
