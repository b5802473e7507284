//! What `node` does besides sharing a directory: one command, said on the command line, and then it leaves.
//!
//! The words are those of the prompt; clap reads them here and gives each its `--help`, which the prompt
//! shows too.

use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, CommandFactory, Subcommand};

use super::command::{self, Command, Listed, ParseError, query_of};
use super::programs::{ConfigArgs, NodeArgs, TrackerArgs, address};
use crate::cli::output::progress::ProgressFlag;
use crate::node::DownloadRequest;
use crate::types::{Checksum, FileName, Layout, Millis, limits};

/// One command.
#[derive(Debug, Clone, Subcommand)]
pub enum Verb {
    /// Show who has a file, best source first
    #[command(visible_alias = "lookup")]
    Find(QueryArgs),
    /// Fetch a file from the best sources, verified
    Download(DownloadArgs),
    /// Show the load of a node
    Getload(GetLoadArgs),
    /// Show the names that the tracker knows, or with -d the files of a directory
    List(ListArgs),
    /// Show the nodes that the tracker knows
    Nodes(PlainArgs),
    /// Explain why the sources of a file rank as they do
    Sources(QueryArgs),
    /// Show figures of the swarm, or with -d of the node that shares a directory
    Stats(PlainArgs),
    /// Have nodes that allow it keep copies of a file
    Replicate(ReplicateArgs),
    /// Have the node that shares a directory read it again
    Updatelist(PlainArgs),
    /// Hash the files of a directory and hold them against what is published under their names
    Verify(VerifyArgs),
    /// Print completions for a shell
    Completions(CompletionsArgs),
}

/// How the swarm is asked.
#[derive(Debug, Clone, Args)]
pub struct AskArgs {
    /// Where the tracker is
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:5025", value_parser = address)]
    pub tracker: SocketAddr,
    /// Directory; the node that shares it does the work, if there is one
    #[arg(short, long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Tell everything as lines of JSON
    #[arg(long)]
    pub json: bool,
    /// Give up after this time, with exit code 6
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub timeout: Option<Duration>,
    /// Latencies; none: measure [latency.txt if here]
    #[arg(long, value_name = "FILE|none")]
    pub latency_file: Option<PathBuf>,
    /// Whose rows of the latency file count
    #[arg(long = "as", value_name = "IP:PORT", value_parser = address)]
    pub as_node: Option<SocketAddr>,
    /// Latency of other pairs
    #[arg(long, value_name = "MS", default_value = "100", allow_negative_numbers = true)]
    pub default_latency_ms: Millis,
    /// What one transfer of load costs
    #[arg(long, value_name = "MS", default_value = "10", allow_negative_numbers = true)]
    pub load_weight: Millis,
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// `find`, `sources`.
#[derive(Debug, Clone, Args)]
pub struct QueryArgs {
    /// A name, or a digest as md5=HEX or b3=HEX
    #[arg(value_name = "NAME|md5=HEX|b3=HEX", value_parser = query_word)]
    pub query: String,
    #[command(flatten)]
    pub ask: AskArgs,
}

/// `list`.
#[derive(Debug, Clone, Args)]
pub struct ListArgs {
    /// Which of its files
    #[arg(value_name = "local|downloaded|replicated|all|swarm", value_parser = listed)]
    pub listed: Option<Listed>,
    /// Where files stand in it [default: as it looks]
    #[arg(long, value_name = "flat|split")]
    pub layout: Option<Layout>,
    #[command(flatten)]
    pub ask: AskArgs,
}

/// `download`.
#[derive(Debug, Clone, Args)]
pub struct DownloadArgs {
    /// Name of the file
    #[arg(value_name = "NAME")]
    pub name: FileName,
    /// Put it into this file; -: write it to standard output once it is verified
    #[arg(short, long, value_name = "FILE", conflicts_with = "dir")]
    pub output: Option<PathBuf>,
    /// The content must have this digest
    #[arg(long, value_name = "md5=HEX|b3=HEX")]
    pub checksum: Option<Checksum>,
    /// Hash the whole file before it is put in place
    #[arg(long, value_name = "whole")]
    pub verify: Option<Whole>,
    /// Replace a file of that name
    #[arg(short, long)]
    pub force: bool,
    /// More rounds when all sources fail
    #[arg(long, allow_negative_numbers = true, value_name = "N", default_value_t = 4)]
    #[arg(value_parser = clap::value_parser!(u32).range(0..=1000))]
    pub retries: u32,
    /// How the download tells of itself
    #[arg(long, value_enum, hide_possible_values = true, value_name = "auto|bar|plain|json|none")]
    #[arg(default_value = "auto")]
    pub progress: ProgressFlag,
    #[command(flatten)]
    pub ask: AskArgs,
}

/// `--verify whole`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Whole {
    Whole,
}

