//! The downloads of a node as jobs: who asked for each, how far it is, and what may be done to it. Every
//! download is one.
//!
//! A job runs on the thread of whoever waits for it, on that which goes on with what a former run has left,
//! or on one of the threads `download-1`, `download-2` if nobody waits. `board.rs` keeps the states; here
//! they meet threads and watchers. Watchers are called on the thread of the job, or of whoever asks something
//! of it: they must not wait.

pub(super) mod resume;
mod table;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, bounded, select};
use parking_lot::{Mutex, RwLock};
use thiserror::Error;

use self::table::{JobTable, Next};
use super::api::{CommandError, DownloadError, DownloadRequest, Downloaded, Outcome};
use super::context::Context;
use super::download::Downloader;
use super::stats::NodeStats;
use crate::logic::progress::DownloadProgress;
use crate::proto::event::DownloadEvent;
use crate::rt::{Pool, Stop, Threads, clock};
use crate::types::{FileName, limits};

/// One download of a node, for as long as the node runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(pub u64);

impl std::fmt::Display for JobId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Why there is a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobSource {
    /// Somebody waits for it.
    Asked,
    /// Somebody has asked for it and does not wait.
    Background,
    /// A former run of the node has left it unfinished.
    Unasked,
}

/// How a job stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobState {
    /// It will run.
    Queued,
    Running,
    /// It runs when it is resumed. What was fetched is kept.
    Paused,
    Done(Downloaded),
    Failed(DownloadError),
    /// What was fetched is kept for the next download of the content.
    Cancelled,
}

impl JobState {
    /// Returns true if and only if nothing more comes of it.
    pub fn has_ended(&self) -> bool {
        matches!(self, JobState::Done(_) | JobState::Failed(_) | JobState::Cancelled)
    }

    /// One stable word.
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

/// A job as it stands now.
#[derive(Debug, Clone)]
pub struct Job {
    pub id: JobId,
    pub request: DownloadRequest,
    pub origin: JobSource,
    pub state: JobState,
    /// Of its last run.
    pub figures: DownloadProgress,
}

/// Why something cannot be done to a job.
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

/// News of a job.
#[derive(Debug, Clone, Copy)]
pub struct JobEvent<'a> {
    pub id: JobId,
    pub request: &'a DownloadRequest,
    pub origin: JobSource,
    pub what: What<'a>,
}

/// What the news is.
#[derive(Debug, Clone, Copy)]
pub enum What<'a> {
    /// It stands so now.
    State(&'a JobState),
    Progress(&'a DownloadEvent),
}

type Watcher = Arc<dyn Fn(&JobEvent<'_>) + Send + Sync>;

/// Ends its watcher when dropped.
pub struct Watching {
    jobs: std::sync::Weak<Shared>,
    number: u64,
}

impl std::fmt::Debug for Watching {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Watching({})", self.number)
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        if let Some(jobs) = self.jobs.upgrade() {
            jobs.watchers.write().retain(|(number, _)| *number != self.number);
        }
    }
}

/// The jobs of one node. Cheap to clone.
#[derive(Clone)]
pub(super) struct Jobs {
    shared: Arc<Shared>,
    /// Runs those that nobody waits for.
    pool: Pool,
    commands: Stop,
}

struct Shared {
    downloader: Arc<Downloader>,
    stats: Arc<Mutex<NodeStats>>,
    board: Mutex<JobTable>,
    /// Who waits, on its own thread, for a paused job to go on.
    paused: Mutex<HashMap<JobId, Sender<()>>>,
    watchers: RwLock<Vec<(u64, Watcher)>>,
}

impl std::fmt::Debug for Jobs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Jobs")
    }
}

