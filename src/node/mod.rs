//! The node: shares one directory, answers peers, finds and downloads.
//!
//! `Node::start` gives a handle through which people's commands run; `stop` leaves no thread, descriptor or temporary file behind.
//! Nothing here prints: what a person should know travels as `Notice`.

pub mod api;

pub use api::{
    Attempt, CommandError, DownloadError, DownloadRequest, Downloaded, FindReport, FoundGroup, FoundRow,
    LatencySource, Level, Node, NodeConfig, Notice, Outcome, Progress, Ready, ScanSummary, StartError,
    Variant,
};
