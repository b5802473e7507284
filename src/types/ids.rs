//! Identities: who is speaking, for how long it has been the same one, and what proves it.

use std::fmt::{self, Display};

use serde::{Deserialize, Serialize};

/// A node for as long as its process runs: 128 random bits drawn at each start, so a restarted node is
/// another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId(pub u128);

/// A tracker for as long as its process runs; another epoch means that it has forgotten everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Epoch(pub u64);

/// Handed out on a control connection; must come back from the listener whose address that connection claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Nonce(pub u64);

impl Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}
