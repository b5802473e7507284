//! The sources of commands: a terminal with a prompt, or a pipe.

mod completion;
pub mod history;
pub mod lines;
pub mod piped;
pub mod prompt;
