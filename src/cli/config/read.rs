//! Reads a command line together with the values of the environment and of a configuration file.

use std::ffi::OsString;
use std::io::Read;
use std::path::{Path, PathBuf};

use clap::{ArgMatches, Command};

use super::error::{ConfigError, Refusal};
use super::inert::make_inert;
use super::program::Program;
use super::{file, foreign, merge};
use crate::cli::output::stdio::say;
use crate::types::{limits, path_text};

/// A command line that clap has read.
#[derive(Debug)]
pub struct CommandLine {
    /// The values of all flags, wherever they come from.
    pub matches: ArgMatches,
    /// The long names of the flags that were typed. Empty for a command line without a configuration.
    pub typed_flags: Vec<String>,
}

/// Reads a command line together with the values of `environment` and of a file. The first word is the
/// program's name. An empty variable of the environment counts as unset.
///
/// # Errors
/// [`Refusal`].
pub fn read(
    program: Program,
    command: &Command,
    arguments: impl IntoIterator<Item = OsString>,
    environment: &dyn Fn(&str) -> Option<OsString>,
) -> Result<CommandLine, Refusal> {
    let environment: &dyn Fn(&str) -> Option<OsString> =
        &|name| environment(name).filter(|value| !value.is_empty());
    let typed: Vec<OsString> = arguments.into_iter().collect();
    let as_typed = || {
        let result = command.clone().try_get_matches_from(&typed);
        let matches = result.map_err(|error| Refusal::Clap(make_inert(error, &typed)))?;
        Ok(CommandLine { matches, typed_flags: Vec::new() })
    };
    let Ok(given) = merge::relax(command).try_get_matches_from(&typed) else { return as_typed() };
    let line = merge::TypedLine::new(command, &given, typed.first().cloned().unwrap_or_default());
    if !line.is_configurable() {
        return as_typed();
    }
    let path = line.config_path(environment).or_else(|| default_path(program, environment));
    let (origin_path, entries) = match &path {
        Some(path) => {
            let shown_path = path_text(path);
            let text = read_file(path).map_err(|why| ConfigError::File { path: shown_path.clone(), why })?;
            let format = file::Format::of(path, &text);
            let entries = file::entries(&text, format).map_err(|bad| ConfigError::File {
                path: format!("{shown_path}:{}", bad.line),
                why: bad.why,
            })?;
            let (entries, unused) = match format {
                // Other systems use only these two formats.
                file::Format::Ini | file::Format::Json => foreign::translate(program, &entries),
                file::Format::Toml => (entries, Vec::new()),
            };
            if !unused.is_empty() {
                say(&format!("{shown_path}: not used here: {}", unused.join(", ")));
            }
            merge::refuse_unknown(command, program, &shown_path, &entries)?;
            (shown_path, entries)
        }
        None => (String::new(), Vec::new()),
    };
    let merged = line.merge(environment, &origin_path, &entries)?;
    if line.prints_config() {
        return Err(Refusal::Show(merge::settings_text(&merged.settings)));
    }
    let result = command.clone().try_get_matches_from(&merged.arguments);
    let matches = result.map_err(|error| Refusal::Clap(make_inert(error, &merged.arguments)))?;
    Ok(CommandLine { matches, typed_flags: line.typed_flags() })
}

/// The file that is read if neither a flag nor the environment names one: the file of the user, or else that
/// of the system.
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
        return Err(format!("has more than {} bytes: that is not a configuration", limits::CONFIG_MAX_BYTES));
    }
    String::from_utf8(bytes).map_err(|_| "is not UTF-8".to_owned())
}
