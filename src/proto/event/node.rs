//! Nodes and programs in events.

use std::fmt::{self, Display};

use serde::{Deserialize, Serialize};

use crate::types::Liveness;

/// State of a node in an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeState {
    /// The tracker has removed it.
    Gone,
    /// The tracker lists it.
    #[serde(untagged)]
    Listed(Liveness),
}

impl Display for NodeState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NodeState::Gone => f.write_str("gone"),
            NodeState::Listed(liveness) => liveness.fmt(f),
        }
    }
}

/// The service that listens on an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Service {
    /// The tracker's native protocol.
    Tracker,
    /// The node's native protocol.
    Node,
    /// The web server of a tracker or node.
    Pages,
}

impl Service {
    /// The word for it in output and events.
    pub const fn as_str(self) -> &'static str {
        match self {
            Service::Tracker => "tracker",
            Service::Node => "node",
            Service::Pages => "pages",
        }
    }
}
