//! The one harness of processes. It knows programs only by their command lines, their output and their exit
//! codes, as a user does.

mod latency_file;
mod lines;
mod process;

pub use latency_file::write_latency;
pub use lines::{NoLine, Stream};
pub use process::{Process, ProcessError};
