//! The command line and the command language of the prompt.

pub mod command;
pub mod http;
pub mod programs;
pub mod verbs;
