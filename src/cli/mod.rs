//! Talks to people and scripts: arguments, the command language, the prompt, the text of results, the exit of
//! a program.
//!
//! Only this module prints and reads standard input. It gives commands to a node and shows their results.

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
