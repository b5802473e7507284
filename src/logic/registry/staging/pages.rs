//! The pages that a session has staged.
//!
//! A page is one message with a part of a catalog (a registration) or of the changes to a catalog (an
//! update).

use crate::logic::registry::index::StoredEntry;
use crate::types::{FileEntry, FileName};

/// The state of the pages of one session.
#[derive(Debug)]
pub(crate) enum Staging {
    /// No page.
    Empty,
    /// Pages of one kind, all of them accepted.
    Pages {
        kind: PageKind,
        /// The number of their first page, counted over all sessions: the oldest pages have the least.
        sequence: u64,
        changes: Vec<Change>,
        size: StagedSize,
    },
    /// A page was refused or dropped. The session stages nothing more before its next hello: otherwise the
    /// rest would be committed without that page.
    Broken,
}

/// The size of staged pages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct StagedSize {
    /// Number of entries to add.
    pub(crate) added: usize,
    /// Number of names to remove.
    pub(crate) removed: usize,
    /// Bytes of the names of entries to add.
    pub(crate) added_names_bytes: usize,
    /// Bytes of the names to remove.
    pub(crate) removed_names_bytes: usize,
}

impl StagedSize {
    pub(crate) fn of(removed: &[FileName], added: &[FileEntry]) -> StagedSize {
        StagedSize {
            added: added.len(),
            removed: removed.len(),
            added_names_bytes: added.iter().map(|entry| entry.name.as_str().len()).sum(),
            removed_names_bytes: removed.iter().map(|name| name.as_str().len()).sum(),
        }
    }

    /// Number of changes.
    pub(crate) fn changes(&self) -> usize {
        self.added + self.removed
    }

    pub(crate) fn names_bytes(&self) -> usize {
        self.added_names_bytes + self.removed_names_bytes
    }
}

impl std::ops::Add for StagedSize {
    type Output = StagedSize;

    fn add(self, more: StagedSize) -> StagedSize {
        StagedSize {
            added: self.added + more.added,
            removed: self.removed + more.removed,
            added_names_bytes: self.added_names_bytes + more.added_names_bytes,
            removed_names_bytes: self.removed_names_bytes + more.removed_names_bytes,
        }
    }
}

impl std::ops::Sub for StagedSize {
    type Output = StagedSize;

    fn sub(self, less: StagedSize) -> StagedSize {
        StagedSize {
            added: self.added - less.added,
            removed: self.removed - less.removed,
            added_names_bytes: self.added_names_bytes - less.added_names_bytes,
            removed_names_bytes: self.removed_names_bytes - less.removed_names_bytes,
        }
    }
}

/// The message that the pages belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PageKind {
    Register,
    Update,
}

/// A staged change of a catalog.
#[derive(Debug)]
pub(crate) enum Change {
    Remove(FileName),
    Put(StoredEntry),
}

impl Change {
    pub(crate) fn name(&self) -> &FileName {
        match self {
            Change::Remove(name) => name,
            Change::Put(entry) => &entry.name,
        }
    }
}
