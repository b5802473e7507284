//! Decisions: which source to choose, which nodes are live and have which content, what a download does next.
//!
//! Pure: no socket, file, thread, lock or clock. The caller passes the time as `now`, and random numbers as a
//! seeded generator.

pub mod backoff;
pub mod latency;
pub mod load;
pub mod progress;
pub mod rate_history;
pub mod registry;
pub mod replication;
pub mod select;
pub mod transfer;