impl Jobs {
    /// Starts the threads for those that nobody waits for; they end with `commands`. Downloads that end well
    /// are counted in `stats`.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(super) fn start(
        downloader: Arc<Downloader>,
        stats: Arc<Mutex<NodeStats>>,
        threads: &Threads,
        commands: &Stop,
    ) -> std::io::Result<Jobs> {
        let at_once = limits::DOWNLOADS_AT_ONCE;
        let pool = Pool::start("download", at_once, 2 * limits::JOBS_MAX, threads, commands)?;
        let shared = Shared {
            downloader,
            stats,
            board: Mutex::default(),
            paused: Mutex::default(),
            watchers: RwLock::default(),
        };
        Ok(Jobs { shared: Arc::new(shared), pool, commands: commands.clone() })
    }

    pub(super) fn context(&self) -> &Arc<Context> {
        self.shared.downloader.context()
    }

    pub(super) fn downloader(&self) -> &Arc<Downloader> {
        &self.shared.downloader
    }

    /// Has `watcher` told of every job until what is returned is dropped.
    pub(super) fn watch(&self, watcher: impl Fn(&JobEvent<'_>) + Send + Sync + 'static) -> Watching {
        let mut watchers = self.shared.watchers.write();
        let number = watchers.last().map_or(0, |(number, _)| number + 1);
        watchers.push((number, Arc::new(watcher)));
        Watching { jobs: Arc::downgrade(&self.shared), number }
    }

    /// All, the oldest first; of those that have ended the last [`limits::JOBS_ENDED_MAX`].
    pub(super) fn all(&self) -> Vec<Job> {
        self.shared.board.lock().all()
    }

    /// Bytes that all downloads have fetched.
    pub(super) fn fetched_bytes(&self) -> u64 {
        self.shared.board.lock().fetched_bytes()
    }

    pub(super) fn pause(&self, id: JobId) -> Result<(), JobError> {
        let next = self.shared.board.lock().pause(id)?;
        self.end_run(id, next);
        Ok(())
    }

    pub(super) fn cancel(&self, id: JobId) -> Result<(), JobError> {
        let next = self.shared.board.lock().cancel(id)?;
        self.end_run(id, next);
        Ok(())
    }

    fn end_run(&self, id: JobId, next: Next) {
        if let Next::Stop(stop) = next {
            // Its thread tells the rest.
            return stop.trigger();
        }
        if let Some(job) = self.shared.job(id) {
            // A restarted node is not to go on with it.
            resume::set_aside_records(self.context(), &job.request.name);
        }
        self.shared.tell_state(id);
        // Who waits for a paused job learns that it was cancelled.
        self.shared.wake(id);
    }

    pub(super) fn resume(&self, id: JobId) -> Result<(), JobError> {
        let next = self.shared.board.lock().resume(id)?;
        match next {
            Next::Run(JobSource::Asked) => {
                self.shared.tell_state(id);
                self.shared.wake(id);
                Ok(())
            }
            Next::Run(JobSource::Background | JobSource::Unasked) => {
                self.queue(id);
                Ok(())
            }
            Next::Nothing | Next::Stop(_) => Ok(()),
        }
    }

    /// Ends what goes on by itself with `name`.
    pub(super) fn cancel_unasked(&self, name: &FileName) {
        let unasked = self.shared.board.lock().unasked(name);
        for id in unasked {
            let _has_ended_meanwhile = self.cancel(id);
        }
    }

    /// Puts a download on the board and runs it as soon as there is a thread.
    ///
    /// # Errors
    /// [`JobError::TooMany`].
    pub(super) fn start_download(&self, request: DownloadRequest) -> Result<JobId, JobError> {
        let id = self.shared.board.lock().add(request, JobSource::Background)?;
        self.queue(id);
        Ok(id)
    }

    /// Has a thread run one more of those that nobody waits for. There are at least as many such orders in
    /// the queue as jobs that it is for: a full queue has more than there may be jobs, and those that find
    /// none do nothing.
    fn queue(&self, id: JobId) {
        self.shared.tell_state(id);
        self.run_next_on_pool();
    }

    fn run_next_on_pool(&self) {
        let jobs = self.clone();
        let _enough_are_there = self.pool.try_run(move || jobs.run_next());
    }

    /// Runs the oldest job that nobody waits for, if there is one.
    fn run_next(&self) {
        let commands = &self.commands;
        let Ok(stop) = commands.child() else {
            // Out of descriptors: those that end give theirs back.
            let patience = limits::ms(limits::RECONNECT_JITTER_MS);
            if !commands.wait_until(clock::now() + patience) {
                self.run_next_on_pool();
            }
            return;
        };
        let Some((id, request)) = self.shared.board.lock().begin_next(&stop) else { return };
        let job = |request: &DownloadRequest, stop: &Stop, progress: &mut dyn FnMut(DownloadEvent)| {
            self.shared.downloader.download(request, stop, progress)
        };
        let run = Run { id, request, stop, cancel: commands };
        // What came of it stands on the board.
        let _told = self.run_begun(run, job, &mut |_| {}, |_| false);
    }

    /// Runs a download on this thread to its end, pauses included.
    ///
    /// # Errors
    /// [`DownloadError`].
    pub(super) fn run(
        &self,
        request: &DownloadRequest,
        cancel: &Stop,
        progress: &mut dyn FnMut(DownloadEvent),
    ) -> Result<Downloaded, DownloadError> {
        let id = self.add(request.clone(), JobSource::Asked)?;
        let (wake, woken) = bounded(1);
        self.shared.paused.lock().insert(id, wake);
        let _forgotten = Forget { shared: &self.shared, id };
        loop {
            let job = |request: &DownloadRequest, stop: &Stop, progress: &mut dyn FnMut(DownloadEvent)| {
                self.shared.downloader.download(request, stop, progress)
            };
            match self.run_once(id, cancel, job, progress, |_| false) {
                Some(result) => return result,
                None => self.wait_until_resumed(id, &woken, cancel)?,
            }
        }
    }

    fn wait_until_resumed(
        &self,
        id: JobId,
        woken: &Receiver<()>,
        cancel: &Stop,
    ) -> Result<(), DownloadError> {
        loop {
            match self.shared.job(id).map(|job| job.state) {
                Some(JobState::Paused) => {}
                Some(JobState::Queued) => return Ok(()),
                _ => return Err(CommandError::Cancelled.into()),
            }
            select! {
                recv(woken) -> _ => {}
                recv(cancel.receiver()) -> _ => {
                    let _ended = self.shared.board.lock().cancel(id);
                    self.shared.tell_state(id);
                    return Err(CommandError::Cancelled.into());
                }
            }
        }
    }

    /// Puts a download on the board that runs on its caller's thread.
    pub(super) fn add(&self, request: DownloadRequest, origin: JobSource) -> Result<JobId, CommandError> {
        let added = self.shared.board.lock().add(request, origin);
        added.map_err(|error| CommandError::System(error.to_string()))
    }

    /// Runs `job` once, on this thread, until it ends or is stopped. `None`: it was paused, or is not to be
    /// run. A failure that `again` says will be tried again leaves it queued.
    pub(super) fn run_once(
        &self,
        id: JobId,
        cancel: &Stop,
        job: impl FnOnce(
            &DownloadRequest,
            &Stop,
            &mut dyn FnMut(DownloadEvent),
        ) -> Result<Downloaded, DownloadError>,
        progress: &mut dyn FnMut(DownloadEvent),
        again: impl FnOnce(&DownloadError) -> bool,
    ) -> Option<Result<Downloaded, DownloadError>> {
        let stop = match cancel.child() {
            Ok(stop) => stop,
            Err(error) => {
                let failed = Err(CommandError::System(error.to_string()).into());
                self.shared.board.lock().end(id, &failed, false);
                self.shared.tell_state(id);
                return Some(failed);
            }
        };
        let request = self.shared.board.lock().begin(id, &stop)?;
        self.run_begun(Run { id, request, stop, cancel }, job, progress, again)
    }

    fn run_begun(
        &self,
        run: Run<'_>,
        job: impl FnOnce(
            &DownloadRequest,
            &Stop,
            &mut dyn FnMut(DownloadEvent),
        ) -> Result<Downloaded, DownloadError>,
        progress: &mut dyn FnMut(DownloadEvent),
        again: impl FnOnce(&DownloadError) -> bool,
    ) -> Option<Result<Downloaded, DownloadError>> {
        let (shared, Run { id, request, stop, cancel }) = (&self.shared, run);
        shared.tell_state(id);
        let origin = shared.job(id).map_or(JobSource::Asked, |job| job.origin);
        let began = clock::now();
        let result = job(&request, &stop, &mut |event| {
            shared.board.lock().apply(id, &event, clock::now());
            shared.tell(&JobEvent { id, request: &request, origin, what: What::Progress(&event) });
            progress(event);
        });
        if let Ok(Downloaded { key, outcome: Outcome::Fetched { .. }, .. }) = &result {
            let took = clock::now().saturating_duration_since(began);
            shared.stats.lock().downloaded(key.size_bytes, took);
        }
        let is_wished = stop.is_triggered() && !cancel.is_triggered();
        let again = result.as_ref().is_err_and(again);
        let state = shared.board.lock().end(id, &result, again);
        if is_wished && matches!(state, JobState::Paused | JobState::Cancelled) {
            // The download may have written its record again since this was wished.
            resume::set_aside_records(self.context(), &request.name);
        }
        shared.tell(&JobEvent { id, request: &request, origin, what: What::State(&state) });
        (state != JobState::Paused).then_some(result)
    }
}

/// A run that has begun.
struct Run<'a> {
    id: JobId,
    request: DownloadRequest,
    /// Ends this run.
    stop: Stop,
    /// Ends it and all others.
    cancel: &'a Stop,
}

impl Shared {
    fn job(&self, id: JobId) -> Option<Job> {
        self.board.lock().get(id).cloned()
    }

    fn wake(&self, id: JobId) {
        if let Some(wake) = self.paused.lock().get(&id) {
            let _is_awake_already = wake.try_send(());
        }
    }

    fn tell_state(&self, id: JobId) {
        if let Some(Job { request, origin, state, .. }) = self.job(id) {
            self.tell(&JobEvent { id, request: &request, origin, what: What::State(&state) });
        }
    }

    fn tell(&self, news: &JobEvent<'_>) {
        // Called without the lock: a watcher may look at the board, or end its watch.
        let watchers: Vec<Watcher> =
            self.watchers.read().iter().map(|(_, watcher)| Arc::clone(watcher)).collect();
        for watcher in watchers {
            watcher(news);
        }
    }
}

/// Takes a waiter off the list when it waits no more.
struct Forget<'a> {
    shared: &'a Shared,
    id: JobId,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.shared.paused.lock().remove(&self.id);
    }
}
