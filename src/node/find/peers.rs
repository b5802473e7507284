//! The settings with which this node sends requests to its peers.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use parking_lot::Mutex;

use super::latency::Latencies;
use crate::node::notices::Notices;
use crate::types::{Millis, NodeId};

/// Settings for requests to peers, and for the ranking of their replies.
#[derive(Debug)]
pub(crate) struct Peers {
    /// This node.
    pub(crate) node: NodeId,
    /// The local address of outgoing connections; unspecified for any.
    pub(crate) ip: IpAddr,
    /// Where peers reach this node, as far as it knows.
    pub(crate) endpoint: SocketAddr,
    pub(crate) latencies: Mutex<Arc<Latencies>>,
    /// A reply counts as arrived only after the latency that the latency file gives for its peer.
    pub(crate) emulate_latency: bool,
    /// What one unit of load weighs against latency.
    pub(crate) load_weight: Millis,
    /// Number of further rounds after all sources have failed.
    pub(crate) retries: u32,
    pub(crate) notices: Notices,
}

impl Peers {
    /// The latencies as they were last read.
    pub(crate) fn latencies(&self) -> Arc<Latencies> {
        Arc::clone(&self.latencies.lock())
    }

    /// Reads the latency file again if it has changed, and returns the latencies. If the file has become
    /// unusable, the user is warned and the old latencies stay.
    pub(crate) fn refresh_latencies(&self) -> Arc<Latencies> {
        let current = self.latencies();
        match current.read_if_changed() {
            Ok(None) => current,
            Ok(Some(newer)) => {
                let newer = Arc::new(newer);
                *self.latencies.lock() = Arc::clone(&newer);
                newer
            }
            Err(error) => {
                self.notices
                    .warn(format!("latency file {}: {}; the old table is kept", error.path, error.why));
                current
            }
        }
    }

    /// The latencies to emulate; `None`: this node emulates none.
    pub(crate) fn emulated(&self) -> Option<Arc<Latencies>> {
        self.emulate_latency.then(|| self.latencies())
    }
}
