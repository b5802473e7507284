//! Names that a person may want to complete: the own files and those last seen at the tracker.

use std::sync::Arc;

use parking_lot::Mutex;

use super::memory::Memory;
use crate::types::FileName;

/// Answers from memory. Cheap to clone; all clones are of one node.
#[derive(Debug, Clone)]
pub struct KnownNames {
    memory: Arc<Memory>,
    /// At most one page of a tracker's list.
    seen: Arc<Mutex<Vec<FileName>>>,
}

impl KnownNames {
    pub(super) fn new(memory: Arc<Memory>) -> KnownNames {
        KnownNames { memory, seen: Arc::default() }
    }

    pub(super) fn saw(&self, names: Vec<FileName>) {
        *self.seen.lock() = names;
    }

    /// The names known now, sorted.
    pub fn now(&self) -> Vec<FileName> {
        let mut names: Vec<_> = self.memory.catalog.read().names().cloned().collect();
        names.extend(self.seen.lock().iter().cloned());
        names.sort_unstable();
        names.dedup();
        names
    }
}
