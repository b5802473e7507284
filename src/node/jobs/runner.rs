//! Runs jobs on threads and calls the watchers of jobs.
//!
//! A job runs on the thread of its caller, on the thread `resume`, or, if no caller waits for it, on one of
//! the threads `download-1` and `download-2`. Watchers are called on the thread of the job or of a command
//! about it.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use crossbeam_channel::{Receiver, Sender, bounded, select};
use parking_lot::{Mutex, RwLock};

use super::job::{DownloadResult, Job, JobChange, JobError, JobEvent, JobId, JobSource, JobState};
use super::table::{JobTable, Next};
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

/// Registration of a watcher, which is called no more once this is dropped.
pub struct Watching {
    shared: Weak<Shared>,
    number: u64,
}

impl std::fmt::Debug for Watching {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Watching({})", self.number)
    }
}

impl Drop for Watching {
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
    commands: Stop,
}

struct Shared {
    downloader: Arc<Downloader>,
    stats: Arc<Mutex<NodeStats>>,
    table: Mutex<JobTable>,
    /// Wakes the caller of a foreground job that is paused.
    paused: Mutex<HashMap<JobId, Sender<()>>>,
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
        let pool = Pool::start("download", at_once, 2 * limits::JOBS_MAX, threads, commands)?;
        let shared = Shared {
            downloader,
            stats,
            table: Mutex::default(),
            paused: Mutex::default(),
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

    /// Has `watcher` called with every event of every job until the result is dropped. It must not wait.
    pub(crate) fn watch(&self, watcher: impl Fn(&JobEvent<'_>) + Send + Sync + 'static) -> Watching {
        let mut watchers = self.shared.watchers.write();
        let number = watchers.last().map_or(0, |(number, _)| number + 1);
        watchers.push((number, Arc::new(watcher)));
        Watching { shared: Arc::downgrade(&self.shared), number }
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
        self.end_run(id, next);
        Ok(())
    }

    pub(crate) fn cancel(&self, id: JobId) -> Result<(), JobError> {
        let next = self.shared.table.lock().cancel(id)?;
        self.end_run(id, next);
        Ok(())
    }

    fn end_run(&self, id: JobId, next: Next) {
        if let Next::Stop(stop) = next {
            // The thread of the run publishes the new state.
            return stop.trigger();
        }
        if let Some(job) = self.shared.job(id) {
            self.set_aside_records(&job.request.name);
        }
        self.shared.publish_state(id);
        // The caller of a paused job returns when the job was cancelled.
        self.shared.wake(id);
    }

    pub(crate) fn resume(&self, id: JobId) -> Result<(), JobError> {
        let next = self.shared.table.lock().resume(id)?;
        match next {
            Next::Run(JobSource::Foreground) => {
                self.shared.publish_state(id);
                self.shared.wake(id);
            }
            Next::Run(JobSource::Background | JobSource::Resumed) => self.queue(id),
            Next::Nothing | Next::Stop(_) => {}
        }
        Ok(())
    }

    /// Ends the resumed jobs of `name`, and marks its unfinished downloads, so that a restarted node does not
    /// resume them.
    pub(crate) fn set_aside(&self, name: &FileName) {
        self.set_aside_records(name);
        let resumed = self.shared.table.lock().resumed(name);
        for id in resumed {
            let _has_ended_meanwhile = self.cancel(id);
        }
    }

    fn set_aside_records(&self, name: &FileName) {
        self.shared.set_aside_records(name);
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

    /// Has a thread of the pool run one more background job. The pool's queue is longer than the table of
    /// jobs: when it is full, it has a run for every job. A run that finds no job does nothing.
    fn queue_run(&self) {
        let jobs = self.clone();
        let _enough_are_queued = self.pool.try_run(move || jobs.run_next());
    }

    /// Runs the oldest background job, if there is one.
    fn run_next(&self) {
        let commands = &self.commands;
        let Ok(stop) = commands.child() else {
            // Out of descriptors: other downloads give theirs back when they end.
            if !commands.wait_until(clock::now() + limits::ms(limits::RECONNECT_JITTER_MS)) {
                self.queue_run();
            }
            return;
        };
        let Some((id, request)) = self.shared.table.lock().begin_next(&stop) else { return };
        let run = Run { id, request, stop, cancel: commands };
        // The result is in the table.
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
        self.shared.paused.lock().insert(id, wake);
        let _registration = PausedCaller { shared: &self.shared, id };
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
                _ => return Err(CommandError::Cancelled.into()),
            }
            select! {
                recv(woken) -> _ => {}
                recv(cancel.receiver()) -> _ => {
                    let _ended = self.shared.table.lock().cancel(id);
                    self.shared.publish_state(id);
                    return Err(CommandError::Cancelled.into());
                }
            }
        }
    }

    /// Adds a job that runs on the thread of its caller.
    pub(super) fn add(&self, request: DownloadRequest, source: JobSource) -> Result<JobId, CommandError> {
        let added = self.shared.table.lock().add(request, source);
        added.map_err(|_| CommandError::Bug("a job that runs on the thread of its caller was refused"))
    }

    /// Runs `job` once, on this thread, until it ends or is stopped. `None`: it was paused, or it must not
    /// run. After a failure for which `again` returns true the job is queued again.
    pub(super) fn run_once(
        &self,
        id: JobId,
        cancel: &Stop,
        job: impl FnOnce(&DownloadRequest, &Stop, &mut dyn FnMut(DownloadEvent)) -> DownloadResult,
        progress: &mut dyn FnMut(DownloadEvent),
        again: impl FnOnce(&DownloadError) -> bool,
    ) -> Option<DownloadResult> {
        let stop = match cancel.child() {
            Ok(stop) => stop,
            Err(error) => {
                let failed = Err(CommandError::System(error.to_string()).into());
                self.shared.table.lock().end(id, &failed, false);
                self.shared.publish_state(id);
                return Some(failed);
            }
        };
        let request = self.shared.table.lock().begin(id, &stop)?;
        self.shared.run(Run { id, request, stop, cancel }, job, progress, again)
    }
}

/// A run that has begun.
struct Run<'a> {
    id: JobId,
    request: DownloadRequest,
    /// Ends this run.
    stop: Stop,
    /// Ends this run and all others.
    cancel: &'a Stop,
}

