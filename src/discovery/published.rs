//! What a publisher reads from its node: the catalog and the state.

use std::sync::Arc;

use crate::types::{ContentKey, FileEntry, FileName, NodeTraits};

/// The catalog and the state of a node that are to be published. Every call answers from memory.
pub trait PublishedCatalog: Send + Sync {
    /// The version of the catalog and all of its entries.
    fn snapshot(&self) -> (u64, Vec<Arc<FileEntry>>);

    /// The current version and the changes after `version`; `None` if the changes are not known any more.
    fn changes_since(&self, version: u64) -> Option<(u64, Changes)>;

    /// The node's load, for heartbeats.
    fn load(&self) -> u32;

    /// The traits that the node publishes with its catalog.
    fn traits(&self) -> NodeTraits;

    /// The capacity of this node for replicas; `None`: the node accepts no replica now.
    fn replica_capacity(&self) -> Option<ReplicaCapacity>;
}

/// The capacity of a node for replicas.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReplicaCapacity {
    /// Bytes that are free beyond the replicas in `running`.
    pub free_bytes: u64,
    /// The contents of the replicas that the node is fetching or has agreed to fetch.
    pub running: Vec<ContentKey>,
}

/// Changes to a catalog. A name is in at most one of the lists.
#[derive(Debug, Default)]
pub struct Changes {
    /// Names that are no longer in the catalog.
    pub removed: Vec<FileName>,
    /// Entries that are new, or changed under the same name.
    pub added: Vec<Arc<FileEntry>>,
}

impl Changes {
    /// Returns true if and only if nothing has changed.
    pub fn is_empty(&self) -> bool {
        self.removed.is_empty() && self.added.is_empty()
    }
}
