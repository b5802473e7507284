//! Runs jobs and calls their watchers.
//!
//! A job runs on the thread of its caller, on the thread `resume`, or, if no caller waits for it, on one of
//! the pool's threads `download-1`, `download-2` and so on. Watchers are called on the thread that runs the
//! job or executes a command about it.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use crossbeam_channel::{Receiver, Sender, bounded, select};
use parking_lot::{Mutex, RwLock};

use super::job::{DownloadResult, Job, JobChange, JobError, JobEvent, JobId, JobSource, JobState};
use super::table::{JobTable, NextStep};
use super::unfinished;
use crate::node::context::Context;
use crate::node::download::Downloader;
use crate::node::error::{CommandError, DownloadError};
use crate::node::report::{DownloadRequest, Downloaded, Outcome};
use crate::node::stats::NodeStats;
use crate::proto::event::DownloadEvent;
use crate::rt::{Pool, Stop, Threads, clock};
use crate::types::{FileName, limits};

type Watcher = Arc<dyn Fn(&JobEvent<'_>) + Send + Sync>;

/// Registration of a watcher. When it is dropped, the watcher gets no further events.
pub struct WatcherGuard {
    shared: Weak<Shared>,
    number: u64,
}

impl std::fmt::Debug for WatcherGuard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "WatcherGuard({})", self.number)
    }
}

impl Drop for WatcherGuard {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.upgrade() {
            shared.watchers.write().retain(|(number, _)| *number != self.number);
        }
    }
}

/// The jobs of one node. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Jobs {
    shared: Arc<Shared>,
    /// Runs the jobs that no caller waits for.
    pool: Pool,
    /// Ends the jobs of the pool.
    commands: Stop,
}

struct Shared {
    downloader: Arc<Downloader>,
    stats: Arc<Mutex<NodeStats>>,
    table: Mutex<JobTable>,
    /// One for each foreground job: wakes its caller, which waits while the job is paused.
    callers: Mutex<HashMap<JobId, Sender<()>>>,
    watchers: RwLock<Vec<(u64, Watcher)>>,
}

impl std::fmt::Debug for Jobs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Jobs")
    }
}

