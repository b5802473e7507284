//! The command lines of the programs, and the command language of the prompt.
//!
//! clap reads both. `command` has the commands, `prompt` and `one_shot` add what only a prompt or a command
//! line has; `node` and `tracker` are the programs; `values` reads single values.

pub mod command;
pub mod http;
pub mod log;
pub mod node;
pub mod one_shot;
pub mod prompt;
pub mod shared;
pub mod tracker;
pub mod values;
