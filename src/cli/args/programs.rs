//! The command lines of `tracker` and `node`, turned into configurations.
//!
//! A bad value is an error that names it, before anything is started.

use std::ffi::OsString;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytesize::ByteSize;
use clap::{Args, FromArgMatches, Parser};

use super::http::HttpArgs;
use super::verbs::{self, TrackerVerb, Verb};
use crate::cli::config::{self, Program, Refusal};
use crate::cli::output::log::LogArgs;
use crate::cli::output::progress::ProgressFlag;
use crate::node::{LatencySource, Membership, NodeConfig, open_latency_file};
use crate::rt::EventBroadcast;
use crate::tracker::TrackerConfig;
use crate::types::{DatasetSpec, Layout, Millis, limits};

/// The latency file that is read when none is named.
pub const DEFAULT_LATENCY_FILE: &str = "latency.txt";

/// Command line of `tracker`.
#[derive(Debug, Clone, Parser)]
#[command(name = "tracker", version, about = "Knows which node has which file and which nodes are alive.")]
#[command(next_line_help = true)]
pub struct TrackerArgs {
    /// Where to listen; port 0 picks a free one
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:5025", value_parser = address)]
    pub listen: SocketAddr,
    /// Threads that serve connections
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = count(1, 64))]
    pub fronts: u64,
    /// Most connections with an unfinished request, a thread
    #[arg(long, value_name = "N", default_value_t = limits::INCOMPLETE_MAX as u64, value_parser = count(1, 1 << 20))]
    pub max_incomplete: u64,
    /// The same for one address
    #[arg(long, value_name = "N", default_value_t = limits::INCOMPLETE_PER_ADDRESS_MAX as u64, value_parser = count(1, 1 << 20))]
    pub max_incomplete_per_address: u64,
    /// Live copies of every file on nodes that keep copies; 0: only what is wished for
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub replicas: u32,
    /// How long a node that is gone has to come back before copies are made in its place
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = grace)]
    pub replica_grace: Duration,
    #[command(flatten)]
    pub pages: HttpArgs,
    #[command(flatten)]
    pub log: LogArgs,
    /// Tell everything as lines of JSON on standard output
    #[arg(long)]
    pub json: bool,
    /// Read no commands; serve until INT or TERM
    #[arg(long)]
    pub headless: bool,
    #[command(flatten)]
    pub config: ConfigArgs,
    #[command(flatten)]
    show: ShowArgs,
}

/// Command line of `node`.
#[derive(Debug, Clone, Parser)]
#[command(name = "node", version, about = "Shares one directory, and finds and downloads files of others.")]
#[command(
    after_help = "Without --headless, commands are read from the prompt or from standard input:\n`help` lists them."
)]
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
    /// Where others reach it [default: IP and PORT]
    #[arg(long, value_name = "ADDR:PORT", value_parser = address)]
    pub advertise: Option<SocketAddr>,
    /// Latencies; none: measure [latency.txt if here]
    #[arg(long, value_name = "FILE|none")]
    pub latency_file: Option<PathBuf>,
    /// Latency of other pairs
    #[arg(long, value_name = "MS", default_value = "100", allow_negative_numbers = true)]
    pub default_latency_ms: Millis,
    /// What one transfer of load costs
    #[arg(long, value_name = "MS", default_value = "10", allow_negative_numbers = true)]
    pub load_weight: Millis,
    /// Act as if the file's latencies were real
    #[arg(long)]
    pub emulate_latency: bool,
    /// More rounds when all sources fail
    #[arg(long, allow_negative_numbers = true, value_name = "N", default_value_t = 4)]
    #[arg(value_parser = clap::value_parser!(u32).range(0..=1000))]
    pub retries: u32,
    /// Go on by itself with unfinished downloads; never with piped commands
    #[arg(long, value_name = "on|off", default_value = "on")]
    pub resume: Switch,
    /// How often to tell the tracker
    #[arg(long, value_name = "TIME|off", default_value = "5s", value_parser = heartbeat)]
    pub heartbeat: Heartbeat,
    /// Bytes/s of all uploads: 512k, 10M, 1GiB
    #[arg(long, allow_negative_numbers = true, value_name = "RATE", value_parser = rate)]
    pub max_upload: Option<u64>,
    /// How downloads tell of themselves
    #[arg(long, value_enum, hide_possible_values = true, value_name = "auto|bar|plain|json|none")]
    #[arg(default_value = "auto")]
    pub progress: ProgressFlag,
    /// Where files stand: together, or in shared, downloaded and replicated
    #[arg(long, value_name = "flat|split", default_value = "flat")]
    pub layout: Layout,
    /// Place downloads there
    #[arg(long, value_name = "DIR")]
    pub save_dir: Option<PathBuf>,
    /// Keep copies for others when the tracker asks for it
    #[arg(long)]
    pub accept_replicas: bool,
    /// Most bytes of such copies: 512M, 10GiB [default: as the disk has room]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub replica_quota: Option<u64>,
    #[command(flatten)]
    pub pages: HttpArgs,
    #[command(flatten)]
    pub log: LogArgs,
    /// Fill the share with files made up, if it is empty: 20x64KiB,4x8MiB
    #[arg(long, value_name = "COUNTxSIZE,...")]
    pub generate: Option<DatasetSpec>,
    /// Read no commands; serve until INT or TERM
    #[arg(long)]
    pub headless: bool,
    /// Tell everything as lines of JSON on standard output
    #[arg(long)]
    pub json: bool,
    /// Which peer this is, as in peer2: says the port together with --base-port
    #[arg(long, value_name = "PEER", value_parser = peer_id)]
    pub id: Option<String>,
    /// Port of the first peer: that of peer2 is one above
    #[arg(long, value_name = "PORT")]
    pub base_port: Option<u16>,
    #[command(flatten)]
    pub config: ConfigArgs,
    #[command(flatten)]
    show: ShowArgs,
}

