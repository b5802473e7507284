//! Names for completion: those of own files and those on the last page read from the tracker.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use super::state::NodeState;
use crate::types::FileName;

/// Known names of one node. It answers from memory and is cheap to clone.
#[derive(Debug, Clone)]
pub struct KnownNames {
    state: Arc<NodeState>,
    /// At most one page of the tracker's list.
    from_tracker: Arc<Mutex<Vec<FileName>>>,
    is_refreshing: Arc<AtomicBool>,
}

/// The right to request names from the tracker, given back when dropped.
#[derive(Debug)]
pub(super) struct Refreshing(KnownNames);

impl KnownNames {
    pub(super) fn new(state: Arc<NodeState>) -> KnownNames {
        KnownNames { state, from_tracker: Arc::default(), is_refreshing: Arc::default() }
    }

    /// `None` while another thread refreshes: a slow tracker keeps at most one worker busy.
    pub(super) fn refreshing(&self) -> Option<Refreshing> {
        let is_free = !self.is_refreshing.swap(true, Ordering::Relaxed);
        is_free.then(|| Refreshing(self.clone()))
    }

    /// The names known now, sorted and without duplicates.
    pub fn now(&self) -> Vec<FileName> {
        let mut names: Vec<_> = self.state.catalog.read().names().cloned().collect();
        names.extend(self.from_tracker.lock().iter().cloned());
        names.sort_unstable();
        names.dedup();
        names
    }
}

impl Refreshing {
    pub(super) fn apply(&self, names: Vec<FileName>) {
        *self.0.from_tracker.lock() = names;
    }
}

impl Drop for Refreshing {
    fn drop(&mut self) {
        self.0.is_refreshing.store(false, Ordering::Relaxed);
    }
}
