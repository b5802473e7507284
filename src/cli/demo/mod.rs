//! The demo: a tracker and three nodes as real processes, with the commands of a user.

pub mod processes;
pub mod samples;
mod show;

pub use show::run;
