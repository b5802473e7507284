//! The node: shares one directory, answers peers, finds and downloads.
//!
//! `Node::start` gives a handle through which people's commands run; `stop` leaves no thread, descriptor or
//! temporary file behind. Nothing here prints: what happens is told as events. `core` owns the catalog,
//! `memory` is what the fronts answer from, `context` what commands work with.

mod api;
mod completion_names;
mod context;
mod download;
pub mod events;
mod find;
mod handle;
mod index;
mod jobs;
mod notices;
mod replicas;
mod running;
mod serve;
mod start;
mod state;
mod stats;
mod tracker_events;

pub use api::{
    Attempt, CommandError, DownloadError, DownloadRequest, Downloaded, FindReport, FoundGroup, FoundRow,
    GuestFolder, LatencySource, Membership, NodeConfig, Outcome, OwnFile, Ready, ReplicationReport,
    ResolvedContent, ScanSummary, StartError, Uploads, Variant,
};
pub use completion_names::KnownNames;
pub use find::latency::open_latency_file;
pub use handle::Node;
pub use jobs::{Job, JobError, JobEvent, JobId, JobSource, JobState, Watching, What};
pub use serve::shared_files::{OpenSharedFile, SharedFiles, UploadGuard};
pub use serve::upload::UploadMeter;
pub use stats::NodeStats;
