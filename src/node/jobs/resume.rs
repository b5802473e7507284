//! Goes on, by itself, with downloads that a former run of the node left unfinished.
//!
//! What is unfinished is read from the records where downloads are placed each time, so that whatever else
//! happens to them (another download of the content, a cancel) counts. Sources may be there later: it is
//! tried again, at growing pauses, until nothing is left. Replicas are not gone on with: whoever wants one
//! asks for it again, and what there is of it is used then.

use std::collections::HashMap;
use std::time::Duration;

use super::{JobId, JobSource, Jobs};
use crate::node::api::{CommandError, DownloadError, DownloadRequest, Downloaded, Outcome};
use crate::node::context::Context;
use crate::proto::event::DownloadEvent;
use crate::rt::{Stop, clock};
use crate::store::{self, Partial, Record};
use crate::types::{ContentKey, FileName};

const FIRST_PAUSE: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Removes what cannot be gone on with, and says what stays.
pub(crate) fn tidy_up(context: &Context) {
    for swept in context.folders.targets().iter().map(|folder| store::sweep(folder)) {
        if swept.parts == 0 {
            continue;
        }
        let (parts, mib) = (swept.parts, swept.allocated_bytes >> 20);
        context.notices.inform(format!(
            "unfinished downloads in .nearpeer: {parts}, {mib} MiB; the next `download` of each goes on"
        ));
    }
}

/// Goes on until nothing is unfinished, then waits for `stop`, as a thread of a node does not end before.
pub(crate) fn run(jobs: &Jobs, stop: &Stop) {
    let context = jobs.context();
    let mut pause = FIRST_PAUSE;
    let mut told: HashMap<FileName, String> = HashMap::new();
    let mut ids: HashMap<ContentKey, JobId> = HashMap::new();
    while !stop.is_triggered() {
        let unfinished = store::unfinished(&context.folders.downloads());
        if unfinished.is_empty() {
            break;
        }
        for (name, key) in unfinished {
            let is_news = !told.contains_key(&name);
            let Some(id) = job_of(jobs, &mut ids, &name, key) else { continue };
            let why = match go_on(jobs, id, &name, key, stop, is_news) {
                None | Some(Err(DownloadError::Command(CommandError::Cancelled))) => continue,
                Some(Ok(done)) => {
                    context.notices.inform(complete(&done));
                    continue;
                }
                Some(Err(error)) => {
                    if !may_go_better_later(&error) {
                        store::set_aside(&context.folders.downloads(), key);
                        let text = format!("`{name}` is unfinished and left to the next `download`: {error}");
                        context.notices.warn(text);
                        continue;
                    }
                    error.to_string()
                }
            };
            if told.get(&name) != Some(&why) {
                context.notices.warn(format!("`{name}` is unfinished, and tried again by itself: {why}"));
                told.insert(name, why);
            }
        }
        stop.wait_until(clock::now() + pause);
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
    // Delivers nothing: ends when the node does.
    let _stopped = stop.receiver().recv();
}

/// The job of an unfinished download: a new one the first time. `None`: it is not to be gone on with any
/// more.
fn job_of(
    jobs: &Jobs,
    ids: &mut HashMap<ContentKey, JobId>,
    name: &FileName,
    key: ContentKey,
) -> Option<JobId> {
    if let Some(id) = ids.get(&key) {
        return Some(*id);
    }
    let record =
        store::wanted(&jobs.context().folders.downloads(), key).filter(|record| record.name == *name)?;
    let id = jobs.add(request(record), JobSource::Unasked).ok()?;
    ids.insert(key, id);
    Some(id)
}

/// Goes on with one download; `None` if it is not to be gone on with any more, as others may have run for
/// hours since it was listed.
fn go_on(
    jobs: &Jobs,
    id: JobId,
    name: &FileName,
    key: ContentKey,
    stop: &Stop,
    is_news: bool,
) -> Option<Result<Downloaded, DownloadError>> {
    let context = jobs.context();
    let mut progress = |event| {
        if let (DownloadEvent::Resumed { marked_bytes, .. }, true) = (event, is_news) {
            let mib = marked_bytes >> 20;
            context.notices.inform(format!("going on with `{name}`: {mib} MiB of it are here"));
        }
    };
    // The record is read once the job runs: whoever sets it aside renames the record first and ends the job
    // then, so that one of us sees the other.
    let job =
        |_: &DownloadRequest, cancel: &Stop, progress: &mut dyn FnMut(DownloadEvent)| match store::wanted(
            &context.folders.downloads(),
            key,
        )
        .filter(|record| record.name == *name)
        {
            Some(record) => jobs.downloader().resume(&request(record), key, cancel, progress),
            None => Err(CommandError::Cancelled.into()),
        };
    let done = jobs.run_once(id, stop, job, &mut progress, may_go_better_later)?;
    if let Ok(Downloaded { outcome: Outcome::AlreadyHere, .. }) = &done
        && let Ok(left) = Partial::open(&context.folders.downloads(), key)
    {
        // Somebody has put the very content there: what was fetched is of no use any more.
        let _stays = left.part.discard();
    }
    Some(done)
}

/// The piece list is dropped here: the download reads its own. Whoever gave leave to replace a file meant the
/// one that was there then.
fn request(record: Record) -> DownloadRequest {
    let Record { name, checksum, verify_whole, .. } = record;
    DownloadRequest { name, checksum, verify_whole, force: false }
}

/// Returns true if and only if it may go better later, with nobody doing anything here.
fn may_go_better_later(error: &DownloadError) -> bool {
    matches!(
        error,
        DownloadError::NotFound(_)
            | DownloadError::AllFailed { .. }
            | DownloadError::NoSpace { .. }
            | DownloadError::Command(_)
    )
}

fn complete(done: &Downloaded) -> String {
    let Downloaded { name, key, outcome } = done;
    let from = match outcome {
        Outcome::AlreadyHere => "already here".to_owned(),
        Outcome::Fetched { sources, .. } => {
            let sources: Vec<_> = sources.iter().map(ToString::to_string).collect();
            format!("from {}", sources.join(", "))
        }
    };
    format!("went on with `{name}`: {} bytes b3 {} {from}", key.size_bytes, key.id)
}

/// See [`crate::node::Node::set_aside`].
pub(crate) fn set_aside(jobs: &Jobs, name: &FileName) {
    set_aside_records(jobs.context(), name);
    jobs.cancel_unasked(name);
}

/// Has a restarted node let the downloads of `name` be.
pub(crate) fn set_aside_records(context: &Context, name: &FileName) {
    for (_, key) in
        store::unfinished(&context.folders.downloads()).iter().filter(|(unfinished, _)| unfinished == name)
    {
        store::set_aside(&context.folders.downloads(), *key);
    }
}
