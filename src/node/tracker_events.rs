//! Handles the events that the announce thread reports: makes them notices for the user, and accepts replica
//! tasks.

use std::sync::Arc;

use super::notices::Notices;
use super::state::NodeState;
use crate::discovery::TrackerEvent;

/// Returns a handler that accepts replica tasks and publishes other events as notices. It runs on the
/// announce thread and never waits.
pub(super) fn handler(state: Arc<NodeState>, notices: Notices) -> impl Fn(TrackerEvent) + Send + 'static {
    move |event| match event {
        TrackerEvent::Restarted => notices.inform("the tracker was restarted: registered again".into()),
        TrackerEvent::Verified { endpoint } => {
            notices.inform(format!("this node's files are offered at {endpoint} now"));
        }
        TrackerEvent::Unverified { endpoint, why } => notices.warn(format!(
            "this node's files are not offered: the tracker called {endpoint} back: {why}; \
             check --advertise and the firewall"
        )),
        TrackerEvent::Tasks(tasks) => {
            // The tracker learns which tasks were refused from the list of running tasks, which lacks them.
            state.replicas.accept(tasks);
        }
        TrackerEvent::Lost { why } => notices.warn(format!("the tracker is lost: {why}")),
    }
}
