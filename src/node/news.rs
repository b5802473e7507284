//! What becomes of what the tracker, or the connection to it, tells unasked: notices for a person, and tasks taken on.
//!
//! Called on the announce thread; it must not wait.

use std::sync::Arc;

use crossbeam_channel::Sender;

use super::api::{Level, Notice};
use super::memory::Memory;
use crate::discovery::News;

/// Takes on what the tracker asks for, and makes notices of the other news.
pub(super) fn hear(memory: Arc<Memory>, notices: Sender<Notice>) -> impl Fn(News) + Send + 'static {
    move |news| {
        let (level, text) = match news {
            News::Restarted => (Level::Info, "the tracker was restarted: registered again".to_owned()),
            News::Proved { endpoint } => {
                (Level::Info, format!("this node's files are offered at {endpoint} now"))
            }
            News::Unproved { endpoint, why } => (
                Level::Warning,
                format!(
                    "this node's files are not offered: the tracker called {endpoint} back: {why}; check --advertise and the firewall"
                ),
            ),
            News::Tasks(tasks) => {
                // What is refused is not listed as under way, by which the tracker knows.
                let _refused = memory.replicas.take_on(tasks);
                return;
            }
            News::Lost { why } => (Level::Warning, format!("the tracker is lost: {why}")),
        };
        let _dropped_when_full = notices.try_send(Notice { level, text });
    }
}
