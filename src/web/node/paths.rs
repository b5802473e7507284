//! The paths of the interface under `/api/v1`.

use crate::node::JobId;

/// Paths below `/api/v1/` that show something.
pub(super) const SHOWN: [&str; 10] =
    ["status", "load", "limits", "files", "find", "peers", "downloads", "stats", "events", "openapi.json"];
/// Paths below `/api/v1/` that only change something.
pub(super) const DONE: [&str; 2] = ["updatelist", "replicate"];

/// Whether this path of the interface shows something.
pub(super) fn is_shown(path: &str) -> bool {
    path.strip_prefix("/api/v1/").is_some_and(|name| {
        SHOWN.contains(&name) || name.strip_prefix("downloads/").and_then(job_id).is_some()
    })
}

/// Reads a job number: digits only.
pub(super) fn job_id(text: &str) -> Option<JobId> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok().map(JobId))?
}
