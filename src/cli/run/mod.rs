//! Runs commands: the commands of a session, or one command of a command line.

pub mod context;
pub mod one_shot;
pub mod session;
mod session_jobs;
pub mod temporary;
pub mod verify;
