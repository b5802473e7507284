//! The commands of a command line: the commands that need no running node, `verify` and `completions`, with
//! the flags that say which swarm and which directory they use.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, FromArgMatches, Subcommand};

use super::command::{Command, ListScope};
use super::shared::{CompletionsArgs, ConfigArgs};
use super::values::{address, time};
use crate::cli::config::CommandLine;
use crate::cli::output::progress::ProgressFlag;
use crate::types::{FileName, Layout, Millis};

/// The flags that only a guest uses. A node that runs the command has its own settings.
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

/// The flags of all commands: which swarm and which directory a command uses, and how it prints.
#[derive(Debug, Clone, Args)]
pub struct CommonArgs {
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

/// The flag of the commands that read a directory without a node.
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
    /// The flags of all commands.
    pub common: CommonArgs,
    /// Of `download`: the file to write.
    pub output: Option<PathBuf>,
    /// Of `download`: further rounds when all sources fail.
    pub retries: u32,
    /// Of `download`: how progress is shown.
    pub progress: ProgressFlag,
    /// The typed flags that have no effect if a node runs the command.
    pub typed_guest_flags: Vec<&'static str>,
    /// Of `list`: the layout of a directory that no node shares; `None`: as the directory looks.
    pub layout: Option<Layout>,
}

/// `verify`, and how it is run.
#[derive(Debug, Clone)]
pub struct VerifyInvocation {
    /// The files; empty: all of the directory.
    pub names: Vec<FileName>,
    /// The flags of all commands.
    pub common: CommonArgs,
    /// The layout of the directory; `None`: as the directory looks.
    pub layout: Option<Layout>,
}

/// The meaning of a command line with a command.
#[derive(Debug)]
pub(super) enum OneShot {
    Command(Invocation),
    Verify(VerifyInvocation),
    Completions(clap_complete::Shell),
}

/// Adds the flags that a command has on a command line, and keeps its description.
pub(super) fn with_flags(command: clap::Command) -> clap::Command {
    let name = command.get_name().to_owned();
    // `augment_args` replaces the description by that of the flags.
    let about = command.get_about().cloned().unwrap_or_default();
    let command = match name.as_str() {
        "completions" => command,
        "download" => CommonArgs::augment_args(OutputArgs::augment_args(command)),
        "list" | "verify" => CommonArgs::augment_args(LayoutArgs::augment_args(command)),
        _ => CommonArgs::augment_args(command),
    };
    command.about(about)
}

impl OneShot {
    /// The meaning of a command line that clap has read.
    ///
    /// # Errors
    /// A command line that lacks a required argument.
    pub(super) fn of_line(line: &CommandLine) -> Result<OneShot, clap::Error> {
        let command = OneShotCommand::from_arg_matches(&line.matches)?;
        let given = line.matches.subcommand().map_or(&line.matches, |(_, given)| given);
        let mut command = match command {
            OneShotCommand::Swarm(command) => command,
            OneShotCommand::Completions(args) => return Ok(OneShot::Completions(args.shell)),
            OneShotCommand::Verify(VerifyArgs { names }) => {
                let LayoutArgs { layout } = LayoutArgs::from_arg_matches(given)?;
                let common = CommonArgs::from_arg_matches(given)?;
                return Ok(OneShot::Verify(VerifyInvocation { names, common, layout }));
            }
        };
        let common = CommonArgs::from_arg_matches(given)?;
        let (mut output, mut retries, mut progress, mut layout) = (None, 0, ProgressFlag::Auto, None);
        match &mut command {
            Command::Download(_) => {
                OutputArgs { output, retries, progress } = OutputArgs::from_arg_matches(given)?;
            }
            Command::List(list) => {
                LayoutArgs { layout } = LayoutArgs::from_arg_matches(given)?;
                // Without a directory there are only the files of the swarm.
                if common.dir.is_none() {
                    list.listed.get_or_insert(ListScope::Swarm);
                }
            }
            _ => {}
        }
        let is_typed = |flag: &&str| line.typed_flags.iter().any(|typed| typed == flag);
        let typed_guest_flags = GUEST_FLAGS.into_iter().filter(is_typed).collect();
        Ok(OneShot::Command(Invocation {
            command,
            common,
            output,
            retries,
            progress,
            typed_guest_flags,
            layout,
        }))
    }
}
