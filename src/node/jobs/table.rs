//! The list of a node's downloads and how each may go on: a table of states, nothing runs here.
//!
//! Invariant: a job ends in exactly one of `Done`, `Failed` and `Cancelled`, and what has ended begins no
//! more. Those that have ended are kept for a while, to be looked at.

use std::collections::BTreeMap;

use super::{Job, JobError, JobId, JobSource, JobState};
use crate::logic::progress::DownloadProgress;
use crate::node::api::{CommandError, DownloadError, DownloadRequest, Downloaded};
use crate::proto::event::DownloadEvent;
use crate::rt::Stop;
use crate::types::{FileName, limits};

/// What has been asked of a running job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum JobCommand {
    Pause,
    Cancel,
}

/// What is to be done now that a wish was taken down.
#[derive(Debug)]
pub(super) enum Next {
    /// Its state is what it should be.
    Nothing,
    /// To be triggered; how the run ended then is told by its thread.
    Stop(Stop),
    /// It is to be run again by whoever runs those of this origin.
    Run(JobSource),
}

#[derive(Debug, Default)]
pub(super) struct JobTable {
    jobs: BTreeMap<JobId, Entry>,
    last: u64,
    /// By all runs together.
    fetched_bytes: u64,
}

#[derive(Debug)]
struct Entry {
    job: Job,
    wish: Option<JobCommand>,
    /// Of the run that goes on.
    stop: Option<Stop>,
}

impl JobTable {
    /// Puts a download on the board, queued.
    ///
    /// # Errors
    /// [`JobError::TooMany`], but for one that somebody waits for: it is one more at most for each who can
    /// wait.
    pub(super) fn add(&mut self, request: DownloadRequest, origin: JobSource) -> Result<JobId, JobError> {
        let unfinished = self.jobs.values().filter(|entry| !entry.job.state.has_ended()).count();
        if unfinished >= limits::JOBS_MAX && origin == JobSource::Background {
            return Err(JobError::TooMany { max: limits::JOBS_MAX });
        }
        let ended: Vec<_> = self.ended().collect();
        for id in ended.iter().take((ended.len() + 1).saturating_sub(limits::JOBS_ENDED_MAX)) {
            self.jobs.remove(id);
        }
        self.last += 1;
        let id = JobId(self.last);
        let job = Job { id, request, origin, state: JobState::Queued, figures: DownloadProgress::default() };
        self.jobs.insert(id, Entry { job, wish: None, stop: None });
        Ok(id)
    }

