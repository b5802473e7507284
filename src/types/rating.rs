//! What is known of a holder of a content when sources are ranked, and the score that it gets.

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
    /// Round trip of the load probe.
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

/// A candidate and its score. As JSON it is a row of the event `ranked`.
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
    /// Number of uploads that the holder serves now.
    pub load: u32,
    /// latency + weight * (load - yours). The least score is the best.
    #[serde(rename = "score_ms")]
    pub score: Millis,
    /// This node's own transfers of the content that `load` counts: 0 or 1.
    pub yours: u32,
}
