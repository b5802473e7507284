//! The errors of command lines and configurations.

use thiserror::Error;

/// A configuration that cannot be used. The user can correct it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ConfigError {
    /// The file cannot be read or parsed.
    #[error("{path}: {why}")]
    File {
        /// The path of the file, escaped, with the line of a wrong syntax.
        path: String,
        /// The reason.
        why: String,
    },
    /// A value or a key is wrong.
    #[error("{origin}: {why}")]
    Value {
        /// The file with the line, or the variable of the environment; escaped.
        origin: String,
        /// The reason.
        why: String,
    },
}

/// Why a command line is not run.
#[derive(Debug)]
pub enum Refusal {
    /// A text of clap, which can also be that of `--help` and `--version`: print it, and exit with its code.
    Clap(clap::Error),
    /// The configuration cannot be used.
    Config(ConfigError),
    /// The command line requests this text in place of a run.
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
