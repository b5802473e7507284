//! The announce thread: owns the control connection to the tracker. Registers, publishes changes, beats,
//! asks, leaves.
//!
//! It waits for its mailbox, the connection's end and the next heartbeat at once. A lost connection is opened
//! again after a random part of a second (with heartbeats off: at the next request), and the first thing said
//! on it is the whole catalog.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use parking_lot::Mutex;
use rand::SeedableRng;
use rand::rngs::SmallRng;

use super::control::{Control, ControlError, Registration};
use crate::discovery::{DiscoveryError, NamePage, PublishedCatalog, ReplicationRequest};
use crate::logic::backoff;
use crate::net::client::{ClientError, Woken};
use crate::rt::{Mailbox, Stop, clock};
use crate::types::{
    ContentKey, Epoch, FileName, NodeId, NodeSummary, Nonce, Provider, Query, ReplicaTask, ReplicationStatus,
    limits,
};

/// First pause before a registration that was refused or not proved is tried again; it doubles up to
/// [`AGAIN_MAX`].
const AGAIN_MIN: Duration = Duration::from_secs(5);
const AGAIN_MAX: Duration = Duration::from_secs(300);

/// How a node speaks to its tracker.
#[derive(Debug, Clone)]
pub struct TrackerClientConfig {
    pub tracker: SocketAddr,
    pub node: NodeId,
    /// Address that outgoing connections are bound to, if it is specified.
    pub ip: IpAddr,
    /// Port of the node's listener.
    pub port: u16,
    pub advertise: Option<SocketAddr>,
    pub heartbeat: Option<Duration>,
    /// False: it asks, and neither registers nor publishes anything. Without heartbeats then.
    pub registers: bool,
}

/// What the announce thread tells its node, unasked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TrackerEvent {
    /// The tracker was restarted, and this node is registered with it again.
    Restarted,
    /// The endpoint is not offered to anybody.
    Unproved { endpoint: SocketAddr, why: String },
    /// The endpoint is offered after all.
    Proved { endpoint: SocketAddr },
    /// The control connection was lost.
    Lost { why: String },
    /// The tracker asks this node to keep copies; never empty.
    Tasks(Vec<ReplicaTask>),
}

/// A request to the announce thread.
#[derive(Debug)]
pub(crate) enum Request {
    /// Bring the tracker up to the catalog as it is now; an answer, if wanted, once that is done.
    Publish(Option<Sender<Result<(), DiscoveryError>>>),
    Find(Query, Sender<Result<Vec<Provider>, DiscoveryError>>),
    Nodes(Sender<Result<Vec<NodeSummary>, DiscoveryError>>),
    Names(Option<FileName>, Sender<Result<NamePage, DiscoveryError>>),
    Replicate(ReplicationRequest, Sender<Result<ReplicationStatus, DiscoveryError>>),
    /// Ask what to keep for others.
    TakeTasks,
}

/// The thread's state.
pub(crate) struct Announce {
    config: TrackerClientConfig,
    catalog: Arc<dyn PublishedCatalog>,
    nonce: Arc<Mutex<Option<Nonce>>>,
    news: Box<dyn Fn(TrackerEvent) + Send>,
    mail: Mailbox<Request>,
    /// A registration is in effect, for others to look at.
    is_registered: Arc<AtomicBool>,
    stop: Stop,
    rng: SmallRng,
    control: Option<Control>,
    /// When to try again without being asked.
    reconnect_at: Option<Instant>,
    next_heartbeat: Option<Instant>,
    /// When to register anew because the endpoint was not proved, and the pause that led there.
    prove_again: Option<(Instant, Duration)>,
    /// The pause after the last refusal, while the tracker refuses.
    refused_pause: Option<Duration>,
    known_epoch: Option<Epoch>,
    /// What this node has wished for, to be told again to a tracker that has forgotten it.
    wishes: BTreeMap<ContentKey, ReplicationRequest>,
    /// Those that are still to be told to a tracker that was restarted.
    untold: VecDeque<ContentKey>,
}

