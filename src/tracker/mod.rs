//! The tracker: knows which node has which file and which nodes are alive. Its state is soft: nodes bring
//! back everything that a restart loses.
//!
//! The front threads are its thread pool: every request is answered in place, from memory. The thread `sweep`
//! lets time pass.

mod config;
mod expiry;
mod handle;
mod requests;
mod service;
mod shared;
mod stats;
mod view;

pub use config::{TrackerConfig, TrackerStartError};
pub use handle::Tracker;
pub use stats::{DURATION_BOUNDS_S, Finds, RecentFind, TrackerStats, Via};
pub use view::{Counts, HolderRow, KnownNode, View};
