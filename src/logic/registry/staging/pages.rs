//! Pages that a session has sent and that are not in effect yet.

use crate::logic::registry::index::Stored;
use crate::types::{FileEntry, FileName};

/// What a session has staged.
#[derive(Debug)]
pub(crate) enum Staging {
    /// No page.
    Empty,
    /// Pages of one kind, all of them accepted.
    Pages {
        kind: PageKind,
        /// Its place in the order of stagings.
        begun: u64,
        changes: Vec<Change>,
        size: Staged,
    },
    /// A page was refused or dropped. The session stages nothing more before its next hello, because the rest
    /// would be put in effect without that page.
    Broken,
}

/// How much is staged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Staged {
    pub(crate) added: usize,
    pub(crate) removed: usize,
    /// Bytes of the names added.
    pub(crate) added_bytes: usize,
    /// Bytes of the names removed.
    pub(crate) removed_bytes: usize,
}

impl Staged {
    pub(crate) fn of(removed: &[FileName], added: &[FileEntry]) -> Staged {
        Staged {
            added: added.len(),
            removed: removed.len(),
            added_bytes: added.iter().map(|entry| entry.name.as_str().len()).sum(),
            removed_bytes: removed.iter().map(|name| name.as_str().len()).sum(),
        }
    }

    pub(crate) fn lines(&self) -> usize {
        self.added + self.removed
    }

    pub(crate) fn names_bytes(&self) -> usize {
        self.added_bytes + self.removed_bytes
    }
}

impl std::ops::Add for Staged {
    type Output = Staged;

    fn add(self, more: Staged) -> Staged {
        Staged {
            added: self.added + more.added,
            removed: self.removed + more.removed,
            added_bytes: self.added_bytes + more.added_bytes,
            removed_bytes: self.removed_bytes + more.removed_bytes,
        }
    }
}

impl std::ops::Sub for Staged {
    type Output = Staged;

    fn sub(self, less: Staged) -> Staged {
        Staged {
            added: self.added - less.added,
            removed: self.removed - less.removed,
            added_bytes: self.added_bytes - less.added_bytes,
            removed_bytes: self.removed_bytes - less.removed_bytes,
        }
    }
}

/// What pages are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PageKind {
    Register,
    Update,
}

/// What one staged line does to a catalog.
#[derive(Debug)]
pub(crate) enum Change {
    Remove(FileName),
    Put(Stored),
}

impl Change {
    pub(crate) fn name(&self) -> &FileName {
        match self {
            Change::Remove(name) => name,
            Change::Put(entry) => &entry.name,
        }
    }
}