/// `getload`.
#[derive(Debug, Clone, Args)]
pub struct GetLoadArgs {
    #[arg(value_name = "IP")]
    pub ip: IpAddr,
    #[arg(value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub port: u16,
    #[command(flatten)]
    pub ask: AskArgs,
}

/// Commands without words of their own.
#[derive(Debug, Clone, Args)]
pub struct PlainArgs {
    #[command(flatten)]
    pub ask: AskArgs,
}

/// `replicate`.
#[derive(Debug, Clone, Args)]
pub struct ReplicateArgs {
    /// A name, or a digest as md5=HEX or b3=HEX
    #[arg(value_name = "NAME|md5=HEX|b3=HEX", value_parser = query_word)]
    pub query: String,
    /// Live copies that there are to be, 0 to 100; 0: no more than there are
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    #[arg(value_parser = clap::value_parser!(u32).range(0..=i64::from(limits::REPLICA_COPIES_MAX)))]
    pub copies: u32,
    #[command(flatten)]
    pub ask: AskArgs,
}

/// `verify`.
#[derive(Debug, Clone, Args)]
pub struct VerifyArgs {
    /// Names in the directory [default: all of its files]
    #[arg(value_name = "NAME")]
    pub names: Vec<FileName>,
    /// Where files stand in it [default: as it looks]
    #[arg(long, value_name = "flat|split")]
    pub layout: Option<Layout>,
    #[command(flatten)]
    pub ask: AskArgs,
}

/// `completions`.
#[derive(Debug, Clone, Args)]
pub struct CompletionsArgs {
    #[arg(value_name = "SHELL")]
    pub shell: clap_complete::Shell,
}

/// What is to be asked of a node, and of which.
#[derive(Debug, Clone)]
pub struct Invocation {
    pub command: Command,
    pub ask: AskArgs,
    /// Of downloads.
    pub output: Option<PathBuf>,
    pub retries: u32,
    pub progress: ProgressFlag,
    /// Flags that were typed and that a node which does the work itself has no use for.
    pub own_flags: Vec<&'static str>,
    /// Of a directory that nobody shares; `None`: as it looks.
    pub layout: Option<Layout>,
}

/// What a guest goes by, and no node that does the work in its place.
const OWN_FLAGS: [&str; 6] =
    ["--as", "--default-latency-ms", "--latency-file", "--load-weight", "--retries", "--tracker"];

/// Those of them among the words of a command line.
pub fn own_flags(words: &[OsString]) -> Vec<&'static str> {
    let is_typed = |flag: &&str| {
        let flags = words.iter().take_while(|word| *word != "--").filter_map(|word| word.to_str());
        flags.into_iter().any(|word| word.split('=').next() == Some(*flag))
    };
    OWN_FLAGS.into_iter().filter(|flag| is_typed(flag)).collect()
}

/// Returns true if and only if what is asked for is hidden from the option reader, and so a name whatever it
/// looks like.
pub fn is_literal(words: &[OsString]) -> bool {
    words.iter().position(|word| word == "--").is_some_and(|at| at + 1 < words.len())
}

/// What is no name is no digest either; which of them it is depends on what stands before it.
fn query_word(word: &str) -> Result<String, String> {
    query_of(word, true).map(|_| word.to_owned()).map_err(|error| error.to_string())
}

fn listed(word: &str) -> Result<Listed, String> {
    command::list(&[word.to_owned()]).map_err(|error| error.to_string())
}

