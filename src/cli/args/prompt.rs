//! The command language of a prompt or a pipe: the commands that need a running node, and how a line becomes
//! a command.
//!
//! A line is split into words as by a shell: with quotes, backslashes, and `#` before a comment. clap reads
//! the words. Text of the line in an error is escaped.

use clap::builder::PossibleValue;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, FromArgMatches, Subcommand, ValueEnum};
use thiserror::Error;

use super::command::{Command, DownloadArgs, ListArgs, ListScope, QueryArg};
use super::values::rate;
use crate::cli::config::make_inert;
use crate::node::JobId;

/// The program of a prompt, which decides its commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// The prompt of a node.
    Node,
    /// The prompt of a tracker. A guest runs its commands.
    Tracker,
}

/// The meaning of a line.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum PromptCommand {
    /// A command that needs no prompt.
    #[command(flatten)]
    Swarm(Command),
    /// A download that the prompt does not wait for.
    #[command(skip)]
    Background(DownloadArgs),
    /// Show the downloads of this node
    Jobs,
    /// Pause a download
    Pause(JobArgs),
    /// Resume a paused download
    Resume(JobArgs),
    /// Cancel a download
    Cancel(JobArgs),
    /// Wait until a download, or every background download, has ended
    Wait(WaitArgs),
    /// Show or change how fast all uploads together may be
    Limit(LimitArgs),
    /// Show this text
    #[command(aliases = ["?", "h"])]
    Help(HelpArgs),
    /// The help of one command.
    #[command(skip)]
    HelpText(String),
    /// Leave
    #[command(visible_alias = "quit")]
    Exit,
}

/// A download of this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Args)]
pub struct JobArgs {
    /// Its number, as `jobs` shows it
    #[arg(value_name = "N", value_parser = job_id)]
    pub id: JobId,
}

/// `wait`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Args)]
pub struct WaitArgs {
    /// The number of the download, as `jobs` shows it; without it: all background downloads
    #[arg(value_name = "N", value_parser = job_id)]
    pub id: Option<JobId>,
}

/// `limit`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Args)]
pub struct LimitArgs {
    /// Bytes per second, as in 512k, 10M or 1GiB; without it: show the limit
    #[arg(value_name = "RATE|off", value_parser = upload_limit)]
    pub limit: Option<UploadLimit>,
}

/// How fast all uploads together may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UploadLimit {
    /// There is no limit.
    Off,
    /// Bytes per second.
    BytesPerS(u64),
}

impl UploadLimit {
    /// Bytes per second; `None`: no limit.
    pub fn bytes_per_s(self) -> Option<u64> {
        match self {
            UploadLimit::Off => None,
            UploadLimit::BytesPerS(rate) => Some(rate),
        }
    }
}

/// `help`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct HelpArgs {
    /// Ignored: there is one page.
    #[arg(hide = true, allow_hyphen_values = true, trailing_var_arg = true)]
    words: Vec<String>,
}

/// The commands of a tracker's prompt.
#[derive(Debug, Clone, Subcommand)]
enum TrackerWords {
    /// Show the nodes that are known
    Nodes,
    /// Show the names that have a live holder
    Files,
    /// Show nodes or files
    #[command(hide = true)]
    List(TrackerListArgs),
    /// Show who has a file, best source first, as seen from here
    #[command(alias = "lookup")]
    Find(QueryArg),
    /// Show how many nodes there are, and counters of requests to the tracker
    Stats,
    /// Show this text
    #[command(aliases = ["?", "h"])]
    Help(HelpArgs),
    /// Leave the prompt and stop the tracker
    #[command(visible_aliases = ["exit", "quit"])]
    Stop,
}

