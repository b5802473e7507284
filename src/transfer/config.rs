//! The settings that a node gives to its downloads.

use std::fmt::Debug;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use crate::types::{Millis, NodeId};

/// Settings of one download. Cheap to clone.
#[derive(Debug, Clone)]
pub struct TransferConfig {
    /// The node that downloads. With this id a source counts all its requests as one transfer.
    pub node: NodeId,
    /// Outgoing connections are bound to this address, unless it is unspecified.
    pub bind: IpAddr,
    /// What one unit of load costs in a score.
    pub load_weight: Millis,
    /// How many rounds follow the first round. A round tries every source.
    pub retries: u32,
    /// Emulated latencies; `None`: none is emulated.
    pub reply_delays: Option<Arc<dyn ReplyDelays>>,
}

impl TransferConfig {
    /// The delay of replies from `endpoint` that emulates its latency.
    pub fn reply_delay(&self, endpoint: SocketAddr) -> Duration {
        self.reply_delays.as_ref().map_or(Duration::ZERO, |delays| delays.reply_delay(endpoint))
    }
}

/// Emulated latencies: a reply counts as arrived no sooner than this delay after its request.
pub trait ReplyDelays: Debug + Send + Sync {
    /// The delay of replies from `endpoint`; zero where none is emulated.
    fn reply_delay(&self, endpoint: SocketAddr) -> Duration;
}
