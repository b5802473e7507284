//! A ranked holder: its latency, its load, and the score that follows from both.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::millis::Millis;

/// Where a latency comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LatencyOrigin {
    /// The latency file has the pair.
    #[serde(rename = "file")]
    Table,
    /// The latency file does not have the pair.
    Default,
    /// The node has measured the round trip of its request for the load.
    Measured,
}

impl LatencyOrigin {
    /// The word for it in output and events.
    pub const fn as_str(self) -> &'static str {
        match self {
            LatencyOrigin::Table => "file",
            LatencyOrigin::Default => "default",
            LatencyOrigin::Measured => "measured",
        }
    }
}

/// A holder and its score. As JSON it is an element of `ranking` in the event `ranked`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ranked {
    /// Address that the holder serves at.
    #[serde(rename = "addr")]
    pub endpoint: SocketAddr,
    /// Latency from this node to the holder.
    #[serde(rename = "latency_ms")]
    pub latency: Millis,
    /// Where `latency` comes from.
    #[serde(rename = "latency_from")]
    pub latency_origin: LatencyOrigin,
    /// The holder's load: number of transfers that it takes part in.
    pub load: u32,
    /// latency + weight * (load - yours). The least score is the best.
    #[serde(rename = "score_ms")]
    pub score: Millis,
    /// Number of transfers in `load` that belong to this node's download of the content: 0 or 1.
    pub yours: u32,
}