impl Jobs {
    /// Starts the threads of background jobs, which end with `commands`. Each download that succeeds is
    /// recorded in `stats`.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(crate) fn start(
        downloader: Arc<Downloader>,
        stats: Arc<Mutex<NodeStats>>,
        threads: &Threads,
        commands: &Stop,
    ) -> std::io::Result<Jobs> {
        let at_once = limits::DOWNLOADS_AT_ONCE;
        // Longer than the table of jobs, so that a full queue has a run for every job: see `queue_run`.
        let queue_max = 2 * limits::JOBS_MAX;
        let pool = Pool::start("download", at_once, queue_max, threads, commands)?;
        let shared = Shared {
            downloader,
            stats,
            table: Mutex::default(),
            callers: Mutex::default(),
            watchers: RwLock::default(),
        };
        Ok(Jobs { shared: Arc::new(shared), pool, commands: commands.clone() })
    }

    pub(crate) fn context(&self) -> &Arc<Context> {
        self.shared.downloader.context()
    }

    pub(crate) fn downloader(&self) -> &Downloader {
        &self.shared.downloader
    }

    /// Calls `watcher` with every event of every job until the result is dropped. `watcher` must not wait.
    pub(crate) fn watch(&self, watcher: impl Fn(&JobEvent<'_>) + Send + Sync + 'static) -> WatcherGuard {
        let mut watchers = self.shared.watchers.write();
        let number = watchers.last().map_or(0, |(number, _)| number + 1);
        watchers.push((number, Arc::new(watcher)));
        WatcherGuard { shared: Arc::downgrade(&self.shared), number }
    }

    /// All jobs, oldest first; of the ended ones the last [`limits::JOBS_ENDED_MAX`].
    pub(crate) fn all(&self) -> Vec<Job> {
        self.shared.table.lock().all()
    }

    /// Bytes that all jobs have fetched.
    pub(crate) fn fetched_bytes(&self) -> u64 {
        self.shared.table.lock().fetched_bytes()
    }

    pub(crate) fn pause(&self, id: JobId) -> Result<(), JobError> {
        let next = self.shared.table.lock().pause(id)?;
        self.stop_run(id, next);
        Ok(())
    }

    pub(crate) fn cancel(&self, id: JobId) -> Result<(), JobError> {
        let next = self.shared.table.lock().cancel(id)?;
        self.stop_run(id, next);
        Ok(())
    }

    /// Does what the table requires after a pause or a cancel.
    fn stop_run(&self, id: JobId, next: NextStep) {
        if let NextStep::Stop(stop) = next {
            // The thread of the run publishes the new state.
            return stop.trigger();
        }
        if let Some(job) = self.shared.job(id) {
            self.shared.quarantine(&job.request.name);
        }
        self.shared.publish_state(id);
        // If this was a cancel, the caller of a paused job returns.
        self.shared.wake_caller(id);
    }

    pub(crate) fn resume(&self, id: JobId) -> Result<(), JobError> {
        let next = self.shared.table.lock().resume(id)?;
        match next {
            NextStep::Run(JobSource::Foreground) => {
                self.shared.publish_state(id);
                self.shared.wake_caller(id);
            }
            NextStep::Run(JobSource::Background | JobSource::Resumed) => self.queue(id),
            NextStep::Nothing | NextStep::Stop(_) => {}
        }
        Ok(())
    }

    /// Quarantines the unfinished downloads of `name`, so that a restarted node does not resume them, and
    /// cancels the jobs that resume them now.
    pub(crate) fn quarantine(&self, name: &FileName) {
        // In this order: see `resume.rs`.
        self.shared.quarantine(name);
        let resumed = self.shared.table.lock().resumed_ids(name);
        for id in resumed {
            // An error: the job has ended meanwhile.
            self.cancel(id).ok();
        }
    }

    /// Adds a background job, which runs as soon as a thread is free.
    ///
    /// # Errors
    /// [`JobError::TooMany`].
    pub(crate) fn start_download(&self, request: DownloadRequest) -> Result<JobId, JobError> {
        let id = self.shared.table.lock().add(request, JobSource::Background)?;
        self.queue(id);
        Ok(id)
    }

    fn queue(&self, id: JobId) {
        self.shared.publish_state(id);
        self.queue_run();
    }

    /// Queues one more run of a background job for the pool. A run that finds no job does nothing.
    fn queue_run(&self) {
        let jobs = self.clone();
        // An error: the queue is full, so it has a run for every job; or the node stops.
        self.pool.try_run(move || jobs.run_next()).ok();
    }

    /// Runs the oldest background job, if there is one.
    fn run_next(&self) {
        let commands = &self.commands;
        let Ok(stop) = commands.child() else {
            // No descriptor is left. Other downloads return theirs when they end: try again after a pause.
            if !commands.wait_until(clock::now() + limits::ms(limits::RECONNECT_JITTER_MS)) {
                self.queue_run();
            }
            return;
        };
        let Some((id, request)) = self.shared.table.lock().begin_next(&stop) else { return };
        let run = Run { id, request, stop, cancel: commands };
        // The table has the result, and nobody waits for it.
        let _result = self.shared.run(run, self.download(), &mut |_| {}, |_| false);
    }

    fn download(
        &self,
    ) -> impl FnOnce(&DownloadRequest, &Stop, &mut dyn FnMut(DownloadEvent)) -> DownloadResult {
        let downloader = &self.shared.downloader;
        move |request, stop, progress| downloader.download(request, stop, progress)
    }

    /// Runs a foreground job on this thread to its end, pauses included.
    ///
    /// # Errors
    /// [`DownloadError`].
    pub(crate) fn run(
        &self,
        request: &DownloadRequest,
        cancel: &Stop,
        progress: &mut dyn FnMut(DownloadEvent),
    ) -> DownloadResult {
        let id = self.add(request.clone(), JobSource::Foreground)?;
        let (wake, woken) = bounded(1);
        self.shared.callers.lock().insert(id, wake);
        let _registration = CallerGuard { shared: &self.shared, id };
        loop {
            match self.run_once(id, cancel, self.download(), progress, |_| false) {
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
                // Another thread has cancelled the job.
                _ => return Err(CommandError::Cancelled.into()),
            }
            select! {
                recv(woken) -> _ => {}
                recv(cancel.receiver()) -> _ => {
                    // An error: another thread has cancelled it first.
                    self.shared.table.lock().cancel(id).ok();
                    self.shared.publish_state(id);
                    return Err(CommandError::Cancelled.into());
                }
            }
        }
    }

    /// Adds a job that runs on the thread of its caller. The table limits only background jobs.
    pub(super) fn add(&self, request: DownloadRequest, source: JobSource) -> Result<JobId, CommandError> {
        let added = self.shared.table.lock().add(request, source);
        added.map_err(|_| CommandError::Bug("a job that runs on the thread of its caller was refused"))
    }

    /// Runs the job once, on this thread, until it ends or is stopped. `download` does its work. `None`: the
    /// job was paused, or it must not run. If `may_retry` returns true for its failure, the job is queued
    /// again.
    pub(super) fn run_once(
        &self,
        id: JobId,
        cancel: &Stop,
        download: impl FnOnce(&DownloadRequest, &Stop, &mut dyn FnMut(DownloadEvent)) -> DownloadResult,
        progress: &mut dyn FnMut(DownloadEvent),
        may_retry: impl FnOnce(&DownloadError) -> bool,
    ) -> Option<DownloadResult> {
        let stop = match cancel.child() {
            Ok(stop) => stop,
            Err(error) => {
                let error = DownloadError::from(CommandError::System(error.to_string()));
                let retry = may_retry(&error);
                let failed = Err(error);
                self.shared.table.lock().end(id, &failed, retry);
                self.shared.publish_state(id);
                return Some(failed);
            }
        };
        let request = self.shared.table.lock().begin(id, &stop)?;
        self.shared.run(Run { id, request, stop, cancel }, download, progress, may_retry)
    }
}

