//! The broadcast of a program's events, which its log, prompt and pages read.
//!
//! Each event gets the time of the wall clock when it is published.

use super::{Broadcast, Subscriber, clock};
use crate::proto::event::{Event, Record};
use crate::types::limits;

/// The events of a program.
pub type EventBroadcast = Broadcast<Record>;

/// A subscriber of a program's events.
pub type EventSubscriber = Subscriber<Record>;

impl Default for EventBroadcast {
    fn default() -> EventBroadcast {
        Broadcast::new(limits::EVENTS_KEPT_MAX)
    }
}

impl EventBroadcast {
    /// Publishes an event.
    pub fn publish_event(&self, event: Event) {
        self.publish(event.at(clock::wall_ns()));
    }

    /// Publishes an event that belongs to job `job` of the node.
    pub fn publish_job_event(&self, job: u64, event: Event) {
        self.publish(Record { job: Some(job), ..event.at(clock::wall_ns()) });
    }
}
