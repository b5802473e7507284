//! Chooses the value of each flag, and records its origin. Pure: the environment comes in as a function, and
//! the file as a list of entries.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

use clap::builder::{OsStringValueParser, Resettable};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};

use super::error::ConfigError;
use super::file::Entry;
use super::program::Program;
use crate::types::Printable;

/// Flags that only a command line can set, not the environment or a file.
const TYPED_ONLY: [&str; 13] = [
    "as",
    "checksum",
    "config",
    "config-wins",
    "copies",
    "dir",
    "force",
    "help",
    "output",
    "print-config",
    "print-limits",
    "verify",
    "version",
];
/// The positional arguments of `node`, with their names in files and in the environment.
const POSITIONALS: [&str; 3] = ["ip", "port", "dir"];

/// The origin of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ValueOrigin {
    /// The command line.
    Typed,
    /// The variable of this name.
    Environment(String),
    /// The file: `<path>:<line>`.
    File(String),
    /// The default of the flag.
    Default,
    /// Computed from several values. `from` is the strongest of their origins.
    Derived { what: &'static str, from: Box<ValueOrigin> },
}

impl ValueOrigin {
    /// The rank of the origin: the value whose origin has the least rank wins.
    fn rank(&self, file_wins: bool) -> u8 {
        match self {
            ValueOrigin::File(_) if file_wins => 0,
            ValueOrigin::Typed => 1,
            ValueOrigin::Environment(_) => 2,
            ValueOrigin::File(_) => 3,
            ValueOrigin::Default => 4,
            ValueOrigin::Derived { from, .. } => from.rank(file_wins),
        }
    }

    /// Returns true if and only if the value comes from the command line.
    fn is_typed(&self) -> bool {
        match self {
            ValueOrigin::Derived { from, .. } => from.is_typed(),
            origin => *origin == ValueOrigin::Typed,
        }
    }
}

/// One flag and its value; `None`: the flag is not set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Setting {
    pub(super) key: String,
    pub(super) value: Option<OsString>,
    pub(super) origin: ValueOrigin,
}

/// A command line with all values that are not defaults.
#[derive(Debug)]
pub(super) struct MergedLine {
    /// The new command line, with the name of the program.
    pub(super) arguments: Vec<OsString>,
    /// All flags that the environment and a file can set, and the positional arguments of `node`.
    pub(super) settings: Vec<Setting>,
}

impl std::fmt::Display for ValueOrigin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ValueOrigin::Typed => f.write_str("command line"),
            ValueOrigin::Environment(name) => write!(f, "environment {name}"),
            ValueOrigin::File(place) => f.write_str(place),
            ValueOrigin::Default => f.write_str("default"),
            ValueOrigin::Derived { what, from } => write!(f, "{what} ({from})"),
        }
    }
}

/// Returns the command without required arguments, checks and defaults: it accepts any value of a flag, so
/// that a command line can be read before its missing values come from the environment or a file.
pub(super) fn relax(command: &Command) -> Command {
    let relax = |arg: Arg| {
        let arg = arg.required(false).default_value(Resettable::Reset);
        if arg.get_action().takes_values() { arg.value_parser(OsStringValueParser::new()) } else { arg }
    };
    let command = command.clone().mut_args(relax);
    command.mut_subcommands(move |verb| verb.mut_args(relax))
}

/// A command line as it was typed.
pub(super) struct TypedLine<'a> {
    program: OsString,
    /// The word of the command, such as `find`.
    verb: Option<&'a str>,
    /// The definition of the command, or of the program if there is no command.
    command: &'a Command,
    given: &'a ArgMatches,
}