/// A run that has begun.
struct Run<'a> {
    id: JobId,
    request: DownloadRequest,
    /// Ends only this run. A pause or a cancel of the job triggers it.
    stop: Stop,
    /// The parent of `stop`: the caller's stop, or the one of all jobs without a caller.
    cancel: &'a Stop,
}

impl Shared {
    /// See [`Jobs::run_once`].
    fn run(
        &self,
        run: Run<'_>,
        download: impl FnOnce(&DownloadRequest, &Stop, &mut dyn FnMut(DownloadEvent)) -> DownloadResult,
        progress: &mut dyn FnMut(DownloadEvent),
        may_retry: impl FnOnce(&DownloadError) -> bool,
    ) -> Option<DownloadResult> {
        let Run { id, request, stop, cancel } = run;
        self.publish_state(id);
        let source = self.job(id).map_or(JobSource::Foreground, |job| job.source);
        let started_at = clock::now();
        let result = download(&request, &stop, &mut |event| {
            self.table.lock().apply(id, &event, clock::now());
            self.publish(&JobEvent { id, request: &request, source, change: JobChange::Progress(&event) });
            progress(event);
        });
        if let Ok(Downloaded { key, outcome: Outcome::Fetched { .. }, .. }) = &result {
            let elapsed = clock::now().saturating_duration_since(started_at);
            self.stats.lock().record_download(key.size_bytes, elapsed);
        }
        let by_command = stop.is_triggered() && !cancel.is_triggered();
        let retry = result.as_ref().is_err_and(may_retry);
        let state = self.table.lock().end(id, &result, retry);
        if by_command && matches!(state, JobState::Paused | JobState::Cancelled) {
            // The user does not want the rest after a restart. A run that ends otherwise stays resumable.
            self.quarantine(&request.name);
        }
        let change = match state {
            JobState::Done | JobState::Failed => JobChange::Ended(&result),
            _ => JobChange::State(state),
        };
        self.publish(&JobEvent { id, request: &request, source, change });
        (state != JobState::Paused).then_some(result)
    }

    fn job(&self, id: JobId) -> Option<Job> {
        self.table.lock().get(id).cloned()
    }

    fn quarantine(&self, name: &FileName) {
        if let Some(downloads) = self.downloader.downloads_folder() {
            unfinished::quarantine(&downloads, name);
        }
    }

    fn wake_caller(&self, id: JobId) {
        if let Some(wake) = self.callers.lock().get(&id) {
            // A full channel: the caller is being woken already.
            wake.try_send(()).ok();
        }
    }

    fn publish_state(&self, id: JobId) {
        if let Some(Job { request, source, state, result, .. }) = self.job(id) {
            let change = result.as_ref().map_or(JobChange::State(state), JobChange::Ended);
            self.publish(&JobEvent { id, request: &request, source, change });
        }
    }

    fn publish(&self, event: &JobEvent<'_>) {
        // The lock is released before the calls: a watcher may end its registration.
        let watchers: Vec<Watcher> =
            self.watchers.read().iter().map(|(_, watcher)| Arc::clone(watcher)).collect();
        for watcher in watchers {
            watcher(event);
        }
    }
}

/// Registration of the caller of a foreground job in `callers`. Ends when dropped.
struct CallerGuard<'a> {
    shared: &'a Shared,
    id: JobId,
}

impl Drop for CallerGuard<'_> {
    fn drop(&mut self) {
        self.shared.callers.lock().remove(&self.id);
    }
}
