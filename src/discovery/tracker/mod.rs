//! Discovery through a tracker.

mod announce;
mod client;
mod control;
mod interface;

pub use client::TrackerClient;
pub use interface::{NamePage, ReplicationRequest, TrackerClientConfig, TrackerEvent, TrackerSession};
