//! Source selection: `score = latency + 10 * load`, least wins; ties by latency, then address.

use std::net::SocketAddr;

use crate::types::Millis;

/// Where a candidate's latency comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LatencyOrigin {
    /// The latency file has the pair.
    Table,
    /// The latency file does not have the pair.
    Default,
    /// Round trip of the load probe.
    Measured,
}

/// A live holder, as the load probe found it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    pub endpoint: SocketAddr,
    pub latency: Millis,
    pub latency_origin: LatencyOrigin,
    pub load: u32,
    /// The asker's own transfers of this content that `load` counts: 0 or 1.
    pub yours: u32,
}

/// A candidate with its place in the order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rating {
    pub candidate: Candidate,
    /// latency + weight * (load - yours)
    pub score: Millis,
}
