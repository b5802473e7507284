//! The flags about the log.

use std::path::PathBuf;

use clap::Args;

use super::values::size;

/// The flags about the log.
#[derive(Debug, Clone, Args)]
pub struct LogArgs {
    /// Append all events to this file, as lines of JSON
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,
    /// Start a new log at this size; keep the previous log as FILE.1
    #[arg(long, value_name = "SIZE", default_value = "16MiB", value_parser = size)]
    pub log_max: u64,
}