impl Shared {
    /// See [`Jobs::run_once`].
    fn run(
        &self,
        run: Run<'_>,
        job: impl FnOnce(&DownloadRequest, &Stop, &mut dyn FnMut(DownloadEvent)) -> DownloadResult,
        progress: &mut dyn FnMut(DownloadEvent),
        again: impl FnOnce(&DownloadError) -> bool,
    ) -> Option<DownloadResult> {
        let Run { id, request, stop, cancel } = run;
        self.publish_state(id);
        let source = self.job(id).map_or(JobSource::Foreground, |job| job.source);
        let started_at = clock::now();
        let result = job(&request, &stop, &mut |event| {
            self.table.lock().apply(id, &event, clock::now());
            self.publish(&JobEvent { id, request: &request, source, change: JobChange::Progress(&event) });
            progress(event);
        });
        if let Ok(Downloaded { key, outcome: Outcome::Fetched { .. }, .. }) = &result {
            let elapsed = clock::now().saturating_duration_since(started_at);
            self.stats.lock().record_download(key.size_bytes, elapsed);
        }
        let by_command = stop.is_triggered() && !cancel.is_triggered();
        let again = result.as_ref().is_err_and(again);
        let state = self.table.lock().end(id, &result, again);
        if by_command && matches!(state, JobState::Paused | JobState::Cancelled) {
            // The download may have written its record again since the command.
            self.set_aside_records(&request.name);
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

    fn set_aside_records(&self, name: &FileName) {
        if let Some(downloads) = self.downloader.downloads_folder() {
            unfinished::set_aside(&downloads, name);
        }
    }

    fn wake(&self, id: JobId) {
        if let Some(wake) = self.paused.lock().get(&id) {
            let _is_awake_already = wake.try_send(());
        }
    }

    fn publish_state(&self, id: JobId) {
        if let Some(Job { request, source, state, result, .. }) = self.job(id) {
            let change = result.as_ref().map_or(JobChange::State(state), JobChange::Ended);
            self.publish(&JobEvent { id, request: &request, source, change });
        }
    }

    fn publish(&self, event: &JobEvent<'_>) {
        // Without the lock: a watcher may list the jobs, or end its registration.
        let watchers: Vec<Watcher> =
            self.watchers.read().iter().map(|(_, watcher)| Arc::clone(watcher)).collect();
        for watcher in watchers {
            watcher(event);
        }
    }
}

/// Registration of the caller of a foreground job, which ends when this is dropped.
struct PausedCaller<'a> {
    shared: &'a Shared,
    id: JobId,
}

impl Drop for PausedCaller<'_> {
    fn drop(&mut self) {
        self.shared.paused.lock().remove(&self.id);
    }
}
