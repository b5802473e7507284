//! The downloads of a node as jobs: where each comes from, how far it is, and what may be done to it.
//!
//! Every download except that of a replica is a job. [`table`] keeps the states of all jobs, [`runner`] runs
//! them on threads and calls watchers, [`resume`] adds the jobs that a former run of the node left
//! unfinished.

mod job;
pub(super) mod resume;
mod runner;
mod table;
#[cfg(test)]
mod tests;
mod unfinished;

pub use job::{DownloadResult, Job, JobChange, JobError, JobEvent, JobId, JobSource, JobState};
pub use runner::WatcherGuard;

pub(super) use runner::Jobs;
