//! The node: shares one directory, answers peers, finds and downloads.
//!
//! `Node::start` gives a handle through which people's commands run; `stop` leaves no thread, descriptor or temporary file behind.
//! Nothing here prints: what happens is told as events. `core` owns the catalog, `memory` is what the fronts answer
//! from, `engine` what commands work with.

mod api;
mod completion_names;
mod context;
mod download;
pub mod events;
mod find;
mod handle;
mod index;
mod jobs;
mod replicas;
mod serve;
mod state;
mod stats;
mod tracker_events;

pub use api::{
    Attempt, CommandError, DownloadError, DownloadRequest, Downloaded, FindReport, FoundGroup, FoundRow,
    GuestFolder, LatencySource, Meant, Membership, NodeConfig, Outcome, OwnFile, Progress, Ready,
    ReplicationReport, ScanSummary, StartError, Uploads, Variant,
};
pub use completion_names::KnownNames;
pub use events::Journal;
pub use find::latency::open_latency_file;
pub use handle::Node;
pub use jobs::progress::{Figures, Rate};
pub use jobs::{Job, JobError, JobId, JobNews, JobState, Origin, Watching, What};
pub use serve::shared_files::{OpenShared, SharedSending, Shelf};
pub use serve::upload::UploadMeter;
pub use stats::Tally;
