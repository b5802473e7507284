//! What becomes of what the tracker, or the connection to it, tells unasked: notices for a person, and tasks
//! taken on.
//!
//! Called on the announce thread; it must not wait.

use std::sync::Arc;

use super::state::NodeState;
use crate::discovery::TrackerEvent;
use crate::proto::event::Event;
use crate::rt::EventBroadcast;

/// Takes on what the tracker asks for, and makes notices of the other news.
pub(super) fn hear(state: Arc<NodeState>, events: EventBroadcast) -> impl Fn(TrackerEvent) + Send + 'static {
    move |news| {
        let event = match news {
            TrackerEvent::Restarted => Event::info("the tracker was restarted: registered again"),
            TrackerEvent::Verified { endpoint } => {
                Event::info(format!("this node's files are offered at {endpoint} now"))
            }
            TrackerEvent::Unverified { endpoint, why } => Event::warning(format!(
                "this node's files are not offered: the tracker called {endpoint} back: {why}; check --advertise and the firewall"
            )),
            TrackerEvent::Tasks(tasks) => {
                // What is refused is not listed as under way, by which the tracker knows.
                let _refused = state.replicas.take_on(tasks);
                return;
            }
            TrackerEvent::Lost { why } => Event::warning(format!("the tracker is lost: {why}")),
        };
        events.publish_event(event);
    }
}
