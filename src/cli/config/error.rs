//! Why a command line is not run.

use thiserror::Error;

/// Why a configuration cannot be used. Its owner's fault.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ConfigError {
    #[error("{path}: {why}")]
    File { path: String, why: String },
    #[error("{origin}: {why}")]
    Value { origin: String, why: String },
}

/// Why a command line is not run.
#[derive(Debug)]
pub enum Refusal {
    /// What clap says, `--help` and `--version` included: print it, and exit with its code.
    Clap(clap::Error),
    Config(ConfigError),
    /// This was asked for, in place of running.
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
