//! Has the node's feed told of all its downloads, whoever asked for them.
//!
//! Called on the threads of downloads: it never waits.

use std::collections::HashMap;

use parking_lot::Mutex;

use super::{JobEvent, JobId, JobState, What};
use crate::node::events::{self, Journal};
use crate::proto::event::Event;
use crate::rt::{EventBroadcast, clock};

/// Tells `feed` of each download: how it stands, its progress, its end.
pub(crate) fn downloads(feed: EventBroadcast) -> impl Fn(&JobEvent<'_>) + Send + Sync + 'static {
    let journals: Mutex<HashMap<JobId, Journal>> = Mutex::default();
    move |news| {
        let now = clock::now();
        let journal = || Journal::new(news.request.name.clone());
        let told: Vec<Event> = match news.what {
            What::Progress(progress) => {
                let mut journals = journals.lock();
                journals.entry(news.id).or_insert_with(journal).event(progress, now).into_iter().collect()
            }
            What::State(JobState::Done(done)) => {
                let mut journal = journals.lock().remove(&news.id).unwrap_or_else(journal);
                journal.done(done, now)
            }
            What::State(JobState::Failed(error)) => {
                let mut journal = journals.lock().remove(&news.id).unwrap_or_else(journal);
                journal.failed(&format!("download: {error}"), error.into(), now)
            }
            What::State(state) => {
                if *state == JobState::Cancelled {
                    journals.lock().remove(&news.id);
                }
                vec![events::job_state(news.id, news.request, news.origin, state)]
            }
        };
        for event in told {
            feed.publish_job_event(news.id.0, event);
        }
    }
}
