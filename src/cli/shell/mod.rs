//! Where commands come from: a terminal with a prompt, or a pipe.

pub mod history;
pub mod lines;
pub mod piped;
pub mod prompt;
