//! The output of the programs: results, progress, notices, the log.

pub mod log;
pub(crate) mod notices;
pub mod progress;
pub mod render;
pub mod sink;
pub mod stdio;
