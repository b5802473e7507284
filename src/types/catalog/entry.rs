//! What nodes publish and what trackers answer: catalog entries, providers, rows of the list of nodes.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::attributes::{Attribute, NodeTraits, REPLICA};
use crate::types::content::{ContentId, ContentKey, Md5Digest};
use crate::types::ids::NodeId;
use crate::types::name::FileName;

/// Where a published whole-file MD5 comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Md5Origin {
    /// The publisher has hashed its copy.
    Computed,
    /// The publisher repeats what another publisher says, and has not hashed the whole content itself.
    Claimed,
}

/// How much of a file its publisher has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Holding {
    /// The whole content.
    Full,
    /// A part: this number of verified pieces, fewer than all.
    Pieces(u32),
}

/// One file in a node's catalog.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// The name under which the node publishes it.
    pub name: FileName,
    /// Size of the whole content.
    pub size_bytes: u64,
    /// Modification time, nanoseconds since 1970.
    pub mtime_ns: i64,
    /// BLAKE3 of the whole content.
    pub content: ContentId,
    /// MD5 of the whole content.
    pub md5: Md5Digest,
    /// Where the MD5 comes from.
    pub md5_origin: Md5Origin,
    /// How much of it the node has.
    pub holding: Holding,
    /// Optional properties of the file.
    pub attributes: Vec<Attribute>,
}

impl FileEntry {
    /// The content of the file.
    pub fn key(&self) -> ContentKey {
        ContentKey { size_bytes: self.size_bytes, id: self.content }
    }

    /// The attributes of a file; `is_replica`: its publisher keeps it because a tracker asked for it.
    pub fn attributes_of(is_replica: bool) -> Vec<Attribute> {
        is_replica.then(|| Attribute { tag: REPLICA, value: Vec::new() }).into_iter().collect()
    }

    /// Returns true if and only if the publisher says that it keeps the file because a tracker asked for it.
    pub fn is_replica(&self) -> bool {
        self.attributes.iter().any(|attribute| attribute.tag == REPLICA)
    }

    /// Maximum size of [`FileEntry::attributes_of`] on the wire, without the length of the list: one tag and
    /// the length of an empty value.
    pub const ATTRIBUTES_MAX_BYTES: usize = 10;
}

/// Number of different holders that have the whole content. A holder that has it under several names counts
/// once. Each item of `holders` identifies a holder (by node id or endpoint) and says how much it has.
pub fn full_holders<H: Ord>(holders: impl IntoIterator<Item = (H, Holding)>) -> usize {
    let full = holders.into_iter().filter(|(_, holding)| *holding == Holding::Full);
    full.map(|(holder, _)| holder).collect::<BTreeSet<_>>().len()
}

/// A live node that holds a file, as discovery returns it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provider {
    /// The node's id.
    pub node: NodeId,
    /// Address of the node's listener.
    pub endpoint: SocketAddr,
    /// The node's catalog entry of the file.
    pub entry: FileEntry,
    /// Optional properties of the node: those that its tracker knows.
    pub attributes: Vec<Attribute>,
}

impl Provider {
    /// What the node says about itself.
    pub fn traits(&self) -> NodeTraits {
        NodeTraits::of(&self.attributes)
    }
}

/// State of a node in a tracker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Liveness {
    /// The tracker offers its files.
    Live,
    /// Its control connection ended or its heartbeats stopped, and it has not answered a call-back since. The
    /// tracker does not offer its files.
    Suspect,
    /// The node did not answer the call-back to the endpoint that it gave. The tracker does not offer its
    /// files.
    Unproved,
}

/// One row of the list of nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeSummary {
    /// The node's id.
    pub node: NodeId,
    /// Address of the node's listener.
    pub endpoint: SocketAddr,
    /// Its state.
    pub liveness: Liveness,
    /// Number of files that it has whole.
    pub files: u32,
    /// Load in its last heartbeat; `None` before the first one.
    pub load: Option<u32>,
    /// Optional properties of the node: those that its tracker knows.
    pub attributes: Vec<Attribute>,
}

impl NodeSummary {
    /// What the node says about itself.
    pub fn traits(&self) -> NodeTraits {
        NodeTraits::of(&self.attributes)
    }
}

impl std::fmt::Display for Liveness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Liveness::Live => "live",
            Liveness::Suspect => "suspect",
            Liveness::Unproved => "unproved",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_holder_counts_once_under_any_number_of_names_and_a_partial_holder_does_not_count() {
        let holders = [(1, Holding::Full), (2, Holding::Pieces(3)), (1, Holding::Full), (3, Holding::Full)];
        assert_eq!(full_holders(holders), 2);
        assert_eq!(full_holders([(1, Holding::Pieces(0))]), 0);
    }
}
