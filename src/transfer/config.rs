//! What a download takes over from the node that runs it.

use std::fmt::Debug;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use crate::types::{Millis, NodeId};

/// Settings of one download. Cheap to clone.
#[derive(Debug, Clone)]
pub struct TransferConfig {
    /// The node that downloads. Sources use it to tell its requests from those of others.
    pub node: NodeId,
    /// Outgoing connections are bound to this address, unless it is unspecified.
    pub bind: IpAddr,
    /// What one unit of load costs in a score.
    pub load_weight: Millis,
    /// Rounds over all sources after the first round.
    pub retries: u32,
    /// Emulated latencies; `None`: replies count as arrived when they arrive.
    pub reply_delays: Option<Arc<dyn ReplyDelays>>,
}

impl TransferConfig {
    /// How long a reply of `endpoint` is held back to emulate its latency.
    pub fn reply_delay(&self, endpoint: SocketAddr) -> Duration {
        self.reply_delays.as_ref().map_or(Duration::ZERO, |delays| delays.reply_delay(endpoint))
    }
}

/// Latencies that are emulated: a reply counts as arrived no sooner than this after its request.
pub trait ReplyDelays: Debug + Send + Sync {
    /// The delay of replies from `endpoint`; zero where none is emulated.
    fn reply_delay(&self, endpoint: SocketAddr) -> Duration;
}
