//! Handles unrequested events of the tracker and of the connection to it: notices for the user, and replica
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
            // The tracker learns about refused tasks from the list of running ones, which does not have them.
            let _refused = state.replicas.accept(tasks);
        }
        TrackerEvent::Lost { why } => notices.warn(format!("the tracker is lost: {why}")),
    }
}
