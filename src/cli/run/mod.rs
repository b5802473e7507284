//! Runs commands: the commands of a session, or one command of a command line.

mod background;
pub mod context;
pub mod one_shot;
pub mod session;
pub mod temporary;
pub mod verify;
