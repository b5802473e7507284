//! Names for completion at the prompt: the own files, and one page of the tracker's names. A page is one
//! reply with a part of a long list.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use super::state::NodeState;
use crate::types::FileName;

/// Known names of one node, in memory. Cheap to clone.
#[derive(Debug, Clone)]
pub struct KnownNames {
    state: Arc<NodeState>,
    /// The page that was last read from the tracker.
    from_tracker: Arc<Mutex<Vec<FileName>>>,
    is_refreshing: Arc<AtomicBool>,
}

/// The permit to request names from the tracker. The drop returns it.
#[derive(Debug)]
pub(super) struct RefreshPermit(KnownNames);

impl KnownNames {
    pub(super) fn new(state: Arc<NodeState>) -> KnownNames {
        KnownNames { state, from_tracker: Arc::default(), is_refreshing: Arc::default() }
    }

    /// The permit to refresh the names; `None` while another thread has it, so that a slow tracker keeps at
    /// most one worker busy.
    pub(super) fn refresh_permit(&self) -> Option<RefreshPermit> {
        let is_free = !self.is_refreshing.swap(true, Ordering::Relaxed);
        is_free.then(|| RefreshPermit(self.clone()))
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

impl RefreshPermit {
    /// Replaces the names that were last read from the tracker.
    pub(super) fn set_names(&self, names: Vec<FileName>) {
        *self.0.from_tracker.lock() = names;
    }
}

impl Drop for RefreshPermit {
    fn drop(&mut self) {
        self.0.is_refreshing.store(false, Ordering::Relaxed);
    }
}
