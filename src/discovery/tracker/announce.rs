//! The announce thread: owns the control connection to the tracker. It registers, publishes changes, sends
//! heartbeats and requests, and leaves.
//!
//! It waits at once for its mailbox, for the end of the connection and for the next heartbeat. It opens a
//! lost connection again after a random part of a second (with heartbeats off: at the next request), and
//! sends the whole catalog first.

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

/// First pause before a registration that was refused or not verified is tried again. It doubles up to
/// [`RETRY_PAUSE_MAX`].
const RETRY_PAUSE_MIN: Duration = Duration::from_secs(5);
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(300);

/// A request to the announce thread.
#[derive(Debug)]
pub(crate) enum Request {
    /// Publish the catalog as it is now, and reply once the tracker has it, if there is a channel.
    Publish(Option<Sender<Result<(), DiscoveryError>>>),
    Find(Query, Sender<Result<Vec<Provider>, DiscoveryError>>),
    Nodes(Sender<Result<Vec<NodeSummary>, DiscoveryError>>),
    Names(Option<FileName>, Sender<Result<NamePage, DiscoveryError>>),
    Replicate(ReplicationRequest, Sender<Result<ReplicationStatus, DiscoveryError>>),
    /// Ask which replicas to keep.
    TakeTasks,
}

/// The thread's state.
pub(crate) struct Announce {
    config: TrackerClientConfig,
    catalog: Arc<dyn PublishedCatalog>,
    nonce: Arc<Mutex<Option<Nonce>>>,
    report: Box<dyn Fn(TrackerEvent) + Send>,
    mail: Mailbox<Request>,
    /// Whether a registration is in effect; other threads read it.
    is_registered: Arc<AtomicBool>,
    stop: Stop,
    rng: SmallRng,
    control: Option<Control>,
    /// When to connect again without a request.
    reconnect_at: Option<Instant>,
    next_heartbeat: Option<Instant>,
    /// When to register again because the endpoint was not verified, and the pause before that.
    verify_again: Option<(Instant, Duration)>,
    /// The pause after the last refusal, while the tracker refuses.
    refused_pause: Option<Duration>,
    known_epoch: Option<Epoch>,
    /// Copies that this node has requested. It repeats them to a tracker that was restarted.
    replications: BTreeMap<ContentKey, ReplicationRequest>,
    /// Requests that a restarted tracker does not have yet.
    unrepeated: VecDeque<ContentKey>,
}

/// Runs the thread until it is stopped, then leaves the tracker.
pub(crate) fn run(mut announce: Announce) {
    if announce.config.heartbeat.is_some() {
        announce.reconnect_at = Some(clock::now());
    }
    while !announce.stop.is_triggered() {
        announce.step();
        let registration = announce.control.as_ref().and_then(Control::registration);
        let is_in_effect = registration.is_some_and(|registration| registration.unverified.is_none());
        announce.is_registered.store(is_in_effect, Ordering::Relaxed);
    }
    if let Some(control) = announce.control {
        control.leave();
    }
}

impl Announce {
    pub(crate) fn new(
        config: TrackerClientConfig,
        catalog: Arc<dyn PublishedCatalog>,
        nonce: Arc<Mutex<Option<Nonce>>>,
        report: Box<dyn Fn(TrackerEvent) + Send>,
        mail: Mailbox<Request>,
        is_registered: Arc<AtomicBool>,
        stop: Stop,
    ) -> Announce {
        let rng = SmallRng::from_os_rng();
        Announce {
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
            verify_again: None,
            refused_pause: None,
            known_epoch: None,
            replications: BTreeMap::new(),
            unrepeated: VecDeque::new(),
        }
    }

