//! What the command lines of the programs have in common.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use clap::{ArgMatches, Args, Subcommand};

use crate::node::{LatencySource, open_latency_file};
use crate::types::limits;

/// The latency file that is read when none is named.
pub const DEFAULT_LATENCY_FILE: &str = "latency.txt";

/// The flags about the environment and the configuration file.
#[derive(Debug, Clone, Args)]
pub struct ConfigArgs {
    /// Read flags from this file, in TOML, INI or JSON [default: nearpeer/<program>.toml in $XDG_CONFIG_HOME
    /// or /etc]
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The file wins over flags
    #[arg(long)]
    pub config_wins: bool,
    /// Print each value and where it comes from, and exit
    #[arg(long)]
    pub print_config: bool,
}

/// The flags that print something in place of a run.
#[derive(Debug, Clone, Args)]
pub(super) struct ShowArgs {
    /// Print every limit as a line of JSON and exit
    #[arg(long, exclusive = true)]
    print_limits: bool,
}

/// `completions`.
#[derive(Debug, Clone, Args)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_name = "SHELL")]
    pub shell: clap_complete::Shell,
}

/// The value of a variable of the environment.
pub(super) fn environment(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

/// Returns true if and only if the command line has `--print-limits`.
pub(super) fn prints_limits(matches: &ArgMatches) -> bool {
    matches.get_flag("print_limits")
}

/// Adds the commands `C` to a program, and keeps the description of the program.
pub(super) fn with_commands<C: Subcommand>(program: clap::Command) -> clap::Command {
    let about = program.get_about().cloned().unwrap_or_default();
    C::augment_subcommands(program).about(about)
}

/// Where latencies come from: the named file, else [`DEFAULT_LATENCY_FILE`] in `dir`, else measurements; the
/// name `none` means measurements. Opens a named file, but does not read it.
///
/// # Errors
/// The path, and why the named file cannot be opened.
pub fn latency_source(named: Option<&Path>, dir: &Path) -> Result<LatencySource, (PathBuf, io::Error)> {
    match named {
        Some(none) if none.as_os_str() == "none" => Ok(LatencySource::Measured),
        Some(path) => match open_latency_file(path) {
            Ok(_) => Ok(LatencySource::File(path.to_owned())),
            Err(error) => Err((path.to_owned(), error)),
        },
        None => {
            let path = dir.join(DEFAULT_LATENCY_FILE);
            Ok(if path.exists() { LatencySource::File(path) } else { LatencySource::Measured })
        }
    }
}

/// Every limit as a line of JSON.
pub fn limits_text() -> String {
    // The names are Rust identifiers and the units are plain words: nothing needs to be escaped.
    let lines: Vec<_> = limits::all()
        .into_iter()
        .map(|(name, value, unit)| {
            let name = name.to_lowercase();
            format!(r#"{{"limit":"{name}","value":{value},"unit":"{unit}"}}"#)
        })
        .collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_printed_as_lines_of_json() {
        let text = limits_text();
        assert_eq!(text.lines().count(), limits::all().len());
        assert!(text.contains(r#"{"limit":"frame_max_bytes","value":1048576,"unit":"bytes"}"#), "{text}");
    }

    #[test]
    fn the_latency_file_is_the_named_one_or_else_the_default_one() {
        let dir = tempfile::tempdir().expect("a directory");
        let there = dir.path().join(DEFAULT_LATENCY_FILE);
        let source = |named: Option<&Path>| latency_source(named, dir.path());
        assert_eq!(source(None).expect("none is fine"), LatencySource::Measured);
        std::fs::write(&there, "").expect("written");
        assert_eq!(source(None).expect("is there"), LatencySource::File(there.clone()));
        assert_eq!(source(Some(Path::new("none"))).expect("ignored"), LatencySource::Measured);
        let named = latency_source(Some(&there), Path::new("/"));
        assert_eq!(named.expect("is there"), LatencySource::File(there));
        let (path, _) = source(Some(Path::new("/no/such"))).expect_err("is not there");
        assert_eq!(path, Path::new("/no/such"));
    }
}
