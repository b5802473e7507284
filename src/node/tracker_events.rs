//! What becomes of what the tracker, or the connection to it, tells unasked: notices for a person, and tasks taken on.
//!
//! Called on the announce thread; it must not wait.

use std::sync::Arc;

use super::state::Memory;
use crate::discovery::News;
use crate::proto::event::Event;
use crate::rt::Feed;

/// Takes on what the tracker asks for, and makes notices of the other news.
pub(super) fn hear(memory: Arc<Memory>, events: Feed) -> impl Fn(News) + Send + 'static {
    move |news| {
        let event = match news {
            News::Restarted => Event::info("the tracker was restarted: registered again"),
            News::Proved { endpoint } => {
                Event::info(format!("this node's files are offered at {endpoint} now"))
            }
            News::Unproved { endpoint, why } => Event::warning(format!(
                "this node's files are not offered: the tracker called {endpoint} back: {why}; check --advertise and the firewall"
            )),
            News::Tasks(tasks) => {
                // What is refused is not listed as under way, by which the tracker knows.
                let _refused = memory.replicas.take_on(tasks);
                return;
            }
            News::Lost { why } => Event::warning(format!("the tracker is lost: {why}")),
        };
        events.tell(event);
    }
}