/// Works until stopped, then leaves the tracker.
pub(crate) fn run(mut announce: Announce) {
    if announce.config.heartbeat.is_some() {
        announce.reconnect_at = Some(clock::now());
    }
    while !announce.stop.is_triggered() {
        announce.turn();
        let registration = announce.control.as_ref().and_then(Control::registration);
        let is_in_effect = registration.is_some_and(|registration| registration.unproved.is_none());
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
        news: Box<dyn Fn(TrackerEvent) + Send>,
        mail: Mailbox<Request>,
        is_registered: Arc<AtomicBool>,
        stop: Stop,
    ) -> Announce {
        let rng = SmallRng::from_os_rng();
        Announce {
            config,
            catalog,
            nonce,
            news,
            mail,
            is_registered,
            stop,
            rng,
            control: None,
            reconnect_at: None,
            next_heartbeat: None,
            prove_again: None,
            refused_pause: None,
            known_epoch: None,
            wishes: BTreeMap::new(),
            untold: VecDeque::new(),
        }
    }

    /// Waits for one thing and does it.
    fn turn(&mut self) {
        if self.control.is_some() && self.next_heartbeat.is_some_and(|at| at <= clock::now()) {
            // Before any request: many in a row must not make this node look dead.
            self.on_time();
        }
        self.mail.clear();
        if let Some(request) = self.mail.next() {
            return self.serve(request);
        }
        if self.control.is_some() && !self.untold.is_empty() {
            return self.tell_again();
        }
        let Some(control) = &mut self.control else { return self.wait_without_connection() };
        let idle = clock::now() + limits::ms(limits::HEARTBEAT_MAX_MS);
        // With heartbeats off nothing is done unasked.
        let prove_again_at = self.prove_again.map(|(at, _)| at).filter(|_| self.config.heartbeat.is_some());
        let deadline = [self.next_heartbeat, prove_again_at].into_iter().flatten().min().unwrap_or(idle);
        match control.wait(self.mail.as_fd(), deadline) {
            Ok(Woken::Mail) | Err(ClientError::Stopped) => {}
            Ok(Woken::Deadline) => self.on_time(),
            // Nothing was asked: this is the connection's end, or a tracker out of step.
            Ok(Woken::Socket) => self.lost("it closed the control connection"),
            Err(error) => self.lost(&error.to_string()),
        }
    }

    /// Waits for mail, or until it is time to connect again, and then does.
    fn wait_without_connection(&mut self) {
        self.mail.wait(&self.stop, self.reconnect_at);
        if self.reconnect_at.is_some_and(|at| at <= clock::now()) && !self.stop.is_triggered() {
            // A failure plans the next attempt; whoever asks for something meanwhile is told.
            let _not_yet = self.connected();
        }
    }

    fn serve(&mut self, request: Request) {
        // An asker may have gone meanwhile; nobody misses the answer then.
        match request {
            Request::Publish(None) => {
                if self.control.is_some() {
                    // Said by `lost` if it fails, and made good by the next registration.
                    let _published_later = self.on_control(|_| Ok(()));
                }
            }
            Request::Publish(Some(reply)) => drop(reply.send(self.on_control(|_| Ok(())))),
            Request::Find(query, reply) => drop(reply.send(self.on_control(|control| control.find(&query)))),
            Request::Nodes(reply) => drop(reply.send(self.on_control(Control::nodes))),
            Request::Names(after, reply) => {
                drop(reply.send(self.on_control(|control| control.names(after.clone()))));
            }
            Request::Replicate(wish, reply) => drop(reply.send(self.replicate(wish))),
            Request::TakeTasks => self.take_tasks(),
        }
    }

    /// Tells the tracker a wish and remembers it.
    fn replicate(&mut self, wish: ReplicationRequest) -> Result<ReplicationStatus, DiscoveryError> {
        let status = self.on_control(|control| control.replicate(&wish, false))?;
        if wish.copies == 0 {
            self.wishes.remove(&wish.content);
        } else if self.wishes.len() < limits::REPLICA_WISHES_MAX {
            self.wishes.insert(wish.content, wish);
        }
        Ok(status)
    }

    /// Tells a restarted tracker one wish that the former one knew. It stays untold where the connection is
    /// lost over it.
    fn tell_again(&mut self) {
        let wish = self.untold.front().and_then(|content| self.wishes.get(content)).cloned();
        match wish.and_then(|wish| Some(self.control.as_mut()?.replicate(&wish, true))) {
            Some(Err(failure)) if !matches!(failure, ControlError::Refused(_)) => {
                self.lost(&failure.to_string())
            }
            // Told, refused, or taken back meanwhile.
            _ => drop(self.untold.pop_front()),
        }
    }

    /// Asks what to keep for others, if this node keeps anything.
    fn take_tasks(&mut self) {
        // Before the catalog is published: what ends meanwhile is then told too early and never too late,
        // which would be a failure.
        let Some(keeping) = self.catalog.keeping().filter(|_| self.control.is_some()) else { return };
        // What goes wrong is said by `lost`, and asked for again at the next heartbeat.
        if let Ok(tasks) = self.on_control(|control| control.take_tasks(&keeping))
            && !tasks.is_empty()
        {
            (self.news)(TrackerEvent::Tasks(tasks));
        }
    }

    /// Runs `request` on a control connection that is registered and up to date, opening one if there is
    /// none. A connection that turns out to be lost is replaced once; a tracker that is too slow is not asked
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
        // The tracker takes no more pages on a connection on which it has refused one.
        let is_of_use = updated.is_ok();
        let result = updated.and_then(|()| request(control));
        if let Err(failure) = &result
            && !(is_of_use && matches!(failure, ControlError::Refused(_)))
        {
            self.lost(&failure.to_string());
        }
        result
    }

    /// A control connection on which this node is registered; opened now if there is none.
    fn connected(&mut self) -> Result<&mut Control, ControlError> {
        let control = match self.control.take() {
            Some(control) => control,
            None => {
                let show_nonce = |nonce| *self.nonce.lock() = Some(nonce);
                let opened = match self.config.registers {
                    true => Control::register(&self.config, self.catalog.as_ref(), show_nonce, &self.stop),
                    false => Control::ask_only(&self.config, &self.stop),
                };
                match opened {
                    Ok(control) => self.registered(control),
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

    /// Takes note of a new connection and of what the tracker has said to the registration.
    fn registered(&mut self, control: Control) -> Control {
        let now = clock::now();
        self.reconnect_at = None;
        self.refused_pause = None;
        self.next_heartbeat = self.config.heartbeat.map(|interval| now + interval);
        let Some(Registration { endpoint, epoch, unproved, .. }) = control.registration().cloned() else {
            return control;
        };
        match (unproved, self.prove_again) {
            (None, None) => {}
            (None, Some(_)) => {
                self.prove_again = None;
                (self.news)(TrackerEvent::Proved { endpoint });
            }
            (Some(why), before) => {
                if before.is_none() {
                    (self.news)(TrackerEvent::Unproved { endpoint, why });
                }
                let pause = before.map_or(AGAIN_MIN, |(_, pause)| (pause * 2).min(AGAIN_MAX));
                self.prove_again = Some((now + pause, pause));
            }
        }
        let is_other_tracker = self.known_epoch.replace(epoch).is_some_and(|known| known != epoch);
        if is_other_tracker {
            (self.news)(TrackerEvent::Restarted);
            // Told one after another, between heartbeats and requests.
            self.untold = self.wishes.keys().copied().collect();
        }
        if self.catalog.keeping().is_some() {
            // The tracker is to know soon what is under way here.
            self.next_heartbeat = self.config.heartbeat.map(|_| now);
        }
        control
    }

    /// A heartbeat is due, or another try to have the endpoint proved.
    fn on_time(&mut self) {
        let now = clock::now();
        if self.prove_again.is_some_and(|(at, _)| at <= now) {
            // The listener may only have been slow, or the way to it closed for a while.
            self.control = None;
            let _tried_again_later = self.connected();
        } else if self.next_heartbeat.is_some_and(|at| at <= now) {
            self.next_heartbeat = self.config.heartbeat.map(|interval| now + interval);
            let load = self.catalog.load();
            if let Some(Err(failure)) = self.control.as_mut().map(|control| control.beat(load)) {
                self.lost(&failure.to_string());
            }
            self.take_tasks();
        }
    }

    /// Drops the control connection and plans the next one.
    fn lost(&mut self, why: &str) {
        // Who only asks connects anew at the next question: nothing of it is lost.
        if self.control.take().is_some() && self.config.registers && !self.stop.is_triggered() {
            (self.news)(TrackerEvent::Lost { why: why.to_owned() });
        }
        self.plan_reconnect();
    }

    fn plan_reconnect(&mut self) {
        let max = limits::ms(limits::RECONNECT_JITTER_MS);
        self.reconnect_at = self.config.heartbeat.map(|_| clock::now() + backoff::jitter(&mut self.rng, max));
    }

    /// A tracker that refuses is not soon of another mind, and each try sends it the whole catalog.
    fn plan_after_refusal(&mut self) {
        let pause = self.refused_pause.map_or(AGAIN_MIN, |pause| (pause * 2).min(AGAIN_MAX));
        self.refused_pause = Some(pause);
        self.reconnect_at = self.config.heartbeat.map(|_| clock::now() + pause);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::discovery::{Changes, Discovery, ReplicaCapacity, TrackerClient};
    use crate::proto::tracker::{ReplyBody, TrackerRefusal, TrackerReply, TrackerRequest};
    use crate::proto::{Decoder, decode, frame};
    use crate::rt::Threads;
    use crate::types::{ContentId, FileEntry, Holding, Md5Digest, Md5Origin, NodeTraits};
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    /// A catalog of one file, which is new in each version.
    #[derive(Default)]
    struct Shelf(AtomicU64);

    impl Shelf {
        fn entry(&self) -> Arc<FileEntry> {
            Arc::new(FileEntry {
                name: FileName::new("a").expect("a name"),
                size_bytes: self.0.load(Ordering::Relaxed),
                mtime_ns: 0,
                content: ContentId([1; 32]),
                md5: Md5Digest([2; 16]),
                md5_origin: Md5Origin::Computed,
                holding: Holding::Full,
                attributes: vec![],
            })
        }
    }

    impl PublishedCatalog for Shelf {
        fn snapshot(&self) -> (u64, Vec<Arc<FileEntry>>) {
            (self.0.load(Ordering::Relaxed), vec![self.entry()])
        }

        fn changes_since(&self, version: u64) -> Option<(u64, Changes)> {
            let now = self.0.load(Ordering::Relaxed);
            let added = if version == now { vec![] } else { vec![self.entry()] };
            Some((now, Changes { removed: vec![], added }))
        }

        fn load(&self) -> u32 {
            0
        }

        fn traits(&self) -> NodeTraits {
            NodeTraits::default()
        }

        fn keeping(&self) -> Option<ReplicaCapacity> {
            None
        }
    }

    /// A tracker that refuses every update, and answers on one connection at a time.
    fn tracker_without_updates(listener: &TcpListener) {
        let reply = |request| match request {
            TrackerRequest::Hello(_) => ReplyBody::Welcome { nonce: Nonce(1) },
            TrackerRequest::Register { .. } => ReplyBody::Registered { unproved: None },
            TrackerRequest::Find { .. } => ReplyBody::Providers { providers: vec![], more: false },
            TrackerRequest::Leave => ReplyBody::Left,
            _ => ReplyBody::Refused(TrackerRefusal::Limit("full".into())),
        };
        while let Ok((mut socket, _)) = listener.accept() {
            let (mut decoder, mut scratch) = (Decoder::new(), [0; 4096]);
            while let Ok(len @ 1..) = socket.read(&mut scratch) {
                decoder.push(&scratch[..len]);
                while let Some(body) = decoder.next().expect("frames") {
                    let body = reply(decode(body).expect("a request"));
                    let left = body == ReplyBody::Left;
                    let bytes = frame(&TrackerReply { epoch: Epoch(1), body }).expect("it fits");
                    socket.write_all(&bytes).expect("the client reads");
                    if left {
                        return;
                    }
                }
            }
        }
    }

    /// A tracker that is restarted after two wishes and then answers one on the next connection, before it
    /// closes that. Tells each wish that it has heard, and on which connection.
    fn restarted_tracker(listener: &TcpListener, heard: &Sender<(usize, ContentKey)>) {
        for (number, (epoch, wishes_max)) in [(1, 2), (2, 1), (2, 9)].into_iter().enumerate() {
            let Ok((mut socket, _)) = listener.accept() else { return };
            let (mut decoder, mut scratch, mut wishes) = (Decoder::new(), [0; 4096], 0);
            while let (Ok(len @ 1..), true) = (socket.read(&mut scratch), wishes < wishes_max) {
                decoder.push(&scratch[..len]);
                while let Some(body) = decoder.next().expect("frames") {
                    let body = match decode(body).expect("a request") {
                        TrackerRequest::Hello(_) => ReplyBody::Welcome { nonce: Nonce(1) },
                        TrackerRequest::Register { .. } => ReplyBody::Registered { unproved: None },
                        TrackerRequest::Replicate { content, .. } => {
                            wishes += 1;
                            heard.send((number, content)).expect("the test listens");
                            ReplyBody::Replication(ReplicationStatus::default())
                        }
                        TrackerRequest::Leave => ReplyBody::Left,
                        _ => ReplyBody::Refused(TrackerRefusal::Limit("full".into())),
                    };
                    let bytes = frame(&TrackerReply { epoch: Epoch(epoch), body }).expect("it fits");
                    socket.write_all(&bytes).expect("the client reads");
                }
                if wishes == wishes_max {
                    break;
                }
            }
        }
    }

    #[test]
    fn a_restarted_tracker_hears_all_wishes_even_if_it_goes_again_meanwhile() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let tracker = listener.local_addr().expect("bound");
        let (threads, stop) = (Threads::new(), Stop::new().expect("a descriptor"));
        let (heard, hearing) = crossbeam_channel::unbounded();
        threads.spawn("tracker", move || restarted_tracker(&listener, &heard)).expect("a thread");
        let config = TrackerClientConfig {
            tracker,
            node: crate::types::NodeId(1),
            ip: tracker.ip(),
            port: 1,
            advertise: None,
            heartbeat: Some(Duration::from_secs(60)),
            registers: true,
        };
        let catalog: Arc<dyn PublishedCatalog> = Arc::new(Shelf::default());
        let client =
            TrackerClient::start(config, catalog, Arc::default(), |_| (), &threads, &stop).expect("a thread");
        let keys = [1, 2].map(|number| ContentKey { size_bytes: 1, id: ContentId([number; 32]) });
        for content in keys {
            let wish = ReplicationRequest { content, name: FileName::new("a").expect("a name"), copies: 2 };
            assert!(client.replicate(wish, &stop).is_ok());
        }
        let told: Vec<_> = (0..4)
            .map(|_| hearing.recv_timeout(Duration::from_secs(10)).expect("each wish is told again"))
            .collect();
        assert_eq!(told, [(0, keys[0]), (0, keys[1]), (1, keys[0]), (2, keys[1])]);
        stop.trigger();
        assert!(threads.join(clock::now() + Duration::from_secs(10)).is_clean());
    }

    #[test]
    fn nothing_is_lost_of_who_only_asks() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let tracker = listener.local_addr().expect("bound");
        let (threads, stop) = (Threads::new(), Stop::new().expect("a descriptor"));
        // Answers one question on each connection, and closes it.
        threads
            .spawn("tracker", move || {
                for (mut socket, _) in (0..2).map(|_| listener.accept().expect("a connection")) {
                    let (mut decoder, mut scratch, mut has_asked) = (Decoder::new(), [0; 4096], false);
                    while !has_asked {
                        let len = socket.read(&mut scratch).expect("a question");
                        decoder.push(&scratch[..len]);
                        while let Some(body) = decoder.next().expect("frames") {
                            has_asked =
                                matches!(decode(body).expect("a request"), TrackerRequest::Find { .. });
                            let body = ReplyBody::Providers { providers: vec![], more: false };
                            let bytes = frame(&TrackerReply { epoch: Epoch(1), body }).expect("it fits");
                            socket.write_all(&bytes).expect("the client reads");
                        }
                    }
                }
            })
            .expect("a thread");
        let config = TrackerClientConfig {
            tracker,
            node: crate::types::NodeId(1),
            ip: tracker.ip(),
            port: 1,
            advertise: None,
            heartbeat: None,
            registers: false,
        };
        let (tell, told) = crossbeam_channel::unbounded();
        let news = move |news| drop(tell.send(news));
        let catalog: Arc<dyn PublishedCatalog> = Arc::new(Shelf::default());
        let client =
            TrackerClient::start(config, catalog, Arc::default(), news, &threads, &stop).expect("a thread");
        let query = Query::Name(FileName::new("a").expect("a name"));
        for _ in 0..2 {
            assert_eq!(client.find(&query, &stop), Ok(vec![]));
        }
        stop.trigger();
        assert!(threads.join(clock::now() + Duration::from_secs(10)).is_clean());
        assert_eq!(told.try_iter().collect::<Vec<_>>(), []);
    }

    #[test]
    fn a_refused_update_is_made_good_by_registering_anew() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let tracker = listener.local_addr().expect("bound");
        let (threads, stop) = (Threads::new(), Stop::new().expect("a descriptor"));
        threads.spawn("tracker", move || tracker_without_updates(&listener)).expect("a thread");
        let shelf = Arc::new(Shelf::default());
        let config = TrackerClientConfig {
            tracker,
            node: crate::types::NodeId(1),
            ip: tracker.ip(),
            port: 1,
            advertise: None,
            heartbeat: None,
            registers: true,
        };
        let catalog: Arc<dyn PublishedCatalog> = Arc::clone(&shelf) as _;
        let client =
            TrackerClient::start(config, catalog, Arc::default(), |_| (), &threads, &stop).expect("a thread");
        let soon = || clock::now() + Duration::from_secs(10);
        assert_eq!(client.publish_now(soon(), &stop), Ok(()));
        shelf.0.store(1, Ordering::Relaxed);
        let query = Query::Name(FileName::new("a").expect("a name"));
        assert!(matches!(client.find(&query, &stop), Err(DiscoveryError::Refused { .. })));
        assert_eq!(client.find(&query, &stop), Ok(vec![]), "the connection of the refused page is given up");
        stop.trigger();
        assert!(threads.join(soon()).is_clean());
    }
}