/// Where flags that are not typed come from.
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

#[derive(Debug, Clone, Args)]
struct ShowArgs {
    /// Print every limit as a line of JSON and exit
    #[arg(long, exclusive = true)]
    print_limits: bool,
}

/// `--heartbeat`; `Heartbeat(None)` is `off`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heartbeat(pub Option<Duration>);

/// What a command line of `tracker` is for.
#[derive(Debug)]
pub enum TrackerRun {
    Serve(Box<TrackerArgs>),
    Command(TrackerVerb),
}

/// What a command line of `node` is for.
#[derive(Debug)]
pub enum NodeRun {
    Share(NodeArgs),
    Command(Verb),
}

fn count(min: u64, max: u64) -> clap::builder::RangedU64ValueParser<u64> {
    clap::value_parser!(u64).range(min..=max)
}

fn ip(text: &str) -> Result<IpAddr, &'static str> {
    text.parse().map_err(|_| "give numbers, as in 127.0.0.1 or ::1")
}

pub(crate) fn address(text: &str) -> Result<SocketAddr, &'static str> {
    text.parse().map_err(|_| "give numbers, as in 127.0.0.1:5025 or [::1]:5025")
}

fn heartbeat(text: &str) -> Result<Heartbeat, String> {
    if text == "off" {
        return Ok(Heartbeat(None));
    }
    let interval = humantime::parse_duration(text)
        .map_err(|error| format!("{error}: give a time, as in 5s or 500ms, or off"))?;
    let allowed = limits::ms(limits::HEARTBEAT_MIN_MS)..=limits::ms(limits::HEARTBEAT_MAX_MS);
    if !allowed.contains(&interval) {
        let show = humantime::format_duration;
        return Err(format!("give {} to {}, or off", show(*allowed.start()), show(*allowed.end())));
    }
    Ok(Heartbeat(Some(interval)))
}

fn grace(text: &str) -> Result<Duration, String> {
    let grace =
        humantime::parse_duration(text).map_err(|error| format!("{error}: give a time, as in 30s or 5m"))?;
    let allowed = limits::ms(limits::REPLICA_GRACE_MIN_MS)..=limits::ms(limits::REPLICA_GRACE_MAX_MS);
    if !allowed.contains(&grace) {
        let show = humantime::format_duration;
        return Err(format!("give {} to {}", show(*allowed.start()), show(*allowed.end())));
    }
    Ok(grace)
}

pub(crate) fn rate(text: &str) -> Result<u64, String> {
    match text.parse::<ByteSize>() {
        Ok(ByteSize(0)) => Err("nothing could be uploaded: give at least 1 byte per second".to_owned()),
        Ok(ByteSize(bytes_per_s)) => Ok(bytes_per_s),
        Err(_) => Err("give bytes per second, as in 512k, 10M or 1GiB".to_owned()),
    }
}

pub(crate) fn size(text: &str) -> Result<u64, &'static str> {
    text.parse::<ByteSize>().map(|size| size.as_u64()).map_err(|_| "give bytes, as in 512k, 10M or 1GiB")
}

fn peer_id(text: &str) -> Result<String, &'static str> {
    let number = text.trim_start_matches(|c: char| !c.is_ascii_digit());
    match number.parse::<u16>() {
        Ok(1..) => Ok(text.to_owned()),
        _ => Err("end it in a number from 1 on, as in peer2"),
    }
}

