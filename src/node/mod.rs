//! The node: shares one directory, answers peers, finds and downloads.
//!
//! `Node::start` gives a handle through which people's commands run; `stop` leaves no thread, descriptor or temporary file behind.
//! Nothing here prints: what happens is told as events. `core` owns the catalog, `memory` is what the fronts answer
//! from, `engine` what commands work with.

mod api;
mod catalog;
mod chronicle;
mod control;
mod core;
mod download;
mod engine;
pub mod events;
mod figures;
mod find;
mod handle;
mod jobs;
mod latency;
mod memory;
mod names;
mod news;
mod partials;
mod replicas;
mod replicate;
mod resume;
mod shelf;
mod tally;
mod turns;
mod upload;
mod work;

pub use api::{
    Attempt, CommandError, DownloadError, DownloadRequest, Downloaded, FindReport, FoundGroup, FoundRow,
    GuestFolder, LatencySource, Meant, Membership, NodeConfig, Outcome, OwnFile, Progress, Ready,
    ReplicationReport, ScanSummary, StartError, Uploads, Variant,
};
pub use events::Journal;
pub use figures::{Figures, Rate};
pub use handle::Node;
pub use jobs::{Job, JobError, JobId, JobNews, JobState, Origin, Watching, What};
pub use latency::open_latency_file;
pub use names::KnownNames;
pub use shelf::{OpenShared, SharedSending, Shelf};
pub use tally::Tally;
pub use upload::UploadMeter;
