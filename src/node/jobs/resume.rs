//! Resumes the downloads that a former run of the node left unfinished.
//!
//! The thread `resume` tries all of them in rounds, with growing pauses, as sources may come back later. It
//! reads the records in the directory of downloads before each round, so that it notices downloads that other
//! jobs have finished and users have cancelled. It resumes no replicas: the tracker assigns them again, and
//! their pieces are used then.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::job::{JobId, JobSource};
use super::runner::Jobs;
use super::unfinished;
use crate::node::error::{CommandError, DownloadError};
use crate::node::notices::Notices;
use crate::node::report::{DownloadRequest, Downloaded, Outcome};
use crate::proto::event::DownloadEvent;
use crate::rt::{Stop, clock};
use crate::store::{self, Partial, Share, ShareFolders};
use crate::types::{ContentKey, FileName};

const FIRST_PAUSE: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Removes partial files and records that no download can use, and publishes how many others stay.
pub(crate) fn clean_up(folders: &ShareFolders, notices: &Notices) {
    for swept in folders.targets().iter().map(|folder| store::sweep(folder)) {
        if swept.files == 0 {
            continue;
        }
        let (files, mib) = (swept.files, swept.allocated_bytes >> 20);
        notices.inform(format!(
            "unfinished downloads in .nearpeer: {files}, {mib} MiB; the next `download` of each resumes it"
        ));
    }
}

/// Tries the unfinished downloads until none is left. Then it waits for `stop`: a thread that ends before the
/// node counts as failed.
pub(crate) fn run(jobs: &Jobs, folders: &ShareFolders, stop: &Stop) {
    let mut resumer = Resumer { jobs, folders, stop, job_ids: HashMap::new(), reasons: HashMap::new() };
    let mut pause = FIRST_PAUSE;
    while !stop.is_triggered() {
        let unfinished = store::resumable(&resumer.downloads());
        if unfinished.is_empty() {
            break;
        }
        for (name, content) in unfinished {
            resumer.try_once(&name, content);
        }
        stop.wait_until(clock::now() + pause);
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
    // The channel delivers nothing: it disconnects at the stop.
    stop.receiver().recv().ok();
}

struct Resumer<'a> {
    jobs: &'a Jobs,
    folders: &'a ShareFolders,
    stop: &'a Stop,
    job_ids: HashMap<ContentKey, JobId>,
    /// The last published reason why a download could not be resumed.
    reasons: HashMap<FileName, String>,
}

impl Resumer<'_> {
    fn downloads(&self) -> Arc<Share> {
        self.folders.downloads()
    }

    /// Tries once to finish a download, and publishes the result.
    fn try_once(&mut self, name: &FileName, content: ContentKey) {
        let notices = &self.jobs.context().notices;
        let Some(id) = self.find_or_add_job(name, content) else { return };
        let error = match self.run_job(id, name, content) {
            None | Some(Err(DownloadError::Command(CommandError::Cancelled))) => return,
            Some(Ok(done)) => return notices.inform(completion_text(&done)),
            Some(Err(error)) => error,
        };
        if !self.may_retry(name, content, &error) {
            store::quarantine(&self.downloads(), content);
            notices.warn(format!("`{name}` is unfinished and left to the next `download`: {error}"));
            return;
        }
        // The user learns each reason once, not in each round.
        let why = error.to_string();
        if self.reasons.get(name) != Some(&why) {
            notices.warn(format!("`{name}` is unfinished, and tried again by itself: {why}"));
            self.reasons.insert(name.clone(), why);
        }
    }

    /// Returns true if and only if this thread tries the download again. A download that ended without its
    /// partial file, because the name has another content now, has nothing to resume.
    fn may_retry(&self, name: &FileName, content: ContentKey, error: &DownloadError) -> bool {
        may_succeed_later(error) && unfinished::record_of(&self.downloads(), name, content).is_some()
    }

    /// The job of an unfinished download. The first call adds it. `None`: the download must not be resumed
    /// any more.
    fn find_or_add_job(&mut self, name: &FileName, content: ContentKey) -> Option<JobId> {
        if let Some(id) = self.job_ids.get(&content) {
            return Some(*id);
        }
        let record = unfinished::record_of(&self.downloads(), name, content)?;
        let id = self.jobs.add(unfinished::request_of(record), JobSource::Resumed).ok()?;
        self.job_ids.insert(content, id);
        Some(id)
    }

    /// Runs the job once. `None`: the job must not run now. Other jobs may have run for hours since the job
    /// was listed, and a user may have paused or cancelled it.
    fn run_job(
        &self,
        id: JobId,
        name: &FileName,
        content: ContentKey,
    ) -> Option<Result<Downloaded, DownloadError>> {
        let is_first = !self.reasons.contains_key(name);
        let mut progress = |event| {
            if let (DownloadEvent::Resumed { marked_bytes, .. }, true) = (event, is_first) {
                let mib = marked_bytes >> 20;
                let text = format!("resuming `{name}`: {mib} MiB of it are here");
                self.jobs.context().notices.inform(text);
            }
        };
        // This thread begins the job and then reads the record. A command that quarantines the download
        // renames the record and then ends the job. So one of the two threads notices the other.
        let job = |_: &DownloadRequest, cancel: &Stop, progress: &mut dyn FnMut(DownloadEvent)| {
            let record = unfinished::record_of(&self.downloads(), name, content);
            let record = record.ok_or(CommandError::Cancelled)?;
            self.jobs.downloader().resume(&unfinished::request_of(record), content, cancel, progress)
        };
        let may_retry = |error: &DownloadError| self.may_retry(name, content, error);
        let done = self.jobs.run_once(id, self.stop, job, &mut progress, may_retry)?;
        if let Ok(Downloaded { outcome: Outcome::AlreadyHere, .. }) = &done
            && let Ok(left) = Partial::open(&self.downloads(), content)
        {
            // Another download or program has put the content in place: the partial file is of no use.
            let _stays = left.partial.discard();
        }
        Some(done)
    }
}

/// Returns true if and only if the cause of this error can pass without an action of the user.
fn may_succeed_later(error: &DownloadError) -> bool {
    matches!(
        error,
        DownloadError::NotFound(_)
            | DownloadError::AllFailed { .. }
            | DownloadError::NoSpace { .. }
            | DownloadError::Command(_)
    )
}

fn completion_text(done: &Downloaded) -> String {
    let Downloaded { name, key, outcome } = done;
    let from = match outcome {
        Outcome::AlreadyHere => "already here".to_owned(),
        Outcome::Fetched { sources, .. } => {
            let sources: Vec<_> = sources.iter().map(ToString::to_string).collect();
            format!("from {}", sources.join(", "))
        }
    };
    format!("resumed `{name}`: {} bytes b3 {} {from}", key.size_bytes, key.id)
}
