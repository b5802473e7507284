//! The table of all jobs, their states, and the transitions between the states. It runs nothing.
//!
//! Invariant: a job ends in exactly one of `Done`, `Failed` and `Cancelled`, and an ended job never runs
//! again. The last [`limits::JOBS_ENDED_MAX`] ended jobs stay in the table, so that a user can list them.

use std::collections::BTreeMap;

use super::job::{DownloadResult, Job, JobError, JobId, JobSource, JobState};
use crate::logic::progress::DownloadProgress;
use crate::node::error::{CommandError, DownloadError};
use crate::node::report::DownloadRequest;
use crate::proto::event::DownloadEvent;
use crate::rt::Stop;
use crate::types::{FileName, limits};

/// A command to a running job, which takes effect when the run ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum JobCommand {
    Pause,
    Cancel,
}

/// What the caller must do after a command.
#[derive(Debug)]
pub(super) enum NextStep {
    /// The job has the right state already.
    Nothing,
    /// Trigger this stop. The thread of the run then publishes how the run ended.
    Stop(Stop),
    /// Run the job again, on a thread for jobs of this source.
    Run(JobSource),
}

#[derive(Debug, Default)]
pub(super) struct JobTable {
    jobs: BTreeMap<JobId, Entry>,
    last_id: u64,
    /// Bytes that all runs together have fetched.
    fetched_bytes: u64,
}

#[derive(Debug)]
struct Entry {
    job: Job,
    /// A command that takes effect when the current run ends.
    command: Option<JobCommand>,
    /// Ends the current run.
    stop: Option<Stop>,
}

impl JobTable {
    /// Adds a queued job.
    ///
    /// # Errors
    /// [`JobError::TooMany`], for background jobs only: the number of the others is limited by the number of
    /// their callers.
    pub(super) fn add(&mut self, request: DownloadRequest, source: JobSource) -> Result<JobId, JobError> {
        let unfinished = self.jobs.values().filter(|entry| !entry.job.state.has_ended()).count();
        if unfinished >= limits::JOBS_MAX && source == JobSource::Background {
            return Err(JobError::TooMany { max: limits::JOBS_MAX });
        }
        let ended: Vec<_> = self.ended_ids().collect();
        // The new job will be the next to end: it gets the place of the oldest ended one.
        for id in ended.iter().take((ended.len() + 1).saturating_sub(limits::JOBS_ENDED_MAX)) {
            self.jobs.remove(id);
        }
        self.last_id += 1;
        let id = JobId(self.last_id);
        let (state, progress) = (JobState::Queued, DownloadProgress::default());
        let job = Job { id, request, source, state, result: None, progress };
        self.jobs.insert(id, Entry { job, command: None, stop: None });
        Ok(id)
    }

