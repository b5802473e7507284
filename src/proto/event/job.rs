//! The state and the origin of a job, as events show them.

use serde::{Deserialize, Serialize};

/// State of a download job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// It waits until a thread for background downloads is free.
    Queued,
    /// It runs.
    Running,
    /// The user has paused it. Fetched pieces are kept.
    Paused,
    /// The file is in place.
    Done,
    /// It has failed.
    Failed,
    /// The user has cancelled it. Fetched pieces are kept for a later download of the content.
    Cancelled,
}

impl JobState {
    /// Returns true if and only if the state is final.
    pub const fn has_ended(self) -> bool {
        matches!(self, JobState::Done | JobState::Failed | JobState::Cancelled)
    }

    /// The word for it in output and events.
    pub const fn as_str(self) -> &'static str {
        match self {
            JobState::Queued => "queued",
            JobState::Running => "running",
            JobState::Paused => "paused",
            JobState::Done => "done",
            JobState::Failed => "failed",
            JobState::Cancelled => "cancelled",
        }
    }
}

/// Why a download job exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobSource {
    /// A command that waits for its end.
    #[serde(rename = "asked")]
    Foreground,
    /// A command that does not wait for its end.
    Background,
    /// An earlier run of the node left it unfinished.
    #[serde(rename = "unasked")]
    Resumed,
}
