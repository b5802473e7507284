//! The state that all threads of a node share: identity, catalog, served partial files, load. The fronts
//! answer requests from it.
//!
//! Each field that changes is atomic or has its own lock. A thread holds at most one of these locks, and only
//! briefly: never while it sends, waits or uses a file. Only the indexer writes the catalog.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use parking_lot::{Mutex, RwLock};

use super::index::catalog::Catalog;
use super::replicas::quota::Replicas;
use super::serve::partials::Partials;
use crate::discovery::{Changes, PublishedCatalog, ReplicaCapacity};
use crate::logic::load::LoadCounter;
use crate::types::{FileEntry, NodeId, NodeTraits, Nonce};

#[derive(Debug)]
pub(crate) struct NodeState {
    pub(crate) node: NodeId,
    /// The nonce that the tracker expects when it calls this node's listener. The announce thread sets it.
    pub(crate) nonce: Arc<Mutex<Option<Nonce>>>,
    pub(crate) catalog: RwLock<Catalog>,
    pub(crate) replicas: Replicas,
    /// What this node tells the tracker about itself.
    pub(crate) traits: Mutex<NodeTraits>,
    pub(crate) partials: Mutex<Partials>,
    pub(crate) load_counter: Mutex<LoadCounter>,
    /// Whether the first scan is over.
    pub(crate) is_scanned: AtomicBool,
    /// Bytes of completely sent pieces and of files over HTTP since the start.
    pub(crate) sent_bytes: AtomicU64,
}

impl NodeState {
    pub(crate) fn new(node: NodeId, traits: NodeTraits) -> NodeState {
        NodeState {
            node,
            nonce: Arc::default(),
            catalog: RwLock::default(),
            replicas: Replicas::new(traits.replica_quota_bytes),
            traits: Mutex::new(traits),
            partials: Mutex::default(),
            load_counter: Mutex::default(),
            is_scanned: AtomicBool::new(false),
            sent_bytes: AtomicU64::new(0),
        }
    }
}

impl PublishedCatalog for NodeState {
    fn snapshot(&self) -> (u64, Vec<Arc<FileEntry>>) {
        let catalog = self.catalog.read();
        (catalog.version(), catalog.published().cloned().collect())
    }

    fn changes_since(&self, version: u64) -> Option<(u64, Changes)> {
        let catalog = self.catalog.read();
        catalog.changes_since(version).map(|changes| (catalog.version(), changes))
    }

    fn load(&self) -> u32 {
        self.load_counter.lock().load()
    }

    fn traits(&self) -> NodeTraits {
        *self.traits.lock()
    }

    fn replica_capacity(&self) -> Option<ReplicaCapacity> {
        self.replicas.capacity()
    }
}
