//! The demo: a tracker and three nodes as real processes, and what a user would do with them.

pub mod samples;
mod show;
pub mod stage;

pub use show::run;