/// `list` at a tracker's prompt.
#[derive(Debug, Clone, Copy, Args)]
struct TrackerListArgs {
    #[arg(value_name = "nodes|files", hide_possible_values = true)]
    listed: TrackerList,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum TrackerList {
    Nodes,
    Files,
}

impl From<TrackerWords> for PromptCommand {
    fn from(words: TrackerWords) -> PromptCommand {
        match words {
            TrackerWords::Nodes | TrackerWords::List(TrackerListArgs { listed: TrackerList::Nodes }) => {
                PromptCommand::Swarm(Command::Nodes)
            }
            TrackerWords::Files | TrackerWords::List(TrackerListArgs { listed: TrackerList::Files }) => {
                PromptCommand::Swarm(Command::List(ListArgs { listed: Some(ListScope::Swarm) }))
            }
            TrackerWords::Find(query) => PromptCommand::Swarm(Command::Find(query)),
            TrackerWords::Stats => PromptCommand::Swarm(Command::Stats),
            TrackerWords::Help(args) => PromptCommand::Help(args),
            TrackerWords::Stop => PromptCommand::Exit,
        }
    }
}

/// Why a line is not a command. Text of the line in the error is escaped.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ParseError {
    /// The line cannot be split into words.
    #[error("a quote is not closed, or a backslash ends the line: close it, or put the name in other quotes")]
    UnbalancedQuote,
    /// clap does not know the words.
    #[error("{0}")]
    Words(String),
}

/// A command and the words that may come after it, for completion.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CommandWords {
    /// The command and its other names.
    pub names: Vec<String>,
    /// Its options, each with its dashes.
    pub options: Vec<String>,
    /// The words that its first argument may be.
    pub values: Vec<String>,
    /// The command takes the name of a file.
    pub takes_name: bool,
}

/// Reads the lines of one prompt.
#[derive(Debug)]
pub struct Grammar {
    language: Language,
    /// Kept, because clap takes longer to build a definition than to read a line.
    command: clap::Command,
}

impl Grammar {
    /// The grammar of a prompt.
    pub fn new(language: Language) -> Grammar {
        let command = clap::Command::new("prompt")
            .no_binary_name(true)
            .disable_help_subcommand(true)
            .subcommand_required(true);
        let command = match language {
            Language::Node => PromptCommand::augment_subcommands(command),
            Language::Tracker => TrackerWords::augment_subcommands(command),
        };
        let page = page(&command, language);
        Grammar { language, command: command.override_help(page) }
    }

    /// Reads one line. `None`: the line has no word.
    ///
    /// # Errors
    /// See [`ParseError`].
    pub fn parse(&mut self, line: &str) -> Result<Option<PromptCommand>, ParseError> {
        let mut words = shlex::split(line).ok_or(ParseError::UnbalancedQuote)?;
        if words.is_empty() {
            return Ok(None);
        }
        let in_background = self.language == Language::Node
            && matches!(&words[..], [verb, _, .., last] if verb == "download" && last == "&");
        if in_background {
            words.pop();
        }
        match self.read(&words) {
            Ok(PromptCommand::Swarm(Command::Download(download))) if in_background => {
                Ok(Some(PromptCommand::Background(download)))
            }
            Ok(PromptCommand::Help(_)) => Ok(Some(PromptCommand::HelpText(self.help()))),
            Ok(command) => Ok(Some(command)),
            Err(error) if error.kind() == ErrorKind::DisplayHelp => {
                Ok(Some(PromptCommand::HelpText(error.to_string().trim_end().to_owned())))
            }
            Err(error) => {
                let names: Vec<String> = self.words().into_iter().flat_map(|words| words.names).collect();
                Err(ParseError::Words(error_text(&make_inert(error, &[]), &names)))
            }
        }
    }

    fn read(&mut self, words: &[String]) -> Result<PromptCommand, clap::Error> {
        let matches = self.command.try_get_matches_from_mut(words)?;
        match self.language {
            Language::Node => PromptCommand::from_arg_matches(&matches),
            Language::Tracker => TrackerWords::from_arg_matches(&matches).map(PromptCommand::from),
        }
    }

    /// What `help` shows: a line for each command.
    pub fn help(&self) -> String {
        page(&self.command, self.language)
    }

    /// All commands and the words that may come after each.
    pub fn words(&self) -> Vec<CommandWords> {
        self.command.get_subcommands().map(words_of).collect()
    }
}

