//! Who has what: the seam between a node and whatever can tell it. Today a tracker.

mod tracker;

use std::net::SocketAddr;
use std::sync::Arc;

use thiserror::Error;

use crate::rt::Stop;
use crate::types::{ContentKey, FileEntry, FileName, NodeTraits, Provider, Query};

pub use tracker::client::TrackerClient;
pub use tracker::session::{TrackerClientConfig, TrackerEvent};

/// A page of names, and whether there are more.
pub type NamePage = (Vec<FileName>, bool);

/// A way to make one's files known and to learn who has others.
pub trait Discovery: Send + Sync {
    /// Says that the catalog has changed. Does not wait; what is published is read from the catalog a little
    /// later.
    fn publish(&self);

    /// Live holders, in no particular order, the own node perhaps among them.
    ///
    /// # Errors
    /// [`DiscoveryError`] when nobody could be asked; an empty answer is none.
    fn find(&self, query: &Query, cancel: &Stop) -> Result<Vec<Provider>, DiscoveryError>;
}

/// What is published: the seam to whoever owns the catalog. Calls answer from memory.
pub trait PublishedCatalog: Send + Sync {
    /// Everything, and the version it is of.
    fn snapshot(&self) -> (u64, Vec<Arc<FileEntry>>);

    /// What has changed after `version`, and the version that gives; `None` if that is not known any more.
    fn changes_since(&self, version: u64) -> Option<(u64, Changes)>;

    /// The node's load, for heartbeats.
    fn load(&self) -> u32;

    /// What the node says about itself.
    fn traits(&self) -> NodeTraits;

    /// How it stands with what is kept for others; `None`: nothing is to be asked for.
    fn keeping(&self) -> Option<ReplicaCapacity>;
}

/// How it stands with what a node keeps for others.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReplicaCapacity {
    /// Bytes that there is room for beyond what is running.
    pub room_bytes: u64,
    /// What is being fetched, or is to be.
    pub running: Vec<ContentKey>,
}

/// So many live copies are wished for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicationRequest {
    pub content: ContentKey,
    /// What copies are to be called.
    pub name: FileName,
    /// 0: as many as there happen to be.
    pub copies: u32,
}

/// Changes to a catalog. A name is in one of them at most.
#[derive(Debug, Default)]
pub struct Changes {
    pub removed: Vec<FileName>,
    pub added: Vec<Arc<FileEntry>>,
}

impl Changes {
    pub fn is_empty(&self) -> bool {
        self.removed.is_empty() && self.added.is_empty()
    }
}

/// Why nobody could be asked.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DiscoveryError {
    /// The network's or the tracker's fault; asking again may help.
    #[error("no tracker at {tracker}: {why}")]
    NoTracker { tracker: SocketAddr, why: String },
    /// The tracker's decision.
    #[error("the tracker at {tracker} refused: {why}")]
    Refused { tracker: SocketAddr, why: String },
    #[error("cancelled")]
    Cancelled,
}
