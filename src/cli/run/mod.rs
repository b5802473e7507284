//! Runs commands: for a session at a prompt or a pipe, or one command without a node.

pub mod one_shot;
pub mod session;
pub mod temporary;
pub mod verify;