fn environment(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

/// Reads the arguments of `tracker`, the first one being its name.
///
/// # Errors
/// [`Refusal`].
pub fn tracker(arguments: impl IntoIterator<Item = OsString>) -> Result<TrackerRun, Refusal> {
    let command = verbs::tracker_command();
    let matches = config::matches(Program::Tracker, &command, arguments, &environment)?;
    if matches.subcommand().is_some() {
        return Ok(TrackerRun::Command(TrackerVerb::from_arg_matches(&matches)?));
    }
    if matches.get_flag("print_limits") {
        return Err(Refusal::Show(limits_text()));
    }
    Ok(TrackerRun::Serve(Box::new(TrackerArgs::from_arg_matches(&matches)?)))
}

/// Reads the arguments of `node`, the first one being its name.
///
/// # Errors
/// [`Refusal`].
pub fn node(arguments: impl IntoIterator<Item = OsString>) -> Result<NodeRun, Refusal> {
    let matches = config::matches(Program::Node, &verbs::node_command(), arguments, &environment)?;
    if matches.subcommand().is_some() {
        return Ok(NodeRun::Command(Verb::from_arg_matches(&matches)?));
    }
    if matches.get_flag("print_limits") {
        return Err(Refusal::Show(limits_text()));
    }
    Ok(NodeRun::Share(NodeArgs::from_arg_matches(&matches)?))
}

impl TrackerArgs {
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

/// A flag's `on` or `off`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Switch {
    On,
    Off,
}

/// How often a tracker looks for missed heartbeats.
const SWEEP: Duration = Duration::from_millis(100);

impl NodeArgs {
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

    /// See [`latency_source`].
    ///
    /// # Errors
    /// The path, and why the file that was named cannot be read.
    pub fn latency_source(&self, dir: &Path) -> Result<LatencySource, (PathBuf, io::Error)> {
        latency_source(self.latency_file.as_deref(), dir)
    }
}

/// Where latencies come from: the file that was named, else the one that is in `dir`, else measurements. What
/// is in the file is not looked at.
///
/// # Errors
/// The path, and why the file that was named cannot be read.
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
    // The names are Rust identifiers and the units plain words: nothing needs escaping.
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

    fn words(line: &str) -> impl Iterator<Item = OsString> {
        line.split_whitespace().map(OsString::from)
    }

    /// What clap makes of it, with nothing from elsewhere.
    fn node(flags: &str) -> NodeArgs {
        NodeArgs::try_parse_from(words(&format!("node 127.0.0.1 0 share {flags}"))).expect(flags)
    }

    fn check_error<A: Parser + std::fmt::Debug>(line: &str, expected: &[&str]) {
        let error = A::try_parse_from(words(line)).expect_err(line);
        assert_eq!(error.exit_code(), 2, "{line}");
        let text = error.to_string();
        for part in expected {
            assert!(text.contains(part), "{line}: {text}");
        }
    }

    #[test]
    fn the_plain_command_lines_have_the_documented_defaults() {
        let args = TrackerArgs::try_parse_from(words("tracker")).expect("no arguments are needed");
        assert_eq!(args.config(EventBroadcast::default()).listen.to_string(), "127.0.0.1:5025");
        assert_eq!((args.fronts, args.max_incomplete, args.max_incomplete_per_address), (2, 1024, 128));
        assert_eq!((args.replicas, args.replica_grace), (0, Duration::from_secs(30)));
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
    fn a_bad_value_is_named() {
        check_error::<NodeArgs>("node localhost 5001 share", &["'localhost'", "<IP>"]);
        check_error::<NodeArgs>("node 127.0.0.1 70000 share", &["'70000'", "<PORT>", "65535"]);
        check_error::<NodeArgs>("node 127.0.0.1 abc share", &["'abc'", "<PORT>"]);
        check_error::<NodeArgs>("node 127.0.0.1 5001", &["<DIR>"]);
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
            check_error::<NodeArgs>(&format!("node 127.0.0.1 0 share {flags}"), &[expected]);
        }
        check_error::<TrackerArgs>("tracker --listen localhost", &["'localhost'"]);
        check_error::<TrackerArgs>("tracker --listen 127.0.0.1:70000", &["'127.0.0.1:70000'"]);
        check_error::<TrackerArgs>("tracker --fronts 0", &["'0'"]);
        check_error::<TrackerArgs>("tracker --replica-grace 999ms", &["1s to 1day"]);
        check_error::<TrackerArgs>("tracker --replica-grace soon", &["'soon'", "5m"]);
    }

    #[test]
    fn limits_are_shown_without_any_other_argument() {
        assert!(matches!(super::node(words("node --print-limits")), Err(Refusal::Show(_))));
        assert!(matches!(tracker(words("tracker --print-limits")), Err(Refusal::Show(_))));
        let text = limits_text();
        assert_eq!(text.lines().count(), limits::all().len());
        assert!(text.contains(r#"{"limit":"frame_max_bytes","value":1048576,"unit":"bytes"}"#), "{text}");
    }

    #[test]
    fn a_latency_file_is_the_named_one_else_the_one_that_is_there() {
        let dir = tempfile::tempdir().expect("a directory");
        let there = dir.path().join(DEFAULT_LATENCY_FILE);
        assert_eq!(node("").latency_source(dir.path()).expect("none is fine"), LatencySource::Measured);
        std::fs::write(&there, "").expect("written");
        let found = node("").latency_source(dir.path()).expect("is there");
        assert_eq!(found, LatencySource::File(there.clone()));
        let ignored = node("--latency-file none").latency_source(dir.path()).expect("ignored");
        assert_eq!(ignored, LatencySource::Measured);
        let named = node(&format!("--latency-file {}", there.display()));
        assert_eq!(named.latency_source(Path::new("/")).expect("is there"), LatencySource::File(there));
        let (path, _) = node("--latency-file /no/such").latency_source(dir.path()).expect_err("is not there");
        assert_eq!(path, Path::new("/no/such"));
    }
}
