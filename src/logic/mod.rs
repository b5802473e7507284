//! Decisions: which source, who is alive and has what, what a download does next. Pure: no socket, file,
//! thread, lock or clock; time comes in as `now`, randomness as a seeded generator.

pub mod backoff;
pub mod latency;
pub mod load;
pub mod progress;
pub mod rate_history;
pub mod registry;
pub mod replication;
pub mod select;
pub mod transfer;
