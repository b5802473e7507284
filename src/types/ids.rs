//! Identities of nodes and trackers, and the number that verifies an endpoint.

use std::fmt::{self, Display};

use serde::{Deserialize, Serialize};

/// Identity of a node for as long as its process runs: 128 random bits drawn at each start. A restarted node
/// is another node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId(pub u128);

/// Identity of a tracker for as long as its process runs. A tracker with another epoch has forgotten
/// everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Epoch(pub u64);

/// A number that a tracker sends on a control connection. It must come back from the listener whose address
/// that connection claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Nonce(pub u64);

impl Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}
