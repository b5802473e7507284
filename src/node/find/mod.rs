//! Search: asks discovery, probes the holders, and ranks them.

pub(super) mod latency;
pub(super) mod peers;
pub(super) mod probe;
pub(super) mod search;