impl<'a> TypedLine<'a> {
    /// `given`: the words as the result of [`relax`] reads them.
    pub(super) fn new(command: &'a Command, given: &'a ArgMatches, program: OsString) -> TypedLine<'a> {
        if let Some((verb, given)) = given.subcommand()
            && let Some(command) = command.find_subcommand(verb)
        {
            return TypedLine { program, verb: Some(verb), command, given };
        }
        TypedLine { program, verb: None, command, given }
    }

    /// Returns true if and only if the environment and a file can set flags of the command line.
    pub(super) fn is_configurable(&self) -> bool {
        let has = |id: &str| self.given.try_contains_id(id).is_ok();
        has("config") && !self.is_on("print_limits")
    }

    /// Returns true if and only if the command line has `--print-config`.
    pub(super) fn prints_config(&self) -> bool {
        self.is_on("print_config")
    }

    /// The file that a flag or the environment names.
    pub(super) fn config_path(
        &self,
        environment: &dyn Fn(&str) -> Option<OsString>,
    ) -> Option<std::path::PathBuf> {
        self.typed("config").or_else(|| environment("NEARPEER_CONFIG")).map(Into::into)
    }

    fn is_on(&self, id: &str) -> bool {
        matches!(self.given.try_get_one::<bool>(id), Ok(Some(true)))
    }

    fn is_typed(&self, id: &str) -> bool {
        self.given.value_source(id) == Some(ValueSource::CommandLine)
    }

    fn typed(&self, id: &str) -> Option<OsString> {
        if !self.is_typed(id) {
            return None;
        }
        self.given.try_get_raw(id).ok().flatten().and_then(|mut values| values.next()).map(OsStr::to_owned)
    }

    /// The typed values of a flag as one value, separated by commas.
    fn typed_joined(&self, id: &str) -> Option<OsString> {
        let all: Vec<_> = self.given.try_get_raw(id).ok().flatten()?.collect();
        Some(all.join(OsStr::new(",")))
    }

    /// Returns a new command line with all values that are not defaults: flags, then positional arguments.
    ///
    /// # Errors
    /// A value of the environment or the file that its flag does not accept.
    pub(super) fn merge(
        &self,
        environment: &dyn Fn(&str) -> Option<OsString>,
        path: &str,
        entries: &[Entry],
    ) -> Result<MergedLine, ConfigError> {
        let of_file: BTreeMap<&str, &Entry> =
            entries.iter().map(|entry| (entry.key.as_str(), entry)).collect();
        let file_wins = self.is_on("config_wins");
        let mut merged = MergedLine { arguments: vec![self.program.clone()], settings: Vec::new() };
        merged.arguments.extend(self.verb.map(OsString::from));
        let untyped = |key: &str| {
            let from_file = of_file.get(key).map(|entry| {
                (OsString::from(&entry.value), ValueOrigin::File(format!("{path}:{}", entry.line)))
            });
            let name = format!("NEARPEER_{}", key.replace('-', "_").to_uppercase());
            let from_environment = environment(&name).map(|value| (value, ValueOrigin::Environment(name)));
            if file_wins { from_file.or(from_environment) } else { from_environment.or(from_file) }
        };
        let file_wins_for = |key: &str| file_wins && of_file.contains_key(key);
        for arg in self.command.get_arguments() {
            let Some(long) = arg.get_long() else { continue };
            let (id, takes_value) = (arg.get_id().as_str(), arg.get_action().takes_values());
            let is_typed = self.is_typed(id);
            let can_be_configured = !TYPED_ONLY.contains(&long);
            let configured = can_be_configured.then(|| untyped(long)).flatten();
            let setting = match configured {
                Some((value, origin)) if !is_typed || file_wins_for(long) => {
                    let value = check_value(arg, takes_value, value, &origin)?;
                    Setting { key: long.to_owned(), value, origin }
                }
                _ if is_typed => {
                    let value = if takes_value { self.typed_joined(id) } else { Some("true".into()) };
                    Setting { key: long.to_owned(), value, origin: ValueOrigin::Typed }
                }
                _ => {
                    let default = arg.get_default_values().first().map(|value| value.to_os_string());
                    let value = if takes_value { default } else { Some("false".into()) };
                    Setting { key: long.to_owned(), value, origin: ValueOrigin::Default }
                }
            };
            if let (Some(value), true) = (&setting.value, setting.origin != ValueOrigin::Default) {
                let is_list = matches!(arg.get_action(), ArgAction::Append);
                merged.arguments.extend(flag_words(long, takes_value, is_list, value));
            }
            if can_be_configured {
                merged.settings.push(setting);
            }
        }
        let is_last = |arg: &&Arg| arg.is_last_set();
        let positionals = match self.verb {
            // The command has an argument for a name after `--`: only its value comes after the `--`.
            Some(_) if self.command.get_positionals().any(|arg| is_last(&arg)) => {
                merged.arguments.extend(self.typed_positionals(|arg| !is_last(arg)));
                self.typed_positionals(is_last)
            }
            Some(_) => self.typed_positionals(|_| true),
            None => self.merged_positionals(&untyped, file_wins, &mut merged.settings)?,
        };
        merged.arguments.push("--".into());
        merged.arguments.extend(positionals);
        Ok(merged)
    }

    /// The long names of the typed flags.
    pub(super) fn typed_flags(&self) -> Vec<String> {
        let typed = self.command.get_arguments().filter(|arg| self.is_typed(arg.get_id().as_str()));
        typed.filter_map(Arg::get_long).map(str::to_owned).collect()
    }

    fn typed_positionals(&self, is_wanted: impl Fn(&&Arg) -> bool) -> Vec<OsString> {
        let all = self.command.get_positionals().filter(is_wanted).map(|arg| arg.get_id().as_str());
        let typed =
            all.filter(|id| self.is_typed(id)).filter_map(|id| self.given.try_get_raw(id).ok().flatten());
        typed.flatten().map(OsStr::to_owned).collect()
    }

    /// Returns IP, PORT and DIR, and inserts them into `settings`. Each is typed, or from the environment or
    /// the file. The port can also be that of a numbered peer.
    ///
    /// # Errors
    /// A value that is not typed and cannot be used.
    fn merged_positionals(
        &self,
        untyped: &dyn Fn(&str) -> Option<(OsString, ValueOrigin)>,
        file_wins: bool,
        settings: &mut Vec<Setting>,
    ) -> Result<Vec<OsString>, ConfigError> {
        let args: Vec<_> = self.command.get_positionals().collect();
        if args.is_empty() {
            return Ok(Vec::new());
        }
        let rank = |origin: &ValueOrigin| origin.rank(file_wins);
        let derived = derived_port(settings, rank);
        let known_port = [untyped("port"), derived.clone()].into_iter().flatten().next();
        let mut typed: Vec<Option<OsString>> =
            self.typed_positionals(|_| true).into_iter().map(Some).collect();
        if let ([_, Some(second)], Some(_)) = (&typed[..], known_port) {
            // Two words are IP and DIR if the port is known, or IP and PORT if DIR is known.
            let is_number = second.to_str().is_some_and(|word| word.parse::<u16>().is_ok());
            if !is_number || (untyped("dir").is_none() && derived.is_some()) {
                typed.insert(1, None);
            }
        }
        let mut positionals = Vec::new();
        for (index, key) in POSITIONALS.into_iter().enumerate() {
            let typed = typed.get(index).cloned().flatten().map(|value| (value, ValueOrigin::Typed));
            let derived = derived.clone().filter(|_| key == "port");
            // Of two values with equal ranks the first wins: the value itself, not a computed one.
            let best =
                [typed, untyped(key), derived].into_iter().flatten().min_by_key(|(_, from)| rank(from));
            let takes_value = true;
            let (value, origin) = match best {
                // clap checks a typed value later, and its error needs no origin.
                Some((value, origin)) if origin.is_typed() => (Some(value), origin),
                Some((value, origin)) => match args.get(index) {
                    Some(arg) => (check_value(arg, takes_value, value, &origin)?, origin),
                    None => (Some(value), origin),
                },
                None => (None, ValueOrigin::Default),
            };
            settings.insert(index, Setting { key: key.to_owned(), value: value.clone(), origin });
            positionals.push(value);
        }
        // After a missing argument, clap would read the next one in its place.
        Ok(positionals.into_iter().map_while(|value| value).collect())
    }
}

