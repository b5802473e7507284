//! The state that all threads of a tracker share.

use std::net::SocketAddr;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::{Mutex, RwLock};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::stats::{RecordedFind, TrackerStats};
use crate::logic::registry::{Limits, Registry};
use crate::rt::{EventBroadcast, clock};
use crate::types::{Epoch, Provider};

/// What all threads share. A thread holds the lock of the registry for one look-up or one change, and never
/// while it sends or waits. No thread holds two locks.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) addr: SocketAddr,
    pub(super) started: Instant,
    pub(super) epoch: Epoch,
    pub(super) registry: RwLock<Registry>,
    pub(super) events: EventBroadcast,
    /// Number of the next connection: all fronts take theirs here.
    pub(super) next_session: AtomicU64,
    /// Counters and the last finds.
    pub(super) stats: Mutex<TrackerStats>,
    /// Holds one item after a change, until a reader of changes takes it out.
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

    /// Records a find that began at `began`, and the first page of its answer.
    pub(super) fn record_find(
        &self,
        find: RecordedFind<'_>,
        providers: &[Provider],
        more: bool,
        began: Instant,
    ) {
        let now = clock::now();
        let duration = now.saturating_duration_since(began);
        self.stats.lock().record_find(find, providers, more, duration, now, clock::wall_ns());
        self.record_change();
    }

    /// Records that a registration or an update is in effect.
    pub(super) fn record_publication(&self) {
        self.stats.lock().publications += 1;
        self.record_change();
    }

    /// Wakes a reader of changes.
    pub(super) fn record_change(&self) {
        // If the channel is full, the reader has not read an earlier change yet and will see this one too.
        self.changed.0.try_send(()).ok();
    }
}
