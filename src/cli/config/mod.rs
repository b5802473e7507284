//! Values of flags from the command line, the environment, a file, or their defaults. The first of these that
//! has a value wins.
//!
//! A program's own definition for clap says which flags there are; nothing is listed twice. What the
//! environment and a file say becomes a command line again, which clap then reads as if it had been typed. A
//! bad value is an error that names its place. `file` reads files, `foreign` knows the shapes of other
//! systems, `merge` decides; both are pure. `read` does all of it.

mod error;
mod file;
mod foreign;
mod merge;
mod program;
mod read;
mod refusal;

pub use error::{ConfigError, Refusal};
pub use program::Program;
pub use read::{CommandLine, read};
pub(crate) use refusal::inert;

#[cfg(test)]
mod tests;
