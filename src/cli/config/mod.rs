//! Values of flags from the command line, the environment, a file, or their defaults; the first of these that
//! has one wins.
//!
//! A program's own definition for clap says which flags there are; nothing is listed twice. What the
//! environment and a file say becomes a command line again, which clap then reads as if it had been typed; a
//! bad value is an error that names its place. `file` reads files, `foreign` knows the shapes of other
//! systems, `merge` decides; both are pure.

mod file;
mod foreign;
mod merge;
mod refusal;

use std::ffi::OsString;
use std::io::Read;
use std::path::{Path, PathBuf};

use clap::{ArgMatches, Command};
use thiserror::Error;

use super::output::stdio::say;
use crate::types::{Printable, limits};

/// Which program is configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    Tracker,
    Node,
}

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

impl Program {
    /// The stem of its file, and its name.
    pub fn name(self) -> &'static str {
        match self {
            Program::Tracker => "tracker",
            Program::Node => "node",
        }
    }
}

/// Reads a command line, the first word being the program's name, with what `environment` and a file add to
/// it.
///
/// # Errors
/// [`Refusal`].
pub fn matches(
    program: Program,
    command: &Command,
    arguments: impl IntoIterator<Item = OsString>,
    environment: &dyn Fn(&str) -> Option<OsString>,
) -> Result<ArgMatches, Refusal> {
    let typed: Vec<OsString> = arguments.into_iter().collect();
    let as_typed = || {
        let read = command.clone().try_get_matches_from(&typed);
        read.map_err(|error| Refusal::Clap(refusal::inert(error, &typed)))
    };
    let Ok(given) = merge::relaxed(command).try_get_matches_from(&typed) else { return as_typed() };
    let line = merge::Line::new(command, &given, typed.first().cloned().unwrap_or_default());
    if !line.is_configurable() {
        return as_typed();
    }
    let path = line.config_path(environment).or_else(|| default_path(program, environment));
    let entries = match &path {
        Some(path) => {
            let shown = shown(path);
            let text = read(path).map_err(|why| ConfigError::File { path: shown.clone(), why })?;
            let form = file::Form::of(path, &text);
            let entries = file::entries(&text, form)
                .map_err(|bad| ConfigError::File { path: format!("{shown}:{}", bad.line), why: bad.why })?;
            let (entries, unused) = match form {
                // Theirs are in no other form than these.
                file::Form::Ini | file::Form::Json => foreign::translated(program, &entries),
                file::Form::Toml => (entries, Vec::new()),
            };
            if !unused.is_empty() {
                say(&format!("{shown}: not used here: {}", unused.join(", ")));
            }
            merge::refuse_unknown(command, program, &shown, &entries)?;
            (shown, entries)
        }
        None => (String::new(), Vec::new()),
    };
    let merged = line.merged(environment, &entries.0, &entries.1)?;
    if line.prints_config() {
        return Err(Refusal::Show(merge::shown(&merged.settings)));
    }
    let read = command.clone().try_get_matches_from(&merged.arguments);
    read.map_err(|error| Refusal::Clap(refusal::inert(error, &merged.arguments)))
}

/// The file that is read when none is named: the user's, else the system's.
fn default_path(program: Program, environment: &dyn Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let absolute = |path: OsString| Some(PathBuf::from(path)).filter(|path| path.is_absolute());
    let home = environment("HOME").and_then(absolute).map(|home| home.join(".config"));
    let users = environment("XDG_CONFIG_HOME").and_then(absolute).or(home);
    let file = format!("nearpeer/{}.toml", program.name());
    let places = users.into_iter().chain([PathBuf::from("/etc")]);
    places.map(|place| place.join(&file)).find(|path| path.exists())
}

fn read(path: &Path) -> Result<String, String> {
    let text = |error: std::io::Error| error.to_string();
    let file = std::fs::File::open(path).map_err(text)?;
    let mut bytes = Vec::new();
    file.take(limits::CONFIG_MAX_BYTES + 1).read_to_end(&mut bytes).map_err(text)?;
    if bytes.len() as u64 > limits::CONFIG_MAX_BYTES {
        return Err(format!("has more than {} bytes: that is no configuration", limits::CONFIG_MAX_BYTES));
    }
    String::from_utf8(bytes).map_err(|_| "is not UTF-8".to_owned())
}

fn shown(path: &Path) -> String {
    Printable(&path.to_string_lossy()).to_string()
}

#[cfg(test)]
mod tests;
