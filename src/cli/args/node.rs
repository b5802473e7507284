//! The command line of `node`: a directory to share, or one command.

use std::ffi::OsString;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use clap::{CommandFactory, FromArgMatches, Parser};

use super::http::HttpArgs;
use super::log::LogArgs;
use super::one_shot::{self, Invocation, OneShot, OneShotCommand, VerifyInvocation};
use super::shared::{
    ConfigArgs, ShowArgs, environment, latency_source, limits_text, prints_limits, with_commands,
};
use super::values::{Heartbeat, Switch, address, heartbeat, ip, peer_id, rate, size};
use crate::cli::config::{self, CommandLine, Program, Refusal};
use crate::cli::output::progress::ProgressFlag;
use crate::node::{LatencySource, Membership, NodeConfig};
use crate::rt::EventBroadcast;
use crate::types::{DatasetSpec, Layout, Millis};

/// The flags of `node` when it shares a directory.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "node",
    version,
    about = "Shares one directory, and finds and downloads files of other nodes."
)]
#[command(after_help = "Without --headless, commands come from the prompt or from standard input:\n\
                        `help` lists them.")]
pub struct NodeArgs {
    /// IP address to listen on, as in 127.0.0.1 or ::1
    #[arg(value_name = "IP", value_parser = ip)]
    pub ip: IpAddr,
    /// Port to listen on; 0 picks a free one
    #[arg(value_name = "PORT")]
    pub port: u16,
    /// Directory to share, and to download into
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
    /// Where the tracker is
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:5025", value_parser = address)]
    pub tracker: SocketAddr,
    /// Address at which other nodes reach this node [default: IP and PORT]
    #[arg(long, value_name = "ADDR:PORT", value_parser = address)]
    pub advertise: Option<SocketAddr>,
    /// Latencies; none: measure [latency.txt if here]
    #[arg(long, value_name = "FILE|none")]
    pub latency_file: Option<PathBuf>,
    /// Latency of other pairs
    #[arg(long, value_name = "MS", default_value = "100", allow_negative_numbers = true)]
    pub default_latency_ms: Millis,
    /// Cost of one transfer of load
    #[arg(long, value_name = "MS", default_value = "10", allow_negative_numbers = true)]
    pub load_weight: Millis,
    /// Delay messages by the latencies of the file
    #[arg(long)]
    pub emulate_latency: bool,
    /// More rounds when all sources fail
    #[arg(long, allow_negative_numbers = true, value_name = "N", default_value_t = 4)]
    #[arg(value_parser = clap::value_parser!(u32).range(0..=1000))]
    pub retries: u32,
    /// Resume unfinished downloads at the start; never with piped commands
    #[arg(long, value_name = "on|off", default_value = "on")]
    pub resume: Switch,
    /// How often the node sends a heartbeat to the tracker
    #[arg(long, value_name = "TIME|off", default_value = "5s", value_parser = heartbeat)]
    pub heartbeat: Heartbeat,
    /// Bytes/s of all uploads: 512k, 10M, 1GiB
    #[arg(long, allow_negative_numbers = true, value_name = "RATE", value_parser = rate)]
    pub max_upload: Option<u64>,
    /// How downloads show their progress
    #[arg(long, value_enum, hide_possible_values = true, value_name = "auto|bar|plain|json|none")]
    #[arg(default_value = "auto")]
    pub progress: ProgressFlag,
    /// Where files are: in one directory, or in shared, downloaded and replicated
    #[arg(long, value_name = "flat|split", default_value = "flat")]
    pub layout: Layout,
    /// Place downloads there
    #[arg(long, value_name = "DIR")]
    pub save_dir: Option<PathBuf>,
    /// Keep copies for others when the tracker asks for it
    #[arg(long)]
    pub accept_replicas: bool,
    /// Maximum size of all such copies: 512M, 10GiB [default: limited by the disk]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub replica_quota: Option<u64>,
    /// Flags about pages.
    #[command(flatten)]
    pub pages: HttpArgs,
    /// Flags about the log.
    #[command(flatten)]
    pub log: LogArgs,
    /// Generate files if the share is empty: 20x64KiB,4x8MiB
    #[arg(long, value_name = "COUNTxSIZE,...")]
    pub generate: Option<DatasetSpec>,
    /// Read no commands; serve until INT or TERM
    #[arg(long)]
    pub headless: bool,
    /// Print everything as lines of JSON on standard output
    #[arg(long)]
    pub json: bool,
    /// Name of this peer, as in peer2: gives the port, together with --base-port
    #[arg(long, value_name = "PEER", value_parser = peer_id)]
    pub id: Option<String>,
    /// Port of the first peer; peer2 has the next port
    #[arg(long, value_name = "PORT")]
    pub base_port: Option<u16>,
    /// Flags about the configuration.
    #[command(flatten)]
    pub config: ConfigArgs,
    #[command(flatten)]
    show: ShowArgs,
}

