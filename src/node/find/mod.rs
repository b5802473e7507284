//! Search: asks discovery for holders, probes them, and ranks those that answer.

pub(super) mod latency;
pub(super) mod peers;
pub(super) mod probe;
pub(super) mod search;
