//! What callers see of a job: its number, source, state and progress, and what happens to it.

use thiserror::Error;

use crate::logic::progress::DownloadProgress;
use crate::node::error::DownloadError;
use crate::node::report::{DownloadRequest, Downloaded};
use crate::proto::event::DownloadEvent;
pub use crate::proto::event::{JobSource, JobState};

/// Number of a job, valid for as long as the node runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(pub u64);

impl std::fmt::Display for JobId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Result of a download.
pub type DownloadResult = Result<Downloaded, DownloadError>;

/// Snapshot of a job.
#[derive(Debug, Clone)]
pub struct Job {
    /// Its number.
    pub id: JobId,
    /// What it downloads.
    pub request: DownloadRequest,
    /// Who or what has started it.
    pub source: JobSource,
    /// Its state now.
    pub state: JobState,
    /// Result of a job that is done or has failed; `None` in all other states.
    pub result: Option<DownloadResult>,
    /// Progress of its last run.
    pub progress: DownloadProgress,
}

/// Why a command about a job fails.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[expect(missing_docs, reason = "each variant has its text")]
pub enum JobError {
    #[error("no download has number {0}: `jobs` lists them")]
    NoSuch(JobId),
    #[error("download {0} has ended")]
    Ended(JobId),
    #[error("download {0} is only now being paused: try again")]
    Pausing(JobId),
    #[error("{max} downloads are not finished: wait for some to end, or cancel some")]
    TooMany { max: usize },
}

/// What happened to a job.
#[derive(Debug, Clone, Copy)]
pub struct JobEvent<'a> {
    /// Number of the job.
    pub id: JobId,
    /// What the job downloads.
    pub request: &'a DownloadRequest,
    /// Who or what has started the job.
    pub source: JobSource,
    /// What changed.
    pub change: JobChange<'a>,
}

/// A change of a job.
#[derive(Debug, Clone, Copy)]
pub enum JobChange<'a> {
    /// The job has this state, which is neither done nor failed.
    State(JobState),
    /// The job is done or has failed.
    Ended(&'a DownloadResult),
    /// An event of its download, which has not ended.
    Progress(&'a DownloadEvent),
}
