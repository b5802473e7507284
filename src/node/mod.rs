//! The node: shares one directory, answers peers, finds files and downloads them.
//!
//! `Node::start` returns the handle of a running node, which has a method for each command. After
//! `Node::stop` no thread is left. This module prints nothing: it publishes what happens as events.

mod completion_names;
mod config;
mod context;
mod download;
mod error;
pub mod events;
mod find;
mod handle;
mod index;
mod jobs;
mod notices;
mod replicas;
mod report;
mod serve;
mod state;
mod stats;
mod threads;
mod tracker_events;

pub use completion_names::KnownNames;
pub use config::{GuestFolder, LatencySource, Membership, NodeConfig};
pub use error::{CommandError, DownloadError, NodeStartError};
pub use find::latency::open_latency_file;
pub use handle::Node;
pub use jobs::{
    DownloadResult, Job, JobChange, JobError, JobEvent, JobId, JobSource, JobState, WatcherGuard,
};
pub use report::{
    Attempt, DownloadRequest, Downloaded, FindReport, FoundGroup, FoundRow, Outcome, OwnFile, Ready,
    ReplicationReport, ResolvedContent, ScanSummary, Uploads, Variant,
};
pub use serve::meter::UploadMeter;
pub use serve::shared_files::{OpenSharedFile, SharedFiles, UploadGuard};
pub use stats::NodeStats;
