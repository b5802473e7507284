//! Identities of nodes and trackers, and the nonce with which a tracker verifies a node's address.

use std::fmt::{self, Display};

use serde::{Deserialize, Serialize};

/// Identity of a node for as long as its process runs: 128 random bits drawn at each start. A restarted node
/// is another node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId(pub u128);

/// Identity of a tracker for as long as its process runs: 64 random bits drawn at each start, which have no
/// order. A tracker whose epoch is another one than before has forgotten all nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Epoch(pub u64);

/// A random number that a tracker sends on a control connection. The listener whose address that connection
/// claims must send it back: so the tracker knows that both belong to one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Nonce(pub u64);

impl Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}
