//! Notices: texts that tell the user what happens in a node. They are published as events.

use crate::proto::event::Event;
use crate::rt::EventBroadcast;

/// Publishes notices. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Notices(EventBroadcast);

impl Notices {
    pub(crate) fn new(events: EventBroadcast) -> Notices {
        Notices(events)
    }

    /// Tells the user about a fault that does not end the node.
    pub(crate) fn warn(&self, text: String) {
        self.0.publish_event(Event::warning(text));
    }

    /// Tells the user about something that needs no action.
    pub(crate) fn inform(&self, text: String) {
        self.0.publish_event(Event::info(text));
    }
}
