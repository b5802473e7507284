//! Events of a node: its reports and errors as events, and the publication of what happens in its downloads.

mod codes;
mod publisher;
mod reports;
#[cfg(test)]
mod tests;

pub(super) use publisher::publish_jobs;
pub(super) use reports::searched;
pub use reports::{done, explained, file, found, holder, job, replication, silent, updated};