fn time(text: &str) -> Result<Duration, String> {
    let longest = limits::ms(limits::TIMEOUT_MAX_MS);
    match humantime::parse_duration(text) {
        Ok(time) if time > longest => {
            let days = longest.as_secs() / (24 * 3600);
            Err(format!("give at most {days}days, or no time at all"))
        }
        Ok(time) if !time.is_zero() => Ok(time),
        _ => Err("give a time, as in 500ms, 5s or 2m".to_owned()),
    }
}

impl Verb {
    /// What is to be asked; `None` for what needs nobody: `verify` and `completions`. `literal`: a query is a
    /// name, whatever it looks like.
    ///
    /// # Errors
    /// A query that asks for nothing.
    pub fn errand(&self, literal: bool) -> Result<Option<Invocation>, ParseError> {
        let query = |text: &str| query_of(text, literal);
        let mut layout = None;
        let (command, ask) = match self {
            Verb::Find(args) => (Command::Find(query(&args.query)?), &args.ask),
            Verb::Sources(args) => (Command::Sources(query(&args.query)?), &args.ask),
            Verb::Getload(args) => (Command::GetLoad(SocketAddr::new(args.ip, args.port)), &args.ask),
            Verb::List(args) => {
                layout = args.layout;
                let usual = if args.ask.dir.is_some() { Listed::Own(None) } else { Listed::Swarm };
                (Command::List(args.listed.unwrap_or(usual)), &args.ask)
            }
            Verb::Replicate(args) => {
                (Command::Replicate { query: query(&args.query)?, copies: args.copies }, &args.ask)
            }
            Verb::Nodes(args) => (Command::Nodes, &args.ask),
            Verb::Stats(args) => (Command::Stats, &args.ask),
            Verb::Updatelist(args) => (Command::UpdateList, &args.ask),
            Verb::Download(args) => {
                let request = DownloadRequest {
                    name: args.name.clone(),
                    checksum: args.checksum,
                    verify_whole: args.verify.is_some(),
                    force: args.force,
                };
                return Ok(Some(Invocation {
                    command: Command::Download(request),
                    ask: args.ask.clone(),
                    output: args.output.clone(),
                    retries: args.retries,
                    progress: args.progress,
                    own_flags: Vec::new(),
                    layout: None,
                }));
            }
            Verb::Verify(_) | Verb::Completions(_) => return Ok(None),
        };
        let (output, retries, progress) = (None, 0, ProgressFlag::Auto);
        let own_flags = Vec::new();
        Ok(Some(Invocation { command, ask: ask.clone(), output, retries, progress, own_flags, layout }))
    }
}

/// A program with its commands; it still says what it is, and not what they are.
fn with_verbs<V: Subcommand>(program: clap::Command) -> clap::Command {
    let about = program.get_about().cloned().unwrap_or_default();
    V::augment_subcommands(program).about(about)
}

/// The command line of `node`: a directory to share, or one of the commands. The first word decides.
pub fn node_command() -> clap::Command {
    let verbs = with_verbs::<Verb>(NodeArgs::command());
    verbs
        .args_conflicts_with_subcommands(true)
        .subcommand_negates_reqs(true)
        .disable_help_subcommand(true)
        .subcommand_help_heading("Commands, in place of IP PORT DIR")
}

/// What `tracker` does besides serving.
#[derive(Debug, Clone, Subcommand)]
pub enum TrackerVerb {
    /// Print completions for a shell
    Completions(CompletionsArgs),
}

/// The command line of `tracker`.
pub fn tracker_command() -> clap::Command {
    let verbs = with_verbs::<TrackerVerb>(TrackerArgs::command());
    verbs.args_conflicts_with_subcommands(true).disable_help_subcommand(true)
}

/// [`node_command`] without IP PORT DIR, for completions in zsh: it would wait for all three before it
/// completes a command.
pub fn zsh_command() -> clap::Command {
    let all = node_command();
    let flags = all.get_arguments().filter(|arg| !arg.is_positional()).cloned();
    let bare = clap::Command::new("node").version(env!("CARGO_PKG_VERSION")).disable_help_subcommand(true);
    bare.args(flags).subcommands(all.get_subcommands().cloned())
}

