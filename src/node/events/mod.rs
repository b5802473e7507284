//! Events of a node: makes its reports and errors events, and publishes the changes of its jobs.

mod codes;
mod publisher;
mod reports;
#[cfg(test)]
mod tests;

pub(super) use publisher::publish_jobs;
pub(super) use reports::search_event;
pub use reports::{
    done_event, event_holder, file_event, find_events, job_event, replication_event, silent_events,
    sources_events, update_event,
};