/// What a command line of `node` is for.
#[derive(Debug)]
pub enum NodeRun {
    /// Run a node.
    Node(Box<NodeArgs>),
    /// Run one command.
    OneShot(Box<Invocation>),
    /// Run `verify`.
    Verify(Box<VerifyInvocation>),
    /// Print completions.
    Completions(clap_complete::Shell),
}

/// The command line of `node` for clap. The first word decides whether it is a command.
pub fn node_command() -> clap::Command {
    let command = with_commands::<OneShotCommand>(NodeArgs::command());
    command
        .mut_subcommands(one_shot::with_flags)
        .args_conflicts_with_subcommands(true)
        .subcommand_negates_reqs(true)
        .disable_help_subcommand(true)
        .subcommand_help_heading("Commands, in place of IP PORT DIR")
}

/// [`node_command`] without IP PORT DIR, for completions in zsh, which would complete no command otherwise.
pub fn zsh_command() -> clap::Command {
    let all = node_command();
    let flags = all.get_arguments().filter(|arg| !arg.is_positional()).cloned();
    let bare = clap::Command::new("node").version(env!("CARGO_PKG_VERSION")).disable_help_subcommand(true);
    bare.args(flags).subcommands(all.get_subcommands().cloned())
}

/// The words that begin a command of [`node_command`].
pub fn command_names() -> Vec<String> {
    let command = node_command();
    command
        .get_subcommands()
        .flat_map(clap::Command::get_name_and_visible_aliases)
        .map(str::to_owned)
        .collect()
}

/// Reads the arguments of `node`. The first one is the program's name.
///
/// # Errors
/// [`Refusal`].
pub fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<NodeRun, Refusal> {
    run_of(&config::read(Program::Node, &node_command(), arguments, &environment)?)
}

/// What a command line that clap has read is for.
///
/// # Errors
/// [`Refusal::Show`], or [`Refusal::Clap`] for a value that clap has not checked yet.
pub(crate) fn run_of(line: &CommandLine) -> Result<NodeRun, Refusal> {
    if line.matches.subcommand().is_some() {
        return Ok(match OneShot::of_line(line)? {
            OneShot::Command(invocation) => NodeRun::OneShot(Box::new(invocation)),
            OneShot::Verify(invocation) => NodeRun::Verify(Box::new(invocation)),
            OneShot::Completions(shell) => NodeRun::Completions(shell),
        });
    }
    if prints_limits(&line.matches) {
        return Err(Refusal::Show(limits_text()));
    }
    Ok(NodeRun::Node(Box::new(NodeArgs::from_arg_matches(&line.matches)?)))
}

impl NodeArgs {
    /// The configuration of the node, whose events go to `events`.
    pub fn config(&self, latency: LatencySource, events: EventBroadcast) -> NodeConfig {
        NodeConfig {
            ip: self.ip,
            port: self.port,
            share: self.dir.clone(),
            layout: self.layout,
            save_dir: self.save_dir.clone(),
            accept_replicas: self.accept_replicas,
            replica_quota: self.replica_quota,
            tracker: self.tracker,
            advertise: self.advertise,
            latency,
            default_latency: self.default_latency_ms,
            load_weight: self.load_weight,
            emulate_latency: self.emulate_latency,
            retries: self.retries,
            heartbeat: self.heartbeat.0,
            max_upload: self.max_upload,
            wait_for_tracker: self.headless,
            membership: Membership::Member,
            resume: self.resume == Switch::On,
            events,
        }
    }

