//! Talking to people and scripts: arguments, the command language, the prompt, what results look like, exit
//! codes.
//!
//! The only floor that prints, reads standard input or knows an exit code. It decides nothing: it hands
//! commands to a node and shows what comes back.

pub mod args;
pub mod config;
pub mod demo;
pub mod exit;
pub mod local_socket;
pub mod output;
pub mod program;
pub mod run;
pub mod shell;
pub mod signals;
