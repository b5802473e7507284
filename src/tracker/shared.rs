//! The state that all threads of a tracker share.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::AtomicU64;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::{Mutex, RwLock};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::stats::{TrackerStats, Via};
use crate::logic::registry::{Limits, Registry};
use crate::rt::{EventBroadcast, clock};
use crate::types::{Epoch, Provider, Query};

/// What all threads share. A thread holds the lock of the registry for one look-up or one change, and never
/// while it sends.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) addr: SocketAddr,
    pub(super) started: Instant,
    pub(super) epoch: Epoch,
    pub(super) registry: RwLock<Registry>,
    pub(super) events: EventBroadcast,
    pub(super) next_session: AtomicU64,
    /// Counters and the last finds.
    pub(super) stats: Mutex<TrackerStats>,
    /// Holds one item after a change, until a reader takes it out.
    pub(super) changed: (Sender<()>, Receiver<()>),
}

impl Shared {
    pub(super) fn new(addr: SocketAddr, registry_limits: Limits, events: EventBroadcast) -> Shared {
        let now = clock::now();
        Shared {
            addr,
            started: now,
            epoch: Epoch(SmallRng::from_os_rng().random()),
            registry: RwLock::new(Registry::new(registry_limits)),
            events,
            next_session: AtomicU64::new(1),
            stats: Mutex::new(TrackerStats::new(now)),
            changed: bounded(1),
        }
    }

    /// Records a find that `began` then, and the first page of its answer.
    pub(super) fn record_find(
        &self,
        find: (&Query, IpAddr, Via),
        answer: (&[Provider], bool),
        began: Instant,
    ) {
        let now = clock::now();
        let when = (clock::wall_ns(), now.saturating_duration_since(began));
        self.stats.lock().found(find, answer, when, now);
        self.record_change();
    }

    /// Records that a registration or an update is in effect.
    pub(super) fn record_announce(&self) {
        self.stats.lock().announces += 1;
        self.record_change();
    }

    /// Wakes a reader of changes.
    pub(super) fn record_change(&self) {
        let _is_full = self.changed.0.try_send(());
    }
}
