//! How this node sends requests to its peers: from which address, with which latencies, how often.

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
    /// Outgoing connections are bound to it, unless it is unspecified.
    pub(crate) ip: IpAddr,
    /// Where peers reach this node, as far as it knows.
    pub(crate) endpoint: SocketAddr,
    pub(crate) latencies: Mutex<Arc<Latencies>>,
    /// Replies count as arrived no sooner than the latency table says.
    pub(crate) emulate_latency: bool,
    /// What one unit of load weighs against latency.
    pub(crate) load_weight: Millis,
    /// Rounds in which all sources are asked again after each has failed.
    pub(crate) retries: u32,
    pub(crate) notices: Notices,
}

impl Peers {
    /// The latencies as they were last read.
    pub(crate) fn latencies(&self) -> Arc<Latencies> {
        Arc::clone(&self.latencies.lock())
    }

    /// The latencies, read again if their file has changed. If the file has become unusable, the user is
    /// warned and the old table stays.
    pub(crate) fn refreshed_latencies(&self) -> Arc<Latencies> {
        let current = self.latencies();
        match current.refreshed() {
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

    /// The latencies to emulate; `None` if replies count as they arrive.
    pub(crate) fn emulated(&self) -> Option<Arc<Latencies>> {
        self.emulate_latency.then(|| self.latencies())
    }
}
