//! Publishes the changes of a node's jobs as events.

use std::collections::HashMap;

use parking_lot::Mutex;

use super::reports;
use crate::logic::progress::BytesPacing;
use crate::node::jobs::{JobChange, JobEvent, JobId, JobState};
use crate::proto::event::Event;
use crate::rt::{EventBroadcast, clock};

/// Returns a watcher of jobs that publishes their states, their progress and their ends. It never waits.
pub(crate) fn publish_jobs(broadcast: EventBroadcast) -> impl Fn(&JobEvent<'_>) + Send + Sync + 'static {
    let pacings: Mutex<HashMap<JobId, BytesPacing>> = Mutex::default();
    move |job| {
        let events = match reports::job_change_event(job) {
            Event::Download(event) => {
                let mut pacings = pacings.lock();
                let is_end = event.is_end();
                let events = pacings.entry(job.id).or_default().pass(event, clock::now());
                if is_end {
                    pacings.remove(&job.id);
                }
                events.into_iter().map(Event::Download).collect()
            }
            event => vec![event],
        };
        // A cancelled job has no end event of its download.
        if matches!(job.change, JobChange::State(JobState::Cancelled)) {
            pacings.lock().remove(&job.id);
        }
        for event in events {
            broadcast.publish_job_event(job.id.0, event);
        }
    }
}
