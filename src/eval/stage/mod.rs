//! The harness of processes. It knows a program only by its command line, its output and its exit code, as a
//! user does.

mod latency_file;
mod lines;
mod process;

pub use latency_file::write_latency;
pub use lines::{NoLine, Stream};
pub use process::{Process, ProcessError};