    fn ended_ids(&self) -> impl Iterator<Item = JobId> + '_ {
        self.jobs.iter().filter(|(_, entry)| entry.job.state.has_ended()).map(|(id, _)| *id)
    }

    /// Begins a run, which `stop` ends. `None`: the job is not queued any more and must not run.
    pub(super) fn begin(&mut self, id: JobId, stop: &Stop) -> Option<DownloadRequest> {
        let entry = self.jobs.get_mut(&id).filter(|entry| entry.job.state == JobState::Queued)?;
        entry.job.state = JobState::Running;
        entry.stop = Some(stop.clone());
        Some(entry.job.request.clone())
    }

    /// Begins a run of the oldest queued background job.
    pub(super) fn begin_next(&mut self, stop: &Stop) -> Option<(JobId, DownloadRequest)> {
        let is_next = |job: &Job| job.state == JobState::Queued && job.source == JobSource::Background;
        let id = self.jobs.values().map(|entry| &entry.job).find(|job| is_next(job))?.id;
        self.begin(id, stop).map(|request| (id, request))
    }

    /// Applies an event of a run.
    pub(super) fn apply(&mut self, id: JobId, event: &DownloadEvent, now: std::time::Instant) {
        if let Some(entry) = self.jobs.get_mut(&id) {
            let before = entry.job.progress.fetched_bytes;
            entry.job.progress.apply(event, now);
            // Each run and each content counts from 0: a smaller number belongs to a new one.
            let after = entry.job.progress.fetched_bytes;
            self.fetched_bytes += if after < before { after } else { after - before };
        }
    }

    /// Bytes that all runs have fetched; never shrinks.
    pub(super) fn fetched_bytes(&self) -> u64 {
        self.fetched_bytes
    }

    /// Records that a run ended with `result`, and returns the new state. A command that came too late
    /// changes nothing. With `retry` a failure is not final: the job is queued.
    pub(super) fn end(&mut self, id: JobId, result: &DownloadResult, retry: bool) -> JobState {
        let Some(entry) = self.jobs.get_mut(&id) else { return JobState::Cancelled };
        entry.stop = None;
        entry.job.state = match (result, entry.command.take()) {
            (Ok(_), _) => JobState::Done,
            (Err(DownloadError::Command(CommandError::Cancelled)), Some(JobCommand::Pause)) => {
                JobState::Paused
            }
            (Err(DownloadError::Command(CommandError::Cancelled)), _) => JobState::Cancelled,
            // A job that was cancelled while it failed is not tried again.
            (Err(_), None) if retry => JobState::Queued,
            (Err(_), Some(JobCommand::Pause)) if retry => JobState::Paused,
            (Err(_), _) => JobState::Failed,
        };
        let has_result = matches!(entry.job.state, JobState::Done | JobState::Failed);
        entry.job.result = has_result.then(|| result.clone());
        entry.job.state
    }

    /// Stops a job until it is resumed.
    ///
    /// # Errors
    /// [`JobError`]; the job is unchanged then.
    pub(super) fn pause(&mut self, id: JobId) -> Result<NextStep, JobError> {
        let entry = self.jobs.get_mut(&id).ok_or(JobError::NoSuch(id))?;
        match (&entry.job.state, &entry.stop) {
            (JobState::Running, Some(stop)) => {
                // A pause does not revoke a cancel.
                entry.command.get_or_insert(JobCommand::Pause);
                Ok(NextStep::Stop(stop.clone()))
            }
            (JobState::Queued, _) => {
                entry.job.state = JobState::Paused;
                Ok(NextStep::Nothing)
            }
            (JobState::Paused, _) => Ok(NextStep::Nothing),
            _ => Err(JobError::Ended(id)),
        }
    }

    /// Queues a paused job again.
    ///
    /// # Errors
    /// [`JobError`]; the job is unchanged then.
    pub(super) fn resume(&mut self, id: JobId) -> Result<NextStep, JobError> {
        let entry = self.jobs.get_mut(&id).ok_or(JobError::NoSuch(id))?;
        match &entry.job.state {
            JobState::Paused => {
                entry.job.state = JobState::Queued;
                if entry.job.source == JobSource::Resumed {
                    // A user has resumed it: the pool runs it, and the thread `resume` no longer does.
                    entry.job.source = JobSource::Background;
                }
                Ok(NextStep::Run(entry.job.source))
            }
            // The run has not stopped yet.
            JobState::Running if entry.command == Some(JobCommand::Pause) => Err(JobError::Pausing(id)),
            JobState::Running | JobState::Queued => Ok(NextStep::Nothing),
            _ => Err(JobError::Ended(id)),
        }
    }

    /// Ends a job. What was fetched is kept.
    ///
    /// # Errors
    /// [`JobError`]; the job is unchanged then.
    pub(super) fn cancel(&mut self, id: JobId) -> Result<NextStep, JobError> {
        let entry = self.jobs.get_mut(&id).ok_or(JobError::NoSuch(id))?;
        match (&entry.job.state, &entry.stop) {
            (JobState::Running, Some(stop)) => {
                entry.command = Some(JobCommand::Cancel);
                Ok(NextStep::Stop(stop.clone()))
            }
            (JobState::Queued | JobState::Paused, _) => {
                entry.job.state = JobState::Cancelled;
                Ok(NextStep::Nothing)
            }
            _ => Err(JobError::Ended(id)),
        }
    }

    /// Jobs of `name` that the thread `resume` runs and that have not ended.
    pub(super) fn resumed_ids(&self, name: &FileName) -> Vec<JobId> {
        let is_resumed = |job: &Job| {
            job.source == JobSource::Resumed && !job.state.has_ended() && job.request.name == *name
        };
        self.jobs.values().filter(|entry| is_resumed(&entry.job)).map(|entry| entry.job.id).collect()
    }

    pub(super) fn get(&self, id: JobId) -> Option<&Job> {
        self.jobs.get(&id).map(|entry| &entry.job)
    }

    /// All jobs, oldest first.
    pub(super) fn all(&self) -> Vec<Job> {
        self.jobs.values().map(|entry| entry.job.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logic::progress::DownloadReporter;
    use crate::node::report::Downloaded;
    use crate::proto::event::Outcome;
    use crate::types::{ContentId, ContentKey};

    fn request(name: &str) -> DownloadRequest {
        let name = FileName::new(name).expect("a name");
        DownloadRequest { name, checksum: None, verify_whole: false, force: false }
    }

    fn done() -> DownloadResult {
        let key = ContentKey { size_bytes: 1, id: ContentId([1; 32]) };
        let name = FileName::new("a").expect("a name");
        Ok(Downloaded { name, key, outcome: Outcome::AlreadyHere })
    }

    fn cancelled() -> DownloadResult {
        Err(CommandError::Cancelled.into())
    }

    fn failed() -> DownloadResult {
        Err(DownloadError::NotFound("a".into()))
    }

    /// A table with one background job that runs.
    fn running() -> (JobTable, JobId, Stop) {
        let (mut table, stop) = (JobTable::default(), Stop::new().expect("a descriptor"));
        let id = table.add(request("a"), JobSource::Background).expect("there is room");
        assert_eq!(table.begin(id, &stop), Some(request("a")));
        (table, id, stop)
    }

    #[test]
    fn a_command_to_a_running_job_takes_effect_when_its_run_ends() {
        type Command = fn(&mut JobTable, JobId) -> Result<NextStep, JobError>;
        let table: [(&[Command], DownloadResult, &str); 9] = [
            (&[], done(), "done"),
            (&[], failed(), "failed"),
            (&[], cancelled(), "cancelled"),
            (&[JobTable::pause], cancelled(), "paused"),
            (&[JobTable::cancel], cancelled(), "cancelled"),
            (&[JobTable::pause, JobTable::cancel], cancelled(), "cancelled"),
            (&[JobTable::cancel, JobTable::pause], cancelled(), "cancelled"),
            (&[JobTable::pause], done(), "done"),
            (&[JobTable::cancel], failed(), "failed"),
        ];
        for (number, (commands, result, expected)) in table.into_iter().enumerate() {
            let (mut table, id, stop) = running();
            for command in commands {
                match command(&mut table, id) {
                    Ok(NextStep::Stop(stop)) => stop.trigger(),
                    next => panic!("row {number}: {next:?}"),
                }
            }
            assert_eq!(stop.is_triggered(), !commands.is_empty(), "row {number}");
            assert_eq!(table.end(id, &result, false).as_str(), expected, "row {number}");
        }
    }

    #[test]
    fn a_paused_job_can_be_resumed_and_an_ended_one_cannot() {
        let (mut table, id, stop) = running();
        table.pause(id).expect("it runs");
        assert_eq!(table.resume(id).err(), Some(JobError::Pausing(id)));
        table.end(id, &cancelled(), false);
        assert_eq!(table.begin(id, &stop), None, "it is paused");
        assert!(matches!(table.resume(id), Ok(NextStep::Run(JobSource::Background))));
        assert!(matches!(table.resume(id), Ok(NextStep::Nothing)), "it is queued already");
        assert!(table.begin(id, &stop).is_some());
        table.end(id, &done(), false);
        for command in [JobTable::pause, JobTable::resume, JobTable::cancel] {
            assert_eq!(command(&mut table, id).err(), Some(JobError::Ended(id)));
        }
        assert_eq!(table.begin(id, &stop), None);
        let unknown = JobId(99);
        for command in [JobTable::pause, JobTable::resume, JobTable::cancel] {
            assert_eq!(command(&mut table, unknown).err(), Some(JobError::NoSuch(unknown)));
        }
    }

    #[test]
    fn a_queued_job_is_cancelled_at_once_and_never_runs() {
        let (mut table, stop) = (JobTable::default(), Stop::new().expect("a descriptor"));
        let id = table.add(request("a"), JobSource::Background).expect("there is room");
        assert!(matches!(table.pause(id), Ok(NextStep::Nothing)));
        assert!(matches!(table.cancel(id), Ok(NextStep::Nothing)));
        assert_eq!((table.begin(id, &stop), table.all()[0].state.as_str()), (None, "cancelled"));
    }

    #[test]
    fn resumed_jobs_are_tried_again_until_a_user_decides() {
        let (mut table, stop) = (JobTable::default(), Stop::new().expect("a descriptor"));
        let id = table.add(request("a"), JobSource::Resumed).expect("there is room");
        for _ in 0..3 {
            assert!(table.begin(id, &stop).is_some());
            assert_eq!(table.end(id, &failed(), true), JobState::Queued, "no failure is published");
        }
        assert_eq!(table.resumed_ids(&request("a").name), [id]);
        assert_eq!(table.resumed_ids(&request("b").name), []);
        table.pause(id).expect("queued");
        assert_eq!(table.begin(id, &stop), None, "still paused");
        assert!(matches!(table.resume(id), Ok(NextStep::Run(JobSource::Background))));
        assert_eq!(table.resumed_ids(&request("a").name), [], "a user has resumed it");
    }

    #[test]
    fn a_pause_or_cancel_of_a_running_job_prevents_the_retry_of_a_failed_run() {
        type Command = fn(&mut JobTable, JobId) -> Result<NextStep, JobError>;
        for (command, expected) in [(JobTable::pause as Command, "paused"), (JobTable::cancel, "failed")] {
            let (mut table, stop) = (JobTable::default(), Stop::new().expect("a descriptor"));
            let id = table.add(request("a"), JobSource::Resumed).expect("there is room");
            table.begin(id, &stop).expect("queued");
            command(&mut table, id).expect("it runs");
            assert_eq!(table.end(id, &failed(), true).as_str(), expected);
        }
    }

    #[test]
    fn queued_background_jobs_begin_oldest_first() {
        let (mut table, stop) = (JobTable::default(), Stop::new().expect("a descriptor"));
        let [a, b, c, d] = ["a", "b", "c", "d"].map(|name| {
            let source = if name == "a" { JobSource::Foreground } else { JobSource::Background };
            table.add(request(name), source).expect("there is room")
        });
        table.cancel(b).expect("queued");
        table.pause(c).expect("queued");
        assert_eq!(table.begin_next(&stop), Some((d, request("d"))));
        assert_eq!(table.begin_next(&stop), None, "a caller waits for the first");
        table.resume(c).expect("paused");
        assert_eq!(table.begin_next(&stop), Some((c, request("c"))));
        assert!(table.begin(a, &stop).is_some());
    }

    #[test]
    fn fetched_bytes_are_counted_once_over_all_runs() {
        let (mut table, id, _) = running();
        let now = crate::rt::clock::now();
        for (fetched_bytes, total) in [(10, 10), (30, 30), (5, 35), (6, 36)] {
            let bytes = DownloadReporter::new(request("a").name).bytes(0, 100, fetched_bytes, now);
            table.apply(id, &bytes, now);
            assert_eq!(table.fetched_bytes(), total);
        }
    }

    #[test]
    fn ended_jobs_and_unfinished_background_jobs_are_limited_in_number() {
        let (mut table, stop) = (JobTable::default(), Stop::new().expect("a descriptor"));
        for _ in 0..limits::JOBS_ENDED_MAX * 2 {
            let id = table.add(request("a"), JobSource::Background).expect("there is room");
            table.begin(id, &stop).expect("queued");
            table.end(id, &done(), false);
        }
        assert_eq!(table.all().len(), limits::JOBS_ENDED_MAX);
        for _ in 0..limits::JOBS_MAX {
            table.add(request("a"), JobSource::Background).expect("there is room");
        }
        let refused = table.add(request("a"), JobSource::Background);
        assert_eq!(refused, Err(JobError::TooMany { max: limits::JOBS_MAX }));
        assert!(table.add(request("a"), JobSource::Foreground).is_ok(), "a caller waits for it");
    }
}
