//! Why a command line is not run.

use thiserror::Error;

/// A configuration that cannot be used. The user can correct it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{path}: {why}")]
    File {
        /// Of the file, escaped.
        path: String,
        /// The reason.
        why: String,
    },
    /// A value is wrong. `origin` is the file with the line, or the variable.
    #[error("{origin}: {why}")]
    Value {
        /// The place of the value, escaped.
        origin: String,
        /// The reason.
        why: String,
    },
}

/// Why a command line is not run.
#[derive(Debug)]
pub enum Refusal {
    /// The text of clap, also for `--help` and `--version`: print it, and exit with its code.
    Clap(clap::Error),
    /// The configuration cannot be used.
    Config(ConfigError),
    /// The command line wants this text, and no run.
    Show(String),
}

impl From<clap::Error> for Refusal {
    fn from(error: clap::Error) -> Refusal {
        Refusal::Clap(error)
    }
}

impl From<ConfigError> for Refusal {
    fn from(error: ConfigError) -> Refusal {
        Refusal::Config(error)
    }
}