/// The port of a numbered peer, which `--base-port` and `--id` give, with the stronger of their origins.
fn derived_port(settings: &[Setting], rank: impl Fn(&ValueOrigin) -> u8) -> Option<(OsString, ValueOrigin)> {
    let setting = |key: &str| settings.iter().find(|setting| setting.key == key && setting.value.is_some());
    let (base, id) = (setting("base-port")?, setting("id"));
    let port = port_of(base.value.as_ref()?, id.and_then(|id| id.value.as_ref()))?;
    let origins = [Some(base), id].into_iter().flatten().map(|setting| &setting.origin);
    let origin = origins.min_by_key(|origin| rank(origin))?;
    Some((port, ValueOrigin::Derived { what: "base-port and id", from: Box::new(origin.clone()) }))
}

/// The port of the peer `id`. The first peer has the port `base`: `peer2` and 7100 give 7101. clap refuses a
/// result that is too large.
fn port_of(base: &OsStr, id: Option<&OsString>) -> Option<OsString> {
    let base: u64 = base.to_str()?.parse().ok()?;
    let Some(id) = id else { return Some(base.to_string().into()) };
    let digits = id.to_str()?.trim_start_matches(|c: char| !c.is_ascii_digit()).parse::<u64>().ok()?;
    Some(base.saturating_add(digits.checked_sub(1)?).to_string().into())
}