/// The words that begin a command of this language, in order.
pub fn command_names(language: Language) -> Vec<String> {
    let grammar = Grammar::new(language);
    let mut names: Vec<String> = grammar.words().into_iter().flat_map(|words| words.names).collect();
    names.sort();
    names
}

fn words_of(command: &clap::Command) -> CommandWords {
    let is_shown = !command.is_hide_set();
    let names = command.get_name_and_visible_aliases().into_iter().filter(|_| is_shown).map(str::to_owned);
    let names: Vec<String> = names.collect();
    let options = command.get_arguments().filter_map(clap::Arg::get_long).filter(|long| *long != "help");
    let mut options: Vec<String> = options.map(|long| format!("--{long}")).collect();
    options.sort();
    let first = command.get_positionals().next();
    let values = first.map(clap::Arg::get_possible_values).unwrap_or_default();
    CommandWords {
        // A hidden command keeps its name, so that its arguments are completed.
        names: if names.is_empty() { vec![command.get_name().to_owned()] } else { names },
        options,
        values: values.iter().map(PossibleValue::get_name).map(str::to_owned).collect(),
        takes_name: first.is_some_and(|arg| ["query", "name"].contains(&arg.get_id().as_str())),
    }
}

/// The help of all commands.
fn page(command: &clap::Command, language: Language) -> String {
    const COLUMN: usize = 36;
    let mut lines = Vec::new();
    for command in command.get_subcommands().filter(|command| !command.is_hide_set()) {
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        let usage = command.clone().disable_help_flag(true).render_usage().to_string();
        let usage = usage.trim_start_matches("Usage: ").trim();
        if usage.len() < COLUMN {
            lines.push(format!("{usage:COLUMN$}{about}"));
        } else {
            lines.push(usage.to_owned());
            lines.push(format!("{:COLUMN$}{about}", ""));
        }
    }
    let footer = match language {
        Language::Node => {
            "`COMMAND --help` shows the options of a command. `download NAME &` runs in the background.\n\
             Quote a name that has spaces: download 'my file'. Put -- before a name that begins with a dash."
        }
        Language::Tracker => "Quote a name that has spaces: find 'my file'.",
    };
    lines.push(footer.to_owned());
    lines.join("\n")
}

/// An error of clap as one line. `names`: all commands of the prompt.
fn error_text(error: &clap::Error, names: &[String]) -> String {
    if let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidSubcommand) {
        return match closest(word, names) {
            Some(name) => format!("unknown command `{word}`: did you mean `{name}`?"),
            None => format!("unknown command `{word}`: help lists them"),
        };
    }
    let text = error.to_string();
    let lines = text.trim_start_matches("error: ").lines().map(str::trim);
    let useful = lines.filter(|line| !line.is_empty() && !line.starts_with("For more information"));
    useful.fold(String::new(), |text, line| match text.as_str() {
        "" => line.to_owned(),
        text if text.ends_with(':') => format!("{text} {line}"),
        text => format!("{text}; {line}"),
    })
}

/// The command that the user probably wanted to type.
fn closest<'a>(word: &str, names: &'a [String]) -> Option<&'a str> {
    const LIKELY: f64 = 0.6;
    // The comparison takes quadratic time, and no user mistypes a short command by this much.
    if word.len() > 32 {
        return None;
    }
    let word = word.to_lowercase();
    let likeness = |name: &str| {
        if name.starts_with(&word) { 1.0 } else { strsim::normalized_damerau_levenshtein(&word, name) }
    };
    let best = names.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
    (likeness(best) > LIKELY).then_some(best)
}

fn job_id(text: &str) -> Result<JobId, &'static str> {
    text.parse().map(JobId).map_err(|_| "`jobs` lists the numbers of downloads")
}

fn upload_limit(text: &str) -> Result<UploadLimit, String> {
    if text == "off" {
        return Ok(UploadLimit::Off);
    }
    rate(text).map(UploadLimit::BytesPerS).map_err(|why| format!("{why}, or off"))
}

#[cfg(test)]
mod tests;
