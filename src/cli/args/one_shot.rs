//! The commands of a command line: those of the prompt that need no running node, `verify` and
//! `completions`, with the flags that say which swarm and which directory they use.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, FromArgMatches, Subcommand};

use super::command::{Command, Listed};
use super::shared::{CompletionsArgs, ConfigArgs};
use super::values::{address, time};
use crate::cli::config::CommandLine;
use crate::cli::output::progress::ProgressFlag;
use crate::types::{FileName, Layout, Millis};

/// Flags for a guest. A node that runs the command has settings of its own.
const GUEST_FLAGS: [&str; 6] =
    ["as", "default-latency-ms", "latency-file", "load-weight", "retries", "tracker"];

/// One command of a command line.
#[derive(Debug, Clone, Subcommand)]
pub(super) enum OneShotCommand {
    #[command(flatten)]
    Swarm(Command),
    /// Hash the files of a directory and compare them with what is published under their names
    Verify(VerifyArgs),
    /// Print completions for a shell
    Completions(CompletionsArgs),
}

/// Which swarm and which directory a command uses.
#[derive(Debug, Clone, Args)]
pub struct AskArgs {
    /// Where the tracker is
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:5025", value_parser = address)]
    pub tracker: SocketAddr,
    /// Directory; a node that shares it runs the command
    #[arg(short, long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Print everything as lines of JSON
    #[arg(long)]
    pub json: bool,
    /// Give up after this time, with exit code 6
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub timeout: Option<Duration>,
    /// Latencies; none: measure [latency.txt if here]
    #[arg(long, value_name = "FILE|none")]
    pub latency_file: Option<PathBuf>,
    /// The node whose rows of the latency file apply
    #[arg(long = "as", value_name = "IP:PORT", value_parser = address)]
    pub as_node: Option<SocketAddr>,
    /// Latency of other pairs
    #[arg(long, value_name = "MS", default_value = "100", allow_negative_numbers = true)]
    pub default_latency_ms: Millis,
    /// Cost of one transfer of load
    #[arg(long, value_name = "MS", default_value = "10", allow_negative_numbers = true)]
    pub load_weight: Millis,
    /// Flags about the configuration.
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// Flags of `download`.
#[derive(Debug, Clone, Args)]
struct OutputArgs {
    /// Write to this file; -: to standard output, once the whole file is verified
    #[arg(short, long, value_name = "FILE", conflicts_with = "dir")]
    output: Option<PathBuf>,
    /// More rounds when all sources fail
    #[arg(long, allow_negative_numbers = true, value_name = "N", default_value_t = 4)]
    #[arg(value_parser = clap::value_parser!(u32).range(0..=1000))]
    retries: u32,
    /// How the download shows its progress
    #[arg(long, value_enum, hide_possible_values = true, value_name = "auto|bar|plain|json|none")]
    #[arg(default_value = "auto")]
    progress: ProgressFlag,
}

/// The flag of commands that read a directory themselves.
#[derive(Debug, Clone, Args)]
struct LayoutArgs {
    /// Layout of the directory [default: as it looks]
    #[arg(long, value_name = "flat|split")]
    layout: Option<Layout>,
}

/// `verify`.
#[derive(Debug, Clone, Args)]
pub(super) struct VerifyArgs {
    /// Names in the directory [default: all of its files]
    #[arg(value_name = "NAME")]
    names: Vec<FileName>,
}

/// One command, and how it is run.
#[derive(Debug, Clone)]
pub struct Invocation {
    /// The command.
    pub command: Command,
    /// Which swarm and directory it uses.
    pub ask: AskArgs,
    /// Of `download`: the file to write.
    pub output: Option<PathBuf>,
    /// Of `download`: further rounds when all sources fail.
    pub retries: u32,
    /// Of `download`: how progress is shown.
    pub progress: ProgressFlag,
    /// Typed flags that a node which runs the command does not use.
    pub guest_flags: Vec<&'static str>,
    /// Of a directory that no node shares; `None`: as it looks.
    pub layout: Option<Layout>,
}

/// `verify`, and how it is run.
#[derive(Debug, Clone)]
pub struct VerifyInvocation {
    /// The files; empty: all of the directory.
    pub names: Vec<FileName>,
    /// Which swarm and directory it uses.
    pub ask: AskArgs,
    /// `None`: as the directory looks.
    pub layout: Option<Layout>,
}

/// The meaning of a command line with a command.
#[derive(Debug)]
pub(super) enum OneShot {
    Command(Invocation),
    Verify(VerifyInvocation),
    Completions(clap_complete::Shell),
}

/// A command of the prompt with the flags that it has on a command line. Its description stays its own.
pub(super) fn with_flags(command: clap::Command) -> clap::Command {
    let name = command.get_name().to_owned();
    let about = command.get_about().cloned().unwrap_or_default();
    let command = match name.as_str() {
        "completions" => command,
        "download" => AskArgs::augment_args(OutputArgs::augment_args(command)),
        "list" | "verify" => AskArgs::augment_args(LayoutArgs::augment_args(command)),
        _ => AskArgs::augment_args(command),
    };
    command.about(about)
}

impl OneShot {
    /// The meaning of a command line that clap has read.
    ///
    /// # Errors
    /// Values that clap did not check.
    pub(super) fn of_line(line: &CommandLine) -> Result<OneShot, clap::Error> {
        let command = OneShotCommand::from_arg_matches(&line.matches)?;
        let given = line.matches.subcommand().map_or(&line.matches, |(_, given)| given);
        let mut command = match command {
            OneShotCommand::Swarm(command) => command,
            OneShotCommand::Completions(args) => return Ok(OneShot::Completions(args.shell)),
            OneShotCommand::Verify(VerifyArgs { names }) => {
                let LayoutArgs { layout } = LayoutArgs::from_arg_matches(given)?;
                let ask = AskArgs::from_arg_matches(given)?;
                return Ok(OneShot::Verify(VerifyInvocation { names, ask, layout }));
            }
        };
        let ask = AskArgs::from_arg_matches(given)?;
        let (mut output, mut retries, mut progress, mut layout) = (None, 0, ProgressFlag::Auto, None);
        match &mut command {
            Command::Download(_) => {
                OutputArgs { output, retries, progress } = OutputArgs::from_arg_matches(given)?;
            }
            Command::List(list) => {
                LayoutArgs { layout } = LayoutArgs::from_arg_matches(given)?;
                if ask.dir.is_none() {
                    list.listed.get_or_insert(Listed::Swarm);
                }
            }
            _ => {}
        }
        let is_typed = |flag: &&str| line.typed_flags.iter().any(|typed| typed == flag);
        let guest_flags = GUEST_FLAGS.into_iter().filter(is_typed).collect();
        Ok(OneShot::Command(Invocation { command, ask, output, retries, progress, guest_flags, layout }))
    }
}