    /// [`latency_source`] of `--latency-file`.
    ///
    /// # Errors
    /// The path, and why the named file cannot be read.
    pub fn latency_source(&self, dir: &Path) -> Result<LatencySource, (PathBuf, io::Error)> {
        latency_source(self.latency_file.as_deref(), dir)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn words(line: &str) -> impl Iterator<Item = OsString> {
        line.split_whitespace().map(OsString::from)
    }

    /// The flags as clap reads them, without environment and file.
    fn node(flags: &str) -> NodeArgs {
        NodeArgs::try_parse_from(words(&format!("node 127.0.0.1 0 share {flags}"))).expect(flags)
    }

    fn check_error(line: &str, expected: &[&str]) {
        let error = NodeArgs::try_parse_from(words(line)).expect_err(line);
        assert_eq!(error.exit_code(), 2, "{line}");
        let text = error.to_string();
        for part in expected {
            assert!(text.contains(part), "{line}: {text}");
        }
    }

    #[test]
    fn clap_accepts_the_definitions() {
        node_command().debug_assert();
    }

    #[test]
    fn a_command_line_without_flags_has_the_documented_defaults() {
        let args = node("");
        let config = args.config(LatencySource::Measured, EventBroadcast::default());
        assert_eq!(config.tracker.to_string(), "127.0.0.1:5025");
        assert_eq!((config.default_latency, config.load_weight), (Millis::from_ms(100), Millis::from_ms(10)));
        assert_eq!((config.retries, config.heartbeat), (4, Some(Duration::from_secs(5))));
        assert_eq!((config.max_upload, config.advertise), (None, None));
        assert!(!config.emulate_latency && !config.wait_for_tracker);
    }

    #[test]
    fn values_are_read_as_people_write_them() {
        assert_eq!(node("--heartbeat off").heartbeat.0, None);
        assert_eq!(node("--heartbeat 500ms").heartbeat.0, Some(Duration::from_millis(500)));
        for (text, bytes_per_s) in [("1", 1), ("512k", 512_000), ("10M", 10_000_000), ("1GiB", 1 << 30)] {
            assert_eq!(node(&format!("--max-upload {text}")).max_upload, Some(bytes_per_s), "{text}");
        }
        assert_eq!(node("--load-weight 2.5").load_weight, Millis::from_micros(2500));
        assert!(node("--headless --emulate-latency").headless);
    }

    #[test]
    fn an_error_names_the_bad_value() {
        check_error("node localhost 5001 share", &["'localhost'", "<IP>"]);
        check_error("node 127.0.0.1 70000 share", &["'70000'", "<PORT>", "65535"]);
        check_error("node 127.0.0.1 abc share", &["'abc'", "<PORT>"]);
        check_error("node 127.0.0.1 5001", &["<DIR>"]);
        for (flags, expected) in [
            ("--tracker nowhere", "'nowhere'"),
            ("--heartbeat 1ms", "100ms to 1h"),
            ("--heartbeat never", "off"),
            ("--max-upload 0", "at least 1"),
            ("--max-upload fast", "512k"),
            ("--max-upload -5", "-5"),
            ("--default-latency-ms -1", "-1"),
            ("--load-weight ten", "'ten'"),
            ("--retries 1001", "1001"),
            ("--bogus", "--bogus"),
        ] {
            check_error(&format!("node 127.0.0.1 0 share {flags}"), &[expected]);
        }
    }

    #[test]
    fn a_command_has_one_description_at_the_prompt_and_on_the_command_line() {
        use clap::Subcommand;
        let prompt = crate::cli::args::command::Command::augment_subcommands(clap::Command::new("prompt"));
        let all = node_command();
        for command in prompt.get_subcommands() {
            let one_shot = all.find_subcommand(command.get_name()).expect("it needs no prompt");
            let about = command.get_about().expect("it is described").to_string();
            assert_eq!(one_shot.get_about().map(ToString::to_string), Some(about));
        }
    }

    #[test]
    fn print_limits_needs_no_other_argument() {
        assert!(matches!(read(words("node --print-limits")), Err(Refusal::Show(_))));
    }

    #[test]
    fn zsh_completes_every_command_and_flag_and_no_positional_argument() {
        let (all, completed) = (node_command(), zsh_command());
        completed.clone().debug_assert();
        let names = |command: &clap::Command| -> Vec<String> {
            command.get_subcommands().map(|verb| verb.get_name().to_owned()).collect()
        };
        assert_eq!(names(&completed), names(&all));
        let positionals = all.get_arguments().filter(|arg| arg.is_positional()).count();
        assert_eq!(positionals, 3);
        assert_eq!(completed.get_arguments().count(), all.get_arguments().count() - positionals);
        assert!(completed.get_arguments().all(|arg| !arg.is_positional()));
    }

    #[test]
    fn the_first_word_tells_a_command_from_an_address() {
        let all = command_names();
        for word in ["find", "lookup", "download", "getload", "list", "nodes", "sources", "stats", "verify"] {
            assert!(all.iter().any(|known| known == word), "{word}");
        }
        assert!(all.iter().all(|word| word.parse::<IpAddr>().is_err()));
    }
}