    fn ended(&self) -> impl Iterator<Item = JobId> + '_ {
        self.jobs.iter().filter(|(_, entry)| entry.job.state.has_ended()).map(|(id, _)| *id)
    }

    /// A run begins, ended by `stop`. `None`: it is not queued any more, and nothing is to be run.
    pub(super) fn begin(&mut self, id: JobId, stop: &Stop) -> Option<DownloadRequest> {
        let entry = self.jobs.get_mut(&id).filter(|entry| entry.job.state == JobState::Queued)?;
        entry.job.state = JobState::Running;
        entry.stop = Some(stop.clone());
        Some(entry.job.request.clone())
    }

    /// The same for the oldest one that is queued and that nobody waits for.
    pub(super) fn begin_next(&mut self, stop: &Stop) -> Option<(JobId, DownloadRequest)> {
        let is_next = |job: &Job| job.state == JobState::Queued && job.origin == JobSource::Background;
        let id = self.jobs.values().map(|entry| &entry.job).find(|job| is_next(job))?.id;
        self.begin(id, stop).map(|request| (id, request))
    }

    /// Applies an event of a run.
    pub(super) fn apply(&mut self, id: JobId, event: &DownloadEvent, now: std::time::Instant) {
        if let Some(entry) = self.jobs.get_mut(&id) {
            let before = entry.job.figures.fetched_bytes;
            entry.job.figures.apply(event, now);
            // A count that has shrunk has begun anew, with another run or another content.
            let after = entry.job.figures.fetched_bytes;
            self.fetched_bytes += if after < before { after } else { after - before };
        }
    }

    /// What all runs have fetched; never shrinks.
    pub(super) fn fetched_bytes(&self) -> u64 {
        self.fetched_bytes
    }

    /// A run has ended with `result`; the state it leaves. A wish that came too late changes nothing.
    /// `again`: a failure is not the end, it will be tried again.
    pub(super) fn end(
        &mut self,
        id: JobId,
        result: &Result<Downloaded, DownloadError>,
        again: bool,
    ) -> JobState {
        let Some(entry) = self.jobs.get_mut(&id) else { return JobState::Cancelled };
        entry.stop = None;
        entry.job.state = match (result, entry.wish.take()) {
            (Ok(done), _) => JobState::Done(done.clone()),
            (Err(DownloadError::Command(CommandError::Cancelled)), Some(JobCommand::Pause)) => {
                JobState::Paused
            }
            (Err(DownloadError::Command(CommandError::Cancelled)), _) => JobState::Cancelled,
            // Who has cancelled it while it failed wants no other try.
            (Err(_), None) if again => JobState::Queued,
            (Err(_), Some(JobCommand::Pause)) if again => JobState::Paused,
            (Err(error), _) => JobState::Failed(error.clone()),
        };
        entry.job.state.clone()
    }

    /// Stops it for now.
    ///
    /// # Errors
    /// [`JobError`]; it is as it was then.
    pub(super) fn pause(&mut self, id: JobId) -> Result<Next, JobError> {
        let entry = self.jobs.get_mut(&id).ok_or(JobError::NoSuch(id))?;
        match (&entry.job.state, &entry.stop) {
            (JobState::Running, Some(stop)) => {
                // A cancel that is under way is not taken back.
                entry.wish.get_or_insert(JobCommand::Pause);
                Ok(Next::Stop(stop.clone()))
            }
            (JobState::Queued, _) => {
                entry.job.state = JobState::Paused;
                Ok(Next::Nothing)
            }
            (JobState::Paused, _) => Ok(Next::Nothing),
            _ => Err(JobError::Ended(id)),
        }
    }

    /// Has a paused one go on.
    ///
    /// # Errors
    /// [`JobError`]; it is as it was then.
    pub(super) fn resume(&mut self, id: JobId) -> Result<Next, JobError> {
        let entry = self.jobs.get_mut(&id).ok_or(JobError::NoSuch(id))?;
        match &entry.job.state {
            JobState::Paused => {
                entry.job.state = JobState::Queued;
                if entry.job.origin == JobSource::Unasked {
                    // Now somebody has asked for it.
                    entry.job.origin = JobSource::Background;
                }
                Ok(Next::Run(entry.job.origin))
            }
            // Not yet stopped: what was asked last counts.
            JobState::Running if entry.wish == Some(JobCommand::Pause) => Err(JobError::Pausing(id)),
            JobState::Running | JobState::Queued => Ok(Next::Nothing),
            _ => Err(JobError::Ended(id)),
        }
    }

    /// Ends it.
    ///
    /// # Errors
    /// [`JobError`]; it is as it was then.
    pub(super) fn cancel(&mut self, id: JobId) -> Result<Next, JobError> {
        let entry = self.jobs.get_mut(&id).ok_or(JobError::NoSuch(id))?;
        match (&entry.job.state, &entry.stop) {
            (JobState::Running, Some(stop)) => {
                entry.wish = Some(JobCommand::Cancel);
                Ok(Next::Stop(stop.clone()))
            }
            (JobState::Queued | JobState::Paused, _) => {
                entry.job.state = JobState::Cancelled;
                Ok(Next::Nothing)
            }
            _ => Err(JobError::Ended(id)),
        }
    }

    /// Those of `name` that run unasked.
    pub(super) fn unasked(&self, name: &FileName) -> Vec<JobId> {
        let is_meant = |job: &Job| {
            job.origin == JobSource::Unasked && !job.state.has_ended() && job.request.name == *name
        };
        self.jobs.values().filter(|entry| is_meant(&entry.job)).map(|entry| entry.job.id).collect()
    }

    pub(super) fn get(&self, id: JobId) -> Option<&Job> {
        self.jobs.get(&id).map(|entry| &entry.job)
    }

    /// All, the oldest first.
    pub(super) fn all(&self) -> Vec<Job> {
        self.jobs.values().map(|entry| entry.job.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logic::progress::DownloadReporter;
    use crate::proto::event::Outcome;
    use crate::types::{ContentId, ContentKey};

    fn request(name: &str) -> DownloadRequest {
        let name = FileName::new(name).expect("a name");
        DownloadRequest { name, checksum: None, verify_whole: false, force: false }
    }

    fn done() -> Result<Downloaded, DownloadError> {
        let key = ContentKey { size_bytes: 1, id: ContentId([1; 32]) };
        let name = FileName::new("a").expect("a name");
        Ok(Downloaded { name, key, outcome: Outcome::AlreadyHere })
    }

    fn cancelled() -> Result<Downloaded, DownloadError> {
        Err(CommandError::Cancelled.into())
    }

    fn failed() -> Result<Downloaded, DownloadError> {
        Err(DownloadError::NotFound("a".into()))
    }

    /// A board with one background job that runs.
    fn running() -> (JobTable, JobId, Stop) {
        let (mut board, stop) = (JobTable::default(), Stop::new().expect("a descriptor"));
        let id = board.add(request("a"), JobSource::Background).expect("there is room");
        assert_eq!(board.begin(id, &stop), Some(request("a")));
        (board, id, stop)
    }

    #[test]
    fn what_is_asked_of_a_running_job_shows_when_its_run_ends() {
        type Ask = fn(&mut JobTable, JobId) -> Result<Next, JobError>;
        let table: [(&[Ask], Result<Downloaded, DownloadError>, &str); 9] = [
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
        for (number, (asked, result, expected)) in table.into_iter().enumerate() {
            let (mut board, id, stop) = running();
            for ask in asked {
                match ask(&mut board, id) {
                    Ok(Next::Stop(stop)) => stop.trigger(),
                    next => panic!("row {number}: {next:?}"),
                }
            }
            assert_eq!(stop.is_triggered(), !asked.is_empty(), "row {number}");
            assert_eq!(board.end(id, &result, false).as_str(), expected, "row {number}");
        }
    }

    #[test]
    fn a_paused_job_goes_on_and_one_that_has_ended_does_not() {
        let (mut board, id, stop) = running();
        board.pause(id).expect("it runs");
        assert_eq!(board.resume(id).err(), Some(JobError::Pausing(id)));
        board.end(id, &cancelled(), false);
        assert_eq!(board.begin(id, &stop), None, "it is paused");
        assert!(matches!(board.resume(id), Ok(Next::Run(JobSource::Background))));
        assert!(matches!(board.resume(id), Ok(Next::Nothing)), "it is queued already");
        assert!(board.begin(id, &stop).is_some());
        board.end(id, &done(), false);
        for ask in [JobTable::pause, JobTable::resume, JobTable::cancel] {
            assert_eq!(ask(&mut board, id).err(), Some(JobError::Ended(id)));
        }
        assert_eq!(board.begin(id, &stop), None);
        let nobody = JobId(99);
        for ask in [JobTable::pause, JobTable::resume, JobTable::cancel] {
            assert_eq!(ask(&mut board, nobody).err(), Some(JobError::NoSuch(nobody)));
        }
    }

    #[test]
    fn what_is_queued_is_cancelled_at_once_and_never_begun() {
        let (mut board, stop) = (JobTable::default(), Stop::new().expect("a descriptor"));
        let id = board.add(request("a"), JobSource::Background).expect("there is room");
        assert!(matches!(board.pause(id), Ok(Next::Nothing)));
        assert!(matches!(board.cancel(id), Ok(Next::Nothing)));
        assert_eq!((board.begin(id, &stop), board.all()[0].state.as_str()), (None, "cancelled"));
    }

    #[test]
    fn unasked_jobs_are_tried_again_until_somebody_decides() {
        let (mut board, stop) = (JobTable::default(), Stop::new().expect("a descriptor"));
        let id = board.add(request("a"), JobSource::Unasked).expect("there is room");
        for _ in 0..3 {
            assert!(board.begin(id, &stop).is_some());
            assert_eq!(board.end(id, &failed(), true), JobState::Queued, "no failure is told");
        }
        assert_eq!(board.unasked(&request("a").name), [id]);
        assert_eq!(board.unasked(&request("b").name), []);
        board.pause(id).expect("queued");
        assert_eq!(board.begin(id, &stop), None, "still paused");
        assert!(matches!(board.resume(id), Ok(Next::Run(JobSource::Background))));
        assert_eq!(board.unasked(&request("a").name), [], "somebody has asked for it");
    }

    #[test]
    fn a_wish_outlives_a_failure_that_would_be_tried_again() {
        type Ask = fn(&mut JobTable, JobId) -> Result<Next, JobError>;
        for (ask, expected) in [(JobTable::pause as Ask, "paused"), (JobTable::cancel, "failed")] {
            let (mut board, stop) = (JobTable::default(), Stop::new().expect("a descriptor"));
            let id = board.add(request("a"), JobSource::Unasked).expect("there is room");
            board.begin(id, &stop).expect("queued");
            ask(&mut board, id).expect("it runs");
            assert_eq!(board.end(id, &failed(), true).as_str(), expected);
        }
    }

    #[test]
    fn those_that_nobody_waits_for_begin_in_their_order_and_none_that_was_taken_back() {
        let (mut board, stop) = (JobTable::default(), Stop::new().expect("a descriptor"));
        let [a, b, c, d] = ["a", "b", "c", "d"].map(|name| {
            let origin = if name == "a" { JobSource::Asked } else { JobSource::Background };
            board.add(request(name), origin).expect("there is room")
        });
        board.cancel(b).expect("queued");
        board.pause(c).expect("queued");
        assert_eq!(board.begin_next(&stop), Some((d, request("d"))));
        assert_eq!(board.begin_next(&stop), None, "somebody waits for the first");
        board.resume(c).expect("paused");
        assert_eq!(board.begin_next(&stop), Some((c, request("c"))));
        assert!(board.begin(a, &stop).is_some());
    }

    #[test]
    fn what_was_fetched_is_counted_once_over_all_runs() {
        let (mut board, id, _) = running();
        let now = crate::rt::clock::now();
        for (fetched_bytes, total) in [(10, 10), (30, 30), (5, 35), (6, 36)] {
            let bytes = DownloadReporter::new(request("a").name).bytes(0, 100, fetched_bytes, now);
            board.apply(id, &bytes, now);
            assert_eq!(board.fetched_bytes(), total);
        }
    }

    #[test]
    fn the_board_is_bounded() {
        let (mut board, stop) = (JobTable::default(), Stop::new().expect("a descriptor"));
        for _ in 0..limits::JOBS_ENDED_MAX * 2 {
            let id = board.add(request("a"), JobSource::Background).expect("there is room");
            board.begin(id, &stop).expect("queued");
            board.end(id, &done(), false);
        }
        assert_eq!(board.all().len(), limits::JOBS_ENDED_MAX);
        for _ in 0..limits::JOBS_MAX {
            board.add(request("a"), JobSource::Background).expect("there is room");
        }
        let refused = board.add(request("a"), JobSource::Background);
        assert_eq!(refused, Err(JobError::TooMany { max: limits::JOBS_MAX }));
        assert!(board.add(request("a"), JobSource::Asked).is_ok(), "somebody waits for it");
    }
}
