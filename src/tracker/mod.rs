//! The tracker: knows which node has which file and which nodes are alive. Soft state: a restart loses
//! nothing that nodes do not bring back.
//!
//! Its thread pool is its front threads: every request is answered from memory, in place. `sweep` lets time
//! pass.

mod expiry;
mod service;
mod stats;
mod view;

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::{Mutex, RwLock};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use thiserror::Error;

use crate::logic::registry::{Limits, Registry};
use crate::net::{Deadlines, FrontConfig, front, listen};
use crate::rt::{Ended, EventBroadcast, Stop, StopReport, Threads, clock, mailbox};
use crate::types::{Epoch, Provider, Query, limits};

pub use stats::{Finds, RecentFind, TOOK_BOUNDS_S, TrackerStats, Via};
pub use view::{Counts, HolderRow, KnownNode, View};

/// How a tracker runs.
#[derive(Debug, Clone)]
pub struct TrackerConfig {
    /// Port 0: any.
    pub listen: SocketAddr,
    /// Number of front threads; at least 1.
    pub fronts: usize,
    /// Most incomplete requests of one front.
    pub incomplete_max: usize,
    /// Most incomplete requests of one front and one address.
    pub incomplete_per_address_max: usize,
    /// How long a connection may keep a front waiting.
    pub deadlines: Deadlines,
    /// How often the sweep looks for missed heartbeats and suspects to call back.
    pub sweep: Duration,
    /// Live copies that every content is to have on nodes that keep replicas; 0: nothing is copied unless
    /// somebody wishes for it.
    pub replicas: u32,
    /// How long nobody takes the place of a node that has gone; and nothing is copied unasked for as long
    /// after the start.
    pub replica_grace: Duration,
    /// Where the tracker tells what happens: nodes that come, are suspected, and go.
    pub events: EventBroadcast,
}

impl Default for TrackerConfig {
    fn default() -> TrackerConfig {
        TrackerConfig {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            fronts: 2,
            incomplete_max: limits::INCOMPLETE_MAX,
            incomplete_per_address_max: limits::INCOMPLETE_PER_ADDRESS_MAX,
            deadlines: Deadlines::default(),
            sweep: Duration::from_millis(100),
            replicas: 0,
            replica_grace: limits::ms(limits::REPLICA_GRACE_MS),
            events: EventBroadcast::default(),
        }
    }
}

/// Why a tracker cannot start.
#[derive(Debug, Error)]
pub enum StartError {
    #[error("cannot listen on {addr}: {why}")]
    AddressInUse { addr: SocketAddr, why: String },
    #[error("cannot listen on {addr}: {why}")]
    Listen { addr: SocketAddr, why: String },
    #[error("the system gives no more threads or descriptors: {0}")]
    System(#[from] std::io::Error),
}

/// What all fronts share. The lock is held for one look-up or one change, never while sending.
#[derive(Debug)]
struct Shared {
    addr: SocketAddr,
    started: Instant,
    epoch: Epoch,
    registry: RwLock<Registry>,
    events: EventBroadcast,
    next_session: AtomicU64,
    /// What was asked.
    tally: Mutex<TrackerStats>,
    /// One item while there is news that nobody has taken.
    changed: (Sender<()>, Receiver<()>),
}

impl Shared {
    fn new(addr: SocketAddr, registry_limits: Limits, events: EventBroadcast) -> Shared {
        let now = clock::now();
        Shared {
            addr,
            started: now,
            epoch: Epoch(SmallRng::from_os_rng().random()),
            registry: RwLock::new(Registry::new(registry_limits)),
            events,
            next_session: AtomicU64::new(1),
            tally: Mutex::new(TrackerStats::new(now)),
            changed: bounded(1),
        }
    }

    /// The first page of an answer to a find that `began` then.
    fn note_find(&self, find: (&Query, IpAddr, Via), answer: (&[Provider], bool), began: Instant) {
        let now = clock::now();
        let when = (clock::wall_ns(), now.saturating_duration_since(began));
        self.tally.lock().found(find, answer, when, now);
        self.note_change();
    }

    /// A registration or an update is in effect.
    fn note_announce(&self) {
        self.tally.lock().announces += 1;
        self.note_change();
    }

    fn note_change(&self) {
        let _told_already = self.changed.0.try_send(());
    }
}

/// A running tracker.
#[derive(Debug)]
pub struct Tracker {
    shared: Arc<Shared>,
    threads: Threads,
    stop: Stop,
}

impl Tracker {
    /// Binds and starts the threads.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left running then.
    pub fn start(config: &TrackerConfig) -> Result<Tracker, StartError> {
        let addr = config.listen;
        let listener =
            Arc::new(
                listen(addr).map_err(|error| match error.kind() {
                    ErrorKind::AddrInUse => StartError::AddressInUse {
                        addr,
                        why: "the address is in use: stop what listens there, or give --listen another port"
                            .into(),
                    },
                    _ => StartError::Listen { addr, why: error.to_string() },
                })?,
            );
        let addr = listener.local_addr()?;
        let (replicas, replica_grace) = (config.replicas, config.replica_grace);
        let registry_limits = Limits { replicas, replica_grace, ..Limits::default() };
        let shared = Arc::new(Shared::new(addr, registry_limits, config.events.clone()));
        let (threads, stop) = (Threads::new(), Stop::new()?);
        let tracker = Tracker { shared: Arc::clone(&shared), threads, stop };
        let mut posts = Vec::new();
        for number in 1..=config.fronts.max(1) {
            let (post, mail) = mailbox(limits::POOL_QUEUE_MAX)?;
            posts.push(post);
            let desk = service::TrackerService::new(Arc::clone(&shared));
            let front_config = FrontConfig {
                listener: Some(Arc::clone(&listener)),
                incomplete_max: config.incomplete_max,
                incomplete_per_address_max: config.incomplete_per_address_max,
                deadlines: config.deadlines,
                ..FrontConfig::default()
            };
            let stop = tracker.stop.clone();
            let name = format!("front-{number}");
            tracker.threads.spawn_fallible(&name, move || front::run(desk, front_config, mail, stop))?;
        }
        let (every, stop) = (config.sweep, tracker.stop.clone());
        tracker.threads.spawn("sweep", move || expiry::run(&shared, &posts, every, &stop))?;
        Ok(tracker)
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.shared.addr
    }

    /// What it knows, for whoever shows it.
    pub fn view(&self) -> View {
        View::new(Arc::clone(&self.shared))
    }

    /// Delivers each thread that ends; one that ends before `stop` is a fault.
    pub fn ended(&self) -> &Receiver<Ended> {
        self.threads.ended()
    }

    /// Joins every thread; at most 5 s.
    pub fn stop(self) -> StopReport {
        self.end()
    }

    fn end(&self) -> StopReport {
        self.stop.trigger();
        self.threads.join(clock::now() + limits::ms(limits::STOP_DEADLINE_MS))
    }
}

impl Drop for Tracker {
    fn drop(&mut self) {
        // After a stop in order there is nothing left to end; after a start that failed halfway there is.
        let _nobody_asks = self.end();
    }
}
