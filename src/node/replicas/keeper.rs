//! The thread `replicas`: fetches the copies that the tracker assigns to this node, one after the other, through
//! the same downloads as commands of users.
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
use crate::store::{self, Usage};
use crate::types::FileOrigin;

/// Pause after a task that has failed.
const AFTER_FAILURE: Duration = Duration::from_secs(1);

/// Fetches what the tracker asks for until stopped.
pub(crate) fn run(downloader: &Downloader, stop: &Stop) {
    let context = downloader.context();
    let replicas = &context.state.replicas;
    // What is here must be published before anything is asked for, or the tracker might ask for it.
    if context.indexer.rescan(stop) == Err(CommandError::Cancelled) {
        return stopped(stop);
    }
    replicas.measured(measure(context, stop));
    let (mut kept, mut kept_bytes) = (0, 0u64);
    loop {
        if replicas.is_to_look_again() {
            replicas.measured(measure(context, stop));
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
                replicas.done(true);
            }
            Ok(Outcome::AlreadyHere) => replicas.done(false),
            Err(DownloadError::Command(CommandError::Cancelled)) if stop.is_triggered() => return,
            Err(error) => {
                context.notices.warn(format!("no copy of `{}` is kept here for others: {error}", task.name));
                replicas.failed(measure(context, stop));
                // What fails at once must not fail again and again without end.
                if stop.wait_until(clock::now() + AFTER_FAILURE) {
                    return;
                }
            }
        }
    }
}

/// A thread of a node does not end before the node does.
fn stopped(stop: &Stop) {
    let _delivers_nothing = stop.receiver().recv();
}

/// Counts what is here. Parts that were left are of use if somebody asks for their content again, and make
/// way where they take more than there is room for.
fn measure(context: &Context, stop: &Stop) -> Usage {
    let folder = context.folders.of(FileOrigin::Replicated);
    let measured = || Usage::of(folder.as_deref(), context.folders.base(), stop);
    let usage = measured().and_then(|usage| {
        let quota_bytes = context.state.replicas.quota_bytes();
        match folder.as_deref().filter(|_| usage.parts_bytes > room(&usage, quota_bytes)) {
            Some(folder) => {
                store::clear_parts(folder);
                measured()
            }
            None => Ok(usage),
        }
    });
    usage.unwrap_or_else(|error| {
        if error.kind() != ErrorKind::Interrupted {
            context
                .notices
                .warn(format!("nothing more is kept here for others: the room cannot be told: {error}"));
        }
        Usage { used_bytes: u64::MAX, parts_bytes: 0, free_bytes: 0 }
    })
}
