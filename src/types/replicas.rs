//! Replication as it is spoken of: what a tracker asks a node to keep, and how far a content's copies have come.

use serde::{Deserialize, Serialize};

use super::digest::ContentKey;
use super::name::FileName;

/// Fetch this content, keep it, and offer it under this name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ReplicaTask {
    pub content: ContentKey,
    pub name: FileName,
}

/// How many copies of a content there are, how many are to come, and why there are not more. All numbers of nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct ReplicationStatus {
    /// Live nodes that are to have all of it.
    pub wanted: u32,
    /// Live nodes that have all of it.
    pub copies: u32,
    /// Nodes that had it a moment ago: nobody takes their place before they had the time to come back.
    pub awaited: u32,
    /// Nodes that were given the task earlier and are not done.
    pub under_way: u32,
    /// Nodes that were given the task now.
    pub given: u32,
    /// Willing nodes whose quota or disk has no room for it.
    pub no_room: u32,
    /// Willing nodes that have as many tasks as a node is given.
    pub busy: u32,
    /// Willing nodes that have failed to fetch it a while ago.
    pub failed: u32,
}

impl ReplicationStatus {
    /// Nodes that are wanted and not in sight: there are too few that are willing and able.
    pub fn missing(&self) -> u32 {
        [self.copies, self.awaited, self.under_way, self.given]
            .iter()
            .fold(self.wanted, |left, one| left.saturating_sub(*one))
    }
}
