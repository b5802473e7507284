//! The jobs of a node as a session waits for them. It remembers which of its own background downloads have
//! not ended, and why one has failed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::{Receiver, bounded, select};
use parking_lot::Mutex;

use crate::node::{DownloadRequest, Job, JobChange, JobError, JobId, JobState, Node, WatcherGuard};
use crate::proto::event::ErrorCode;
use crate::rt::Stop;

/// Why a wait for downloads has no result.
#[derive(Debug)]
pub(crate) enum WaitError {
    /// The job cannot be waited for.
    Job(JobError),
    /// These downloads are paused and do not end by themselves.
    Paused(Vec<JobId>),
    /// The user has cancelled the wait. The downloads continue.
    Cancelled,
}

/// Waits for jobs, and knows the background downloads that its session has started.
#[derive(Debug)]
pub(crate) struct SessionJobs {
    state: Arc<Mutex<State>>,
    /// Wakes a wait when the state of any job has changed.
    changes: Receiver<()>,
    /// The node reports the changes of jobs while the session holds this.
    _watch_of_jobs: WatcherGuard,
}

#[derive(Debug, Default)]
struct State {
    unfinished: BTreeSet<JobId>,
    /// The last failure since the last wait.
    failure: Option<ErrorCode>,
    /// A download starts now. It can end before its number is known here.
    is_starting: bool,
    /// The ends of background downloads during the start.
    ended_during_start: Vec<(JobId, Option<ErrorCode>)>,
}

impl State {
    fn record_end(&mut self, id: JobId, failure: Option<ErrorCode>) {
        if self.unfinished.remove(&id) {
            self.failure = failure.or(self.failure);
        } else if self.is_starting {
            self.ended_during_start.push((id, failure));
        }
    }
}

impl SessionJobs {
    pub(crate) fn watch(node: &Node) -> SessionJobs {
        let (change, changes) = bounded(1);
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        let watcher = node.watch(move |event| {
            match event.change {
                JobChange::Progress(_) => return,
                JobChange::State(JobState::Cancelled) => shared.lock().record_end(event.id, None),
                JobChange::State(_) => {}
                JobChange::Ended(result) => {
                    shared.lock().record_end(event.id, result.as_ref().err().map(ErrorCode::from));
                }
            }
            // One signal that waits is enough: the receiver reads the states themselves.
            change.try_send(()).ok();
        });
        SessionJobs { state, changes, _watch_of_jobs: watcher }
    }

    /// Starts a background download. If the node has its maximum number of unfinished ones, waits until one
    /// of them ends.
    ///
    /// # Errors
    /// [`WaitError::Cancelled`]; `TooMany` if all of them are paused, so that none ends by itself.
    pub(crate) fn start(
        &self,
        node: &Node,
        request: &DownloadRequest,
        cancel: &Stop,
    ) -> Result<JobId, WaitError> {
        loop {
            self.state.lock().is_starting = true;
            let started = node.start_download(request.clone());
            let mut state = self.state.lock();
            state.is_starting = false;
            let ended = std::mem::take(&mut state.ended_during_start);
            match started {
                Ok(id) => {
                    state.unfinished.insert(id);
                    ended.into_iter().for_each(|(id, failure)| state.record_end(id, failure));
                    return Ok(id);
                }
                Err(JobError::TooMany { .. }) if node.jobs().iter().any(is_active) => {
                    drop(state);
                    self.wait_for_change(cancel)?;
                }
                Err(error) => return Err(WaitError::Job(error)),
            }
        }
    }

    /// Number of the downloads of this session that have not ended.
    pub(crate) fn unfinished(&self) -> usize {
        self.state.lock().unfinished.len()
    }

    /// Waits until all downloads of this session have ended. Returns why the last one that failed since the
    /// last wait has failed.
    ///
    /// # Errors
    /// [`WaitError`].
    pub(crate) fn wait_for_all(&self, node: &Node, cancel: &Stop) -> Result<Option<ErrorCode>, WaitError> {
        loop {
            let unfinished = self.state.lock().unfinished.clone();
            if unfinished.is_empty() {
                return Ok(self.state.lock().failure.take());
            }
            let is_paused = |job: &Job| job.state == JobState::Paused && unfinished.contains(&job.id);
            let paused: Vec<_> = node.jobs().into_iter().filter(is_paused).map(|job| job.id).collect();
            if paused.len() == unfinished.len() {
                return Err(WaitError::Paused(paused));
            }
            self.wait_for_change(cancel)?;
        }
    }

    /// Waits until the download `id`, of any source, has ended. Returns why it has failed.
    ///
    /// # Errors
    /// [`WaitError`].
    pub(crate) fn wait_for(
        &self,
        node: &Node,
        id: JobId,
        cancel: &Stop,
    ) -> Result<Option<ErrorCode>, WaitError> {
        loop {
            let job = node.jobs().into_iter().find(|job| job.id == id);
            let job = job.ok_or(WaitError::Job(JobError::NoSuch(id)))?;
            match (job.state, job.result) {
                (JobState::Paused, _) => return Err(WaitError::Paused(vec![id])),
                (JobState::Queued | JobState::Running, _) => self.wait_for_change(cancel)?,
                (JobState::Cancelled, _) => return Ok(Some(ErrorCode::Interrupted)),
                (JobState::Done | JobState::Failed, result) => {
                    return Ok(result.and_then(|result| result.err().as_ref().map(ErrorCode::from)));
                }
            }
        }
    }

    /// Waits until the run of the job `id` has stopped, at most until `deadline`.
    pub(crate) fn wait_until_stopped(&self, node: &Node, id: JobId, deadline: Instant) {
        let is_running = || node.jobs().iter().any(|job| job.id == id && job.state == JobState::Running);
        while is_running() && self.changes.recv_deadline(deadline).is_ok() {}
    }

    fn wait_for_change(&self, cancel: &Stop) -> Result<(), WaitError> {
        select! {
            recv(self.changes) -> _ => Ok(()),
            recv(cancel.receiver()) -> _ => Err(WaitError::Cancelled),
        }
    }
}

/// Returns true if and only if the job ends by itself: it runs, or it runs later.
fn is_active(job: &Job) -> bool {
    matches!(job.state, JobState::Queued | JobState::Running)
}
