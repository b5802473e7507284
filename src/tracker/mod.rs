//! The tracker: knows which node has which file and which nodes are alive. It keeps everything in memory:
//! after a restart the nodes register again.
//!
//! A front is a thread that serves connections and answers each request from memory. The thread `expiry` does
//! what depends on the time alone: it finds suspects and missing copies.

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
pub use stats::{DURATION_BOUNDS_S, FindCounts, Finds, RecentFind, TrackerStats, Via};
pub use view::{Counts, HolderRow, KnownNode, View};
