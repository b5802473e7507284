//! What callers see of a job: its number, source, state and progress, and what happens to it.

use thiserror::Error;

use crate::logic::progress::DownloadProgress;
use crate::node::error::DownloadError;
use crate::node::report::{DownloadRequest, Downloaded};
use crate::proto::event::DownloadEvent;

/// Number of a job, valid for as long as the node runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(pub u64);

impl std::fmt::Display for JobId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Where a job comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobSource {
    /// A command whose caller waits for the end.
    Foreground,
    /// A command whose caller does not wait.
    Background,
    /// A former run of the node left it unfinished.
    Resumed,
}

/// State of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobState {
    /// It will run as soon as a thread is free.
    Queued,
    Running,
    /// It runs again when it is resumed. What was fetched is kept.
    Paused,
    Done(Downloaded),
    Failed(DownloadError),
    /// What was fetched is kept for the next download of the content.
    Cancelled,
}

impl JobState {
    /// Returns true if and only if the state is final.
    pub fn has_ended(&self) -> bool {
        matches!(self, JobState::Done(_) | JobState::Failed(_) | JobState::Cancelled)
    }

    /// The state as one stable word.
    pub fn as_str(&self) -> &'static str {
        match self {
            JobState::Queued => "queued",
            JobState::Running => "running",
            JobState::Paused => "paused",
            JobState::Done(_) => "done",
            JobState::Failed(_) => "failed",
            JobState::Cancelled => "cancelled",
        }
    }
}

/// Snapshot of a job.
#[derive(Debug, Clone)]
pub struct Job {
    pub id: JobId,
    pub request: DownloadRequest,
    pub source: JobSource,
    pub state: JobState,
    /// Progress of its last run.
    pub progress: DownloadProgress,
}

/// Why a command about a job fails.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
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
    pub id: JobId,
    pub request: &'a DownloadRequest,
    pub source: JobSource,
    pub what: What<'a>,
}

/// The new state of a job, or progress of its run.
#[derive(Debug, Clone, Copy)]
pub enum What<'a> {
    State(&'a JobState),
    Progress(&'a DownloadEvent),
}
