//! Names that a person may want to complete: the own files and those last seen at the tracker.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use super::state::NodeState;
use crate::types::FileName;

/// Answers from memory. Cheap to clone; all clones are of one node.
#[derive(Debug, Clone)]
pub struct KnownNames {
    state: Arc<NodeState>,
    /// At most one page of a tracker's list.
    seen: Arc<Mutex<Vec<FileName>>>,
    is_refreshing: Arc<AtomicBool>,
}

/// The right to ask the tracker for names; given back when dropped.
#[derive(Debug)]
pub(super) struct Refreshing(KnownNames);

impl KnownNames {
    pub(super) fn new(state: Arc<NodeState>) -> KnownNames {
        KnownNames { state, seen: Arc::default(), is_refreshing: Arc::default() }
    }

    /// `None` while somebody is asking already: a tracker that is slow to answer holds up one worker and no
    /// more.
    pub(super) fn refreshing(&self) -> Option<Refreshing> {
        let is_free = !self.is_refreshing.swap(true, Ordering::Relaxed);
        is_free.then(|| Refreshing(self.clone()))
    }

    /// The names known now, sorted.
    pub fn now(&self) -> Vec<FileName> {
        let mut names: Vec<_> = self.state.catalog.read().names().cloned().collect();
        names.extend(self.seen.lock().iter().cloned());
        names.sort_unstable();
        names.dedup();
        names
    }
}

impl Refreshing {
    pub(super) fn saw(&self, names: Vec<FileName>) {
        *self.0.seen.lock() = names;
    }
}

impl Drop for Refreshing {
    fn drop(&mut self) {
        self.0.is_refreshing.store(false, Ordering::Relaxed);
    }
}
