//! The demo: a tracker and three nodes as real processes, and what a user would do with them.

pub mod processes;
pub mod samples;
mod show;

pub use show::run;
