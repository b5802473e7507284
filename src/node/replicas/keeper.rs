//! The thread `replicas`: fetches the replicas that the tracker assigns to this node, one after the other, as
//! downloads.
//!
//! Only a node that keeps replicas has this thread, and so asks the tracker for tasks. The thread never
//! removes or replaces a file; it removes partial files of replicas only.

use std::io::ErrorKind;
use std::time::Duration;

use crossbeam_channel::select;

use super::quota::room;
use crate::node::context::Context;
use crate::node::download::Downloader;
use crate::node::error::{CommandError, DownloadError};
use crate::node::report::Outcome;
use crate::rt::{Stop, clock};
use crate::store::{self, ShareFolders, Usage};
use crate::types::FileOrigin;

/// A task that fails at once must not be repeated in a tight loop.
const FAILURE_PAUSE: Duration = Duration::from_secs(1);

/// Fetches the assigned replicas until `stop` is triggered.
pub(crate) fn run(downloader: &Downloader, folders: &ShareFolders, stop: &Stop) {
    let context = downloader.context();
    let replicas = &context.state.replicas;
    // Own files must be published before the first request for tasks, or the tracker might assign one of
    // them.
    if context.indexer.rescan(stop) == Err(CommandError::Cancelled) {
        return wait_until_stopped(stop);
    }
    replicas.record_usage(measure(context, folders, stop));
    let (mut kept, mut kept_bytes) = (0, 0u64);
    loop {
        if replicas.take_measurement_request() {
            replicas.record_usage(measure(context, folders, stop));
        }
        let Some(task) = replicas.first_task() else {
            if kept > 0 {
                let text = format!("{kept} more files, {kept_bytes} bytes, are kept here for others");
                context.notices.inform(text);
                (kept, kept_bytes) = (0, 0);
            }
            context.tracker.request_tasks();
            select! {
                recv(replicas.woken()) -> _ => continue,
                recv(stop.receiver()) -> _ => return,
            }
        };
        match downloader.keep_replica(&task, stop) {
            Ok(Outcome::Fetched { .. }) => {
                kept += 1;
                kept_bytes = kept_bytes.saturating_add(task.content.size_bytes);
                replicas.record_done(true);
            }
            Ok(Outcome::AlreadyHere) => replicas.record_done(false),
            Err(DownloadError::Command(CommandError::Cancelled)) if stop.is_triggered() => return,
            Err(error) => {
                context.notices.warn(format!("no copy of `{}` is kept here for others: {error}", task.name));
                replicas.record_failed(measure(context, folders, stop));
                if stop.wait_until(clock::now() + FAILURE_PAUSE) {
                    return;
                }
            }
        }
    }
}

/// Waits until `stop` is triggered: a thread that ends before the node counts as failed.
fn wait_until_stopped(stop: &Stop) {
    // The channel delivers nothing: it disconnects at the stop.
    stop.receiver().recv().ok();
}

/// Measures replicas and free space. The partial files of failed tasks stay for another task with the
/// content, unless they together are larger than the room: then all of them are removed.
fn measure(context: &Context, folders: &ShareFolders, stop: &Stop) -> Usage {
    let folder = folders.of(FileOrigin::Replicated);
    let measure = || Usage::of(folder.as_deref(), folders.base(), stop);
    let usage = measure().and_then(|usage| {
        let quota_bytes = context.state.replicas.quota_bytes();
        match folder.as_deref().filter(|_| usage.partial_bytes > room(&usage, quota_bytes)) {
            Some(folder) => {
                store::remove_all(folder);
                measure()
            }
            None => Ok(usage),
        }
    });
    usage.unwrap_or_else(|error| {
        // `Interrupted`: the node stops.
        if error.kind() != ErrorKind::Interrupted {
            context
                .notices
                .warn(format!("nothing more is kept here for others: the room cannot be measured: {error}"));
        }
        // Such a usage leaves no room, so no further task is accepted.
        Usage { used_bytes: u64::MAX, partial_bytes: 0, free_bytes: 0 }
    })
}
