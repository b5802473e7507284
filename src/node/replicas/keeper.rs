//! The thread `replicas`: fetches the copies that the tracker assigns to this node, one after the other,
//! through the same downloads as commands of users.
//!
//! Only a node that keeps replicas ever asks for tasks. The thread never removes a file and never replaces a
//! file of the user.

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

/// Pause after a failed task.
const AFTER_FAILURE: Duration = Duration::from_secs(1);

/// Fetches the assigned replicas until stopped.
pub(crate) fn run(downloader: &Downloader, folders: &ShareFolders, stop: &Stop) {
    let context = downloader.context();
    let replicas = &context.state.replicas;
    // Own files must be published before the first request for tasks, or the tracker might assign one of
    // them.
    if context.indexer.rescan(stop) == Err(CommandError::Cancelled) {
        return wait_for(stop);
    }
    replicas.record_usage(measure(context, folders, stop));
    let (mut kept, mut kept_bytes) = (0, 0u64);
    loop {
        if replicas.must_measure_again() {
            replicas.record_usage(measure(context, folders, stop));
        }
        let Some(task) = replicas.first() else {
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
                // A task that fails at once must not be repeated in a tight loop.
                if stop.wait_until(clock::now() + AFTER_FAILURE) {
                    return;
                }
            }
        }
    }
}

/// Waits for the stop, as a thread of a node does not end before the node does.
fn wait_for(stop: &Stop) {
    let _delivers_nothing = stop.receiver().recv();
}

/// Measures replicas and free space. Partial files of failed tasks stay for another task with the content;
/// they are removed if they are larger than the room.
fn measure(context: &Context, folders: &ShareFolders, stop: &Stop) -> Usage {
    let folder = folders.of(FileOrigin::Replicated);
    let measured = || Usage::of(folder.as_deref(), folders.base(), stop);
    let usage = measured().and_then(|usage| {
        let quota_bytes = context.state.replicas.quota_bytes();
        match folder.as_deref().filter(|_| usage.partial_bytes > room(&usage, quota_bytes)) {
            Some(folder) => {
                store::remove_all(folder);
                measured()
            }
            None => Ok(usage),
        }
    });
    usage.unwrap_or_else(|error| {
        if error.kind() != ErrorKind::Interrupted {
            context
                .notices
                .warn(format!("nothing more is kept here for others: the room cannot be measured: {error}"));
        }
        Usage { used_bytes: u64::MAX, partial_bytes: 0, free_bytes: 0 }
    })
}
