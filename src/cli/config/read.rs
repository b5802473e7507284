//! Reads a command line with what the environment and a configuration file add to it.

use std::ffi::OsString;
use std::io::Read;
use std::path::{Path, PathBuf};

use clap::{ArgMatches, Command};

use super::error::{ConfigError, Refusal};
use super::program::Program;
use super::refusal::inert;
use super::{file, foreign, merge};
use crate::cli::output::stdio::say;
use crate::types::{limits, path_text};

/// A command line that clap has read.
#[derive(Debug)]
pub struct CommandLine {
    /// The values of all flags, wherever they come from.
    pub matches: ArgMatches,
    /// The long names of the flags that were typed.
    pub typed_flags: Vec<String>,
}

/// Reads a command line with what `environment` and a file add to it. The first word is the program's name.
///
/// # Errors
/// [`Refusal`].
pub fn read(
    program: Program,
    command: &Command,
    arguments: impl IntoIterator<Item = OsString>,
    environment: &dyn Fn(&str) -> Option<OsString>,
) -> Result<CommandLine, Refusal> {
    let typed: Vec<OsString> = arguments.into_iter().collect();
    let as_typed = || {
        let read = command.clone().try_get_matches_from(&typed);
        let matches = read.map_err(|error| Refusal::Clap(inert(error, &typed)))?;
        Ok(CommandLine { matches, typed_flags: Vec::new() })
    };
    let Ok(given) = merge::relaxed(command).try_get_matches_from(&typed) else { return as_typed() };
    let line = merge::Line::new(command, &given, typed.first().cloned().unwrap_or_default());
    if !line.is_configurable() {
        return as_typed();
    }
    let path = line.config_path(environment).or_else(|| default_path(program, environment));
    let entries = match &path {
        Some(path) => {
            let shown = path_text(path);
            let text = read_file(path).map_err(|why| ConfigError::File { path: shown.clone(), why })?;
            let form = file::Form::of(path, &text);
            let entries = file::entries(&text, form)
                .map_err(|bad| ConfigError::File { path: format!("{shown}:{}", bad.line), why: bad.why })?;
            let (entries, unused) = match form {
                // Other systems use only these two forms.
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
    let matches = read.map_err(|error| Refusal::Clap(inert(error, &merged.arguments)))?;
    Ok(CommandLine { matches, typed_flags: line.typed_flags() })
}

/// The file that is read when no flag names one: the user's, else that of the system.
fn default_path(program: Program, environment: &dyn Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let absolute = |path: OsString| Some(PathBuf::from(path)).filter(|path| path.is_absolute());
    let home = environment("HOME").and_then(absolute).map(|home| home.join(".config"));
    let users = environment("XDG_CONFIG_HOME").and_then(absolute).or(home);
    let file = format!("nearpeer/{}.toml", program.name());
    let places = users.into_iter().chain([PathBuf::from("/etc")]);
    places.map(|place| place.join(&file)).find(|path| path.exists())
}

fn read_file(path: &Path) -> Result<String, String> {
    let text = |error: std::io::Error| error.to_string();
    let file = std::fs::File::open(path).map_err(text)?;
    let mut bytes = Vec::new();
    file.take(limits::CONFIG_MAX_BYTES + 1).read_to_end(&mut bytes).map_err(text)?;
    if bytes.len() as u64 > limits::CONFIG_MAX_BYTES {
        return Err(format!("has more than {} bytes: that is no configuration", limits::CONFIG_MAX_BYTES));
    }
    String::from_utf8(bytes).map_err(|_| "is not UTF-8".to_owned())
}
