//! The command lines of the programs, and the command language of the prompt.
//!
//! clap reads both. `command` has the commands that both have; `prompt` and `one_shot` add those that only a
//! prompt or only a command line has. `node` and `tracker` have the flags of the programs. `values` reads
//! single values.

pub mod command;
pub mod http;
pub mod log;
pub mod node;
pub mod one_shot;
pub mod prompt;
pub mod shared;
pub mod tracker;
pub mod values;
