//! What the node's fronts answer from: the catalog, unfinished downloads, the load, who we are. Shared by all
//! its threads.
//!
//! Each field has its own lock; a lock is a leaf, held for a look-up and never while sending, waiting or
//! touching a file. The catalog is written by the core alone.

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
    /// What the listener shows to a tracker's call-back; set by the announce thread.
    pub(crate) nonce: Arc<Mutex<Option<Nonce>>>,
    pub(crate) catalog: RwLock<Catalog>,
    pub(crate) replicas: Replicas,
    /// What the tracker is told about this node.
    pub(crate) traits: Mutex<NodeTraits>,
    pub(crate) partials: Mutex<Partials>,
    pub(crate) ledger: Mutex<LoadCounter>,
    /// The first scan is over.
    pub(crate) is_scanned: AtomicBool,
    /// Bytes of pieces that were sent whole since the start.
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
            ledger: Mutex::default(),
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
        self.ledger.lock().load()
    }

    fn traits(&self) -> NodeTraits {
        *self.traits.lock()
    }

    fn replica_capacity(&self) -> Option<ReplicaCapacity> {
        self.replicas.capacity()
    }
}
