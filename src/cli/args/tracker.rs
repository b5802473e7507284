//! The command line of `tracker`.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::time::Duration;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use super::http::HttpArgs;
use super::log::LogArgs;
use super::shared::{
    CompletionsArgs, ConfigArgs, ShowArgs, environment, limits_text, prints_limits, with_commands,
};
use super::values::{address, count, grace};
use crate::cli::config::{self, Program, Refusal};
use crate::rt::EventBroadcast;
use crate::tracker::TrackerConfig;
use crate::types::limits;

/// How often the tracker checks for missed heartbeats.
const SWEEP: Duration = Duration::from_millis(100);

/// The flags of `tracker`.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "tracker",
    version,
    about = "Keeps the list of nodes and of the files that each node shares."
)]
#[command(next_line_help = true)]
pub struct TrackerArgs {
    /// Where to listen; port 0 picks a free one
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:5025", value_parser = address)]
    pub listen: SocketAddr,
    /// Threads that serve connections
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = count(1, 64))]
    pub fronts: u64,
    /// Maximum number of connections with an incomplete request, for each thread
    #[arg(long, value_name = "N", default_value_t = limits::INCOMPLETE_MAX as u64)]
    #[arg(value_parser = count(1, 1 << 20))]
    pub max_incomplete: u64,
    /// Maximum number of these connections from one address
    #[arg(long, value_name = "N", default_value_t = limits::INCOMPLETE_PER_ADDRESS_MAX as u64)]
    #[arg(value_parser = count(1, 1 << 20))]
    pub max_incomplete_per_address: u64,
    /// Live copies of every file on nodes that keep copies; 0: only copies that a user requests
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub replicas: u32,
    /// How long the tracker waits for a lost node before it has other nodes copy its files
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = grace)]
    pub replica_grace: Duration,
    /// Flags about pages.
    #[command(flatten)]
    pub pages: HttpArgs,
    /// Flags about the log.
    #[command(flatten)]
    pub log: LogArgs,
    /// Print everything as lines of JSON on standard output
    #[arg(long)]
    pub json: bool,
    /// Read no commands; serve until INT or TERM
    #[arg(long)]
    pub headless: bool,
    /// Flags about the configuration.
    #[command(flatten)]
    pub config: ConfigArgs,
    #[command(flatten)]
    show: ShowArgs,
}

/// The commands of `tracker`, in place of serving.
#[derive(Debug, Clone, Subcommand)]
pub enum TrackerCommand {
    /// Print completions for a shell
    Completions(CompletionsArgs),
}

/// What a command line of `tracker` is for.
#[derive(Debug)]
pub enum TrackerRun {
    /// Run a tracker.
    Serve(Box<TrackerArgs>),
    /// Print completions.
    Completions(clap_complete::Shell),
}

/// The command line of `tracker` for clap.
pub fn tracker_command() -> clap::Command {
    let command = with_commands::<TrackerCommand>(TrackerArgs::command());
    command.args_conflicts_with_subcommands(true).disable_help_subcommand(true)
}

/// Reads the arguments of `tracker`. The first one is the program's name.
///
/// # Errors
/// [`Refusal`].
pub fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<TrackerRun, Refusal> {
    let command = tracker_command();
    let line = config::read(Program::Tracker, &command, arguments, &environment)?;
    if line.matches.subcommand().is_some() {
        let TrackerCommand::Completions(args) = TrackerCommand::from_arg_matches(&line.matches)?;
        return Ok(TrackerRun::Completions(args.shell));
    }
    if prints_limits(&line.matches) {
        return Err(Refusal::Show(limits_text()));
    }
    Ok(TrackerRun::Serve(Box::new(TrackerArgs::from_arg_matches(&line.matches)?)))
}

impl TrackerArgs {
    /// The configuration of the tracker, whose events go to `events`.
    pub fn config(&self, events: EventBroadcast) -> TrackerConfig {
        // The ranges of the flags fit every usize.
        let count = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        TrackerConfig {
            listen: self.listen,
            fronts: count(self.fronts),
            incomplete_max: count(self.max_incomplete),
            incomplete_per_address_max: count(self.max_incomplete_per_address),
            sweep: SWEEP,
            replicas: self.replicas,
            events,
            replica_grace: self.replica_grace,
            ..TrackerConfig::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> impl Iterator<Item = OsString> {
        line.split_whitespace().map(OsString::from)
    }

    fn check_error(line: &str, expected: &[&str]) {
        let error = TrackerArgs::try_parse_from(words(line)).expect_err(line);
        assert_eq!(error.exit_code(), 2, "{line}");
        let text = error.to_string();
        for part in expected {
            assert!(text.contains(part), "{line}: {text}");
        }
    }

    #[test]
    fn clap_accepts_the_definition() {
        tracker_command().debug_assert();
    }

    #[test]
    fn a_command_line_without_flags_has_the_documented_defaults() {
        let args = TrackerArgs::try_parse_from(words("tracker")).expect("no arguments are needed");
        assert_eq!(args.config(EventBroadcast::default()).listen.to_string(), "127.0.0.1:5025");
        assert_eq!((args.fronts, args.max_incomplete, args.max_incomplete_per_address), (2, 1024, 128));
        assert_eq!((args.replicas, args.replica_grace), (0, Duration::from_secs(30)));
    }

    #[test]
    fn an_error_names_the_bad_value() {
        check_error("tracker --listen localhost", &["'localhost'"]);
        check_error("tracker --listen 127.0.0.1:70000", &["'127.0.0.1:70000'"]);
        check_error("tracker --fronts 0", &["'0'"]);
        check_error("tracker --replica-grace 999ms", &["1s to 1day"]);
        check_error("tracker --replica-grace soon", &["'soon'", "5m"]);
    }

    #[test]
    fn print_limits_needs_no_other_argument() {
        assert!(matches!(read(words("tracker --print-limits")), Err(Refusal::Show(_))));
    }
}
