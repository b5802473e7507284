//! Events: what a program publishes for its users and for other programs, as one JSON object per line.
//! `docs/events.schema.json` is the schema.
//!
//! The same events go to `--json`, to `--progress json`, to the log, to clients of a node's local socket and
//! to the web. A line begins with `{"event":"`. Names of fields contain the units. A line has no character
//! that controls a terminal. Fields and events may be added, but a name never changes. A reader must skip
//! fields and events that it does not know. No code here reads a clock or knows where an event comes from.

mod code;
mod download;
mod find;
mod job;
mod kinds;
mod node;
mod record;
#[cfg(test)]
mod tests;

pub use code::ErrorCode;
pub use download::{DownloadEvent, Outcome};
pub use find::{EventHolder, HolderState};
pub use job::{JobSource, JobState};
pub use kinds::{Event, Level, VerifyState};
pub use node::{NodeState, Service};
pub use record::{Record, rfc3339};