/// The words that begin a command of [`node_command`].
pub fn words() -> Vec<String> {
    let command = node_command();
    command
        .get_subcommands()
        .flat_map(clap::Command::get_name_and_visible_aliases)
        .map(str::to_owned)
        .collect()
}

/// What `word --help` shows at the prompt; `None` where clap reads no such command.
pub fn help(word: &str) -> Option<String> {
    // Without what says which swarm is asked: at the prompt that is known.
    let asks = AskArgs::augment_args(clap::Command::new("ask"));
    let is_known = |arg: &clap::Arg| {
        let elsewhere = ["output", "retries", "progress", "help"].contains(&arg.get_id().as_str());
        elsewhere || asks.get_arguments().any(|ask| ask.get_id() == arg.get_id())
    };
    let verb = node_command().find_subcommand(word)?.clone();
    let verb = verb.mut_args(|arg| if is_known(&arg) { arg.hide(true) } else { arg });
    let mut verb = verb.disable_help_flag(true).bin_name(word);
    Some(verb.render_help().to_string().trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use clap::FromArgMatches;

    use super::*;

    #[test]
    fn clap_finds_no_fault_with_the_definitions() {
        node_command().debug_assert();
        tracker_command().debug_assert();
    }

    #[test]
    fn zsh_completes_every_command_and_flag_and_no_place_before_them() {
        let (all, completed) = (node_command(), zsh_command());
        completed.clone().debug_assert();
        let names = |command: &clap::Command| -> Vec<String> {
            command.get_subcommands().map(|verb| verb.get_name().to_owned()).collect()
        };
        assert_eq!(names(&completed), names(&all));
        let places = all.get_arguments().filter(|arg| arg.is_positional()).count();
        assert_eq!(places, 3);
        assert_eq!(completed.get_arguments().count(), all.get_arguments().count() - places);
        assert!(completed.get_arguments().all(|arg| !arg.is_positional()));
    }

    #[test]
    fn a_command_is_known_by_its_first_word_and_an_address_is_none() {
        let all = words();
        for word in ["find", "lookup", "download", "getload", "list", "nodes", "sources", "stats", "verify"] {
            assert!(all.iter().any(|known| known == word), "{word}");
        }
        assert!(all.iter().all(|word| word.parse::<IpAddr>().is_err()));
    }

    #[test]
    fn flags_that_only_a_guest_goes_by_are_known_when_typed() {
        let words =
            ["node", "find", "--as", "::1:5", "--load-weight=3", "--", "--tracker"].map(OsString::from);
        assert_eq!(own_flags(&words), ["--as", "--load-weight"]);
    }

    #[test]
    fn help_at_the_prompt_leaves_out_which_swarm_is_asked() {
        for word in ["find", "lookup", "download", "sources", "list", "nodes", "stats", "getload"] {
            let text = help(word).unwrap_or_else(|| panic!("{word} has help"));
            assert!(text.contains(&format!("Usage: {word}")) && !text.contains("--tracker"), "{text}");
        }
        assert!(help("download").is_some_and(|text| text.contains("--checksum")));
        assert_eq!(help("frobnicate"), None);
    }

    #[test]
    fn a_query_is_read_as_at_the_prompt() {
        let read = |line: &str| {
            let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            let matches = node_command().try_get_matches_from(&words).expect(line);
            let verb = Verb::from_arg_matches(&matches).expect(line);
            Ok(verb.errand(is_literal(&words))?.expect("it asks").command)
        };
        for line in [
            "find a",
            "find b3=af1349b9f5f9a1a6",
            "find -- md5=x",
            "find -- -rf",
            "sources -- --",
            "find md5=12",
        ] {
            assert_eq!(
                read(&format!("node {line}")),
                command::parse(line).map(|one| one.expect(line)),
                "{line}"
            );
        }
        assert!(node_command().try_get_matches_from(["node", "find", "../x"]).is_err());
    }

    #[test]
    fn times_are_bounded() {
        assert_eq!((time("5s"), time("0s").is_err()), (Ok(Duration::from_secs(5)), true));
        for endless in ["300000000000years", "1001days", "99999999999999999999999999s"] {
            assert!(time(endless).is_err(), "{endless}");
        }
        assert!(time("1000days").is_ok());
    }
}
