//! The paths of the interface under `/api/v1`.

use crate::node::JobId;

/// Paths below `/api/v1/` that a client can read.
pub(super) const READ_PATHS: [&str; 10] =
    ["status", "load", "limits", "files", "find", "peers", "downloads", "stats", "events", "openapi.json"];
/// Paths below `/api/v1/` that only change something.
pub(super) const CHANGE_PATHS: [&str; 2] = ["updatelist", "replicate"];

/// Returns true if and only if a client can read this path of the interface.
pub(super) fn is_read_path(path: &str) -> bool {
    path.strip_prefix("/api/v1/").is_some_and(|name| {
        READ_PATHS.contains(&name) || name.strip_prefix("downloads/").and_then(job_id).is_some()
    })
}

/// Reads a job number. `parse` alone would also accept a plus sign.
pub(super) fn job_id(text: &str) -> Option<JobId> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok().map(JobId))?
}
