//! Values of flags from the command line, the environment, a file, or their defaults. The first of these that
//! has a value wins.
//!
//! The definition of a program for clap is the only list of its flags. Values of the environment and of a
//! file become a command line, which clap reads as if a user had typed it. An error of a value names the
//! place of the value. `file` reads the text of a file, `foreign` translates the keys of other systems,
//! `merge` chooses values. These three are pure. `read` calls them.

mod error;
mod file;
mod foreign;
mod inert;
mod merge;
mod program;
mod read;

pub use error::{ConfigError, Refusal};
pub(crate) use inert::make_inert;
pub use program::Program;
pub use read::{CommandLine, read};

#[cfg(test)]
mod tests;
