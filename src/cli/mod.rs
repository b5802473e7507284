//! Talking to people and scripts: arguments, the command language, the prompt, what results look like, exit codes.
//!
//! The only floor that prints, reads standard input or knows an exit code. It decides nothing: it hands commands to a node and shows
//! what comes back.

pub mod args;
mod asides;
pub mod command;
pub mod config;
pub mod demo;
pub mod exit;
pub mod handoff;
pub mod history;
pub mod lines;
pub mod log;
pub mod node;
pub mod oneshot;
pub mod output;
pub mod pages;
pub mod piped;
pub mod progress;
pub mod prompt;
pub mod render;
pub mod session;
pub mod signals;
pub mod sink;
pub mod temporary;
pub mod tracker;
pub mod verbs;
pub mod verify;