    /// Waits for one event and serves it.
    fn step(&mut self) {
        if self.control.is_some() && self.next_heartbeat.is_some_and(|at| at <= clock::now()) {
            // Before any request: many requests in a row must not delay heartbeats until this node is
            // suspect.
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
        let verify_again_at = self.verify_again.map(|(at, _)| at).filter(|_| self.config.heartbeat.is_some());
        let deadline = [self.next_heartbeat, verify_again_at].into_iter().flatten().min().unwrap_or(idle);
        match control.wait(self.mail.as_fd(), deadline) {
            Ok(Woken::Mail) | Err(ClientError::Stopped) => {}
            Ok(Woken::Deadline) => self.act_on_time(),
            // No request is open: the connection has ended, or the tracker breaks the protocol.
            Ok(Woken::Socket) => self.lost("it closed the control connection"),
            Err(error) => self.lost(&error.to_string()),
        }
    }

    /// Waits for mail. Connects when it is time to.
    fn wait_without_connection(&mut self) {
        self.mail.wait(&self.stop, self.reconnect_at);
        if self.reconnect_at.is_some_and(|at| at <= clock::now()) && !self.stop.is_triggered() {
            // A failure plans the next attempt. A request before it gets the error.
            let _not_yet = self.connected();
        }
    }

    fn serve(&mut self, request: Request) {
        // A caller that was cancelled has dropped its reply channel.
        match request {
            Request::Publish(None) => {
                if self.control.is_some() {
                    // `lost` reports a failure, and the next registration publishes everything.
                    let _published_later = self.on_control(|_| Ok(()));
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

    /// Sends the tracker a request for copies and remembers it.
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
            // It was repeated or refused, or the node has taken it back.
            _ => drop(self.unrepeated.pop_front()),
        }
    }

    /// Asks which replicas to keep, if this node keeps any.
    fn take_tasks(&mut self) {
        // Read before the catalog is published. A replica that completes in between is then published while
        // it still counts as running. In the other order the tracker would take it for a failure.
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

    /// Runs `request` on a control connection that is registered and up to date; opens one if there is none.
    /// A connection that turns out to be lost is replaced once. A tracker that is too slow is not asked
    /// again.
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
        // The tracker accepts no more pages on a connection on which it has refused one.
        let is_usable = updated.is_ok();
        let result = updated.and_then(|()| request(control));
        if let Err(failure) = &result
            && !(is_usable && matches!(failure, ControlError::Refused(_)))
        {
            self.lost(&failure.to_string());
        }
        result
    }

    /// The control connection; opened and registered now if there is none.
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
        match (unverified, self.verify_again) {
            (None, None) => {}
            (None, Some(_)) => {
                self.verify_again = None;
                (self.report)(TrackerEvent::Verified { endpoint });
            }
            (Some(why), before) => {
                if before.is_none() {
                    (self.report)(TrackerEvent::Unverified { endpoint, why });
                }
                let pause = before.map_or(RETRY_PAUSE_MIN, |(_, pause)| (pause * 2).min(RETRY_PAUSE_MAX));
                self.verify_again = Some((now + pause, pause));
            }
        }
        let is_other_tracker = self.known_epoch.replace(epoch).is_some_and(|known| known != epoch);
        if is_other_tracker {
            (self.report)(TrackerEvent::Restarted);
            // They are repeated one by one, between heartbeats and requests.
            self.unrepeated = self.replications.keys().copied().collect();
        }
        if self.catalog.replica_capacity().is_some() {
            // The tracker should know soon which replicas are under way here.
            self.next_heartbeat = self.config.heartbeat.map(|_| now);
        }
        control
    }

    /// Sends the heartbeat that is due, or registers again to have the endpoint verified.
    fn act_on_time(&mut self) {
        let now = clock::now();
        if self.verify_again.is_some_and(|(at, _)| at <= now) {
            // The listener may have been slow, or not reachable for a while.
            self.control = None;
            let _tried_again_later = self.connected();
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

    /// Waits longer after each refusal: the tracker will hardly accept soon, and each attempt sends the whole
    /// catalog.
    fn plan_after_refusal(&mut self) {
        let pause = self.refused_pause.map_or(RETRY_PAUSE_MIN, |pause| (pause * 2).min(RETRY_PAUSE_MAX));
        self.refused_pause = Some(pause);
        self.reconnect_at = self.config.heartbeat.map(|_| clock::now() + pause);
    }
}

#[cfg(test)]
mod tests;