/// A flag as the words of a command line. `is_list`: the flag can be given several times, and `value` has its
/// values separated by commas.
fn flag_words(long: &str, takes_value: bool, is_list: bool, value: &OsStr) -> Vec<OsString> {
    let with = |value: &OsStr| {
        let mut text = OsString::from(format!("--{long}="));
        text.push(value);
        text
    };
    match (takes_value, value.to_str()) {
        (false, on) => {
            if on == Some("true") {
                vec![format!("--{long}").into()]
            } else {
                Vec::new()
            }
        }
        (true, Some(values)) if is_list => values.split(',').map(|value| with(OsStr::new(value))).collect(),
        (true, _) => vec![with(value)],
    }
}

/// Checks that a flag accepts `value`. Returns the value, which is `true` or `false` for a flag without one.
///
/// # Errors
/// The place of the value, and why the flag does not accept it.
fn check_value(
    arg: &Arg,
    takes_value: bool,
    value: OsString,
    origin: &ValueOrigin,
) -> Result<Option<OsString>, ConfigError> {
    let bad = |why: String| ConfigError::Value { origin: origin.to_string(), why };
    let long = arg.get_long().unwrap_or_default();
    if !takes_value {
        let text = value.to_string_lossy().to_lowercase();
        return match text.as_str() {
            "true" | "yes" | "on" | "1" => Ok(Some("true".into())),
            "false" | "no" | "off" | "0" | "" => Ok(Some("false".into())),
            _ => Err(bad(format!("{long}: `{}` is neither true nor false", Printable(&text)))),
        };
    }
    // A program with only this flag makes clap check this value and nothing else.
    let alone =
        Command::new("").no_binary_name(true).disable_help_flag(true).arg(arg.clone().exclusive(false));
    let mut text = OsString::from(if arg.is_positional() { String::new() } else { format!("--{long}=") });
    text.push(&value);
    let words = arg.is_positional().then(|| "--".into()).into_iter().chain([text]);
    match alone.try_get_matches_from(words) {
        Ok(_) => Ok(Some(value)),
        Err(error) => {
            let text = error.to_string();
            let first = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
            Err(bad(Printable(first).to_string()))
        }
    }
}

/// Refuses a key that is not a flag of the program or of one of its commands.
pub(super) fn refuse_unknown(
    command: &Command,
    program: Program,
    path: &str,
    entries: &[Entry],
) -> Result<(), ConfigError> {
    let mut known: Vec<String> = std::iter::once(command)
        .chain(command.get_subcommands())
        .flat_map(|one| one.get_arguments().filter_map(Arg::get_long))
        .filter(|long| !TYPED_ONLY.contains(long))
        .map(str::to_owned)
        .collect();
    if program == Program::Node {
        known.extend(POSITIONALS.map(str::to_owned));
    }
    for Entry { key, line, .. } in entries {
        if known.contains(key) {
            continue;
        }
        let likeness = |one: &String| strsim::normalized_damerau_levenshtein(key, one);
        let best = known.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
        // Below this likeness the known key is probably not the one that the user wanted.
        let hint = match best.filter(|best| likeness(best) >= 0.6) {
            Some(best) => format!("did you mean `{best}`?"),
            None => format!("keys are the long flags of `{} --help`", program.name()),
        };
        let origin = format!("{path}:{line}");
        return Err(ConfigError::Value { origin, why: format!("unknown key `{}`: {hint}", Printable(key)) });
    }
    Ok(())
}

/// Each setting as a line of TOML, with its origin as a comment.
pub(super) fn settings_text(settings: &[Setting]) -> String {
    let line = |setting: &Setting| {
        let Setting { key, value, origin } = setting;
        let Some(value) = value else { return format!("# {key} is not set") };
        let value = value.to_string_lossy();
        let value = match value.as_ref() {
            "true" | "false" => value.into_owned(),
            // Strings of JSON are strings of TOML.
            text => serde_json::Value::String(text.to_owned()).to_string(),
        };
        format!("{key} = {value} # {origin}")
    };
    settings.iter().map(line).collect::<Vec<_>>().join("\n")
}
