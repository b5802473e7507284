//! The commands that a node or a guest runs. They come from a prompt, a pipe, a command line, or the socket
//! of a node.
//!
//! clap reads the words of a command. `serde` reads and writes the line of JSON for the socket. The session
//! runs commands.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::error::ErrorKind;
use clap::{ArgMatches, Args, FromArgMatches, Subcommand};
use serde::{Deserialize, Serialize};

use crate::node::DownloadRequest;
use crate::types::{Checksum, FileName, FileOrigin, Query, WordError, limits};

/// One command.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Command {
    /// Show who has a file, best source first
    #[command(visible_alias = "lookup")]
    Find(QueryArg),
    /// Fetch a file from the best sources, verified
    Download(DownloadArgs),
    /// Show the load of a node
    Getload(GetLoadArgs),
    /// Show files of the directory, or the names that the tracker knows
    List(ListArgs),
    /// Show the nodes that the tracker knows
    Nodes,
    /// Explain why the sources of a file rank as they do
    Sources(QueryArg),
    /// Show counters of the swarm and of the node that shares the directory
    Stats,
    /// Have nodes that allow it keep copies of a file
    Replicate(ReplicateArgs),
    /// Read the directory again and publish what has changed
    Updatelist,
}

/// What a command looks for: a name or a digest. After `--` there is always a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct QueryArg(pub Query);

/// The words of a [`QueryArg`].
#[derive(Debug, Clone, Args)]
struct QueryWords {
    /// A name, or a digest as md5=HEX or b3=HEX; after -- always a name
    #[arg(value_name = "NAME|md5=HEX|b3=HEX", value_parser = Query::parse, required = true)]
    query: Option<Query>,
    /// A name
    #[arg(value_name = "NAME", last = true, hide = true, conflicts_with = "query")]
    literal: Option<FileName>,
}

impl FromArgMatches for QueryArg {
    fn from_arg_matches(matches: &ArgMatches) -> Result<QueryArg, clap::Error> {
        let QueryWords { query, literal } = QueryWords::from_arg_matches(matches)?;
        let query = literal.map(Query::Name).or(query);
        query.map(QueryArg).ok_or_else(|| clap::Error::new(ErrorKind::MissingRequiredArgument))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = QueryArg::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for QueryArg {
    fn augment_args(command: clap::Command) -> clap::Command {
        QueryWords::augment_args(command)
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        QueryWords::augment_args_for_update(command)
    }
}

/// `download`.
#[derive(Debug, Clone, PartialEq, Eq, Args, Serialize, Deserialize)]
pub struct DownloadArgs {
    /// Name of the file
    #[arg(value_name = "NAME")]
    pub name: FileName,
    /// The content must have this digest
    #[arg(long, value_name = "md5=HEX|b3=HEX")]
    #[serde(default)]
    pub checksum: Option<Checksum>,
    /// Hash the whole file before it is put in place
    #[arg(long, value_name = "whole", hide_possible_values = true)]
    #[serde(default)]
    pub verify: Option<Whole>,
    /// Replace a file of that name
    #[arg(short, long)]
    #[serde(default)]
    pub force: bool,
}

impl DownloadArgs {
    /// What the node is to download.
    pub fn request(&self) -> DownloadRequest {
        DownloadRequest {
            name: self.name.clone(),
            checksum: self.checksum,
            verify_whole: self.verify.is_some(),
            force: self.force,
        }
    }
}

/// `--verify whole`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Whole {
    /// The whole file.
    Whole,
}

/// `getload`.
#[derive(Debug, Clone, PartialEq, Eq, Args, Serialize, Deserialize)]
pub struct GetLoadArgs {
    /// IP address of the node, as in 127.0.0.1 or ::1
    #[arg(value_name = "IP", value_parser = super::values::ip)]
    pub ip: IpAddr,
    /// Port of the node, 1 to 65535
    #[arg(value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub port: u16,
}

impl GetLoadArgs {
    /// The address of the node.
    pub fn addr(&self) -> SocketAddr {
        SocketAddr::new(self.ip, self.port)
    }
}

/// `list`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args, Serialize, Deserialize)]
pub struct ListArgs {
    /// Which files: swarm for the names that the tracker knows, else files of the directory
    #[arg(value_name = "local|downloaded|replicated|all|swarm", hide_possible_values = true)]
    #[arg(value_parser = PossibleValuesParser::new(ListScope::WORDS).try_map(|word| word.parse::<ListScope>()))]
    #[serde(default)]
    pub listed: Option<ListScope>,
}

impl ListArgs {
    /// Which files `list` shows. Without an argument: all files of the directory.
    pub fn scope(&self) -> ListScope {
        self.listed.unwrap_or(ListScope::Own(None))
    }
}

/// Which files `list` shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum ListScope {
    /// Files of the directory, of one origin or all.
    Own(Option<FileOrigin>),
    /// Names that the tracker knows.
    Swarm,
}

impl ListScope {
    /// The words that may be typed.
    pub const WORDS: [&str; 5] = ["all", "downloaded", "local", "replicated", "swarm"];
}

impl FromStr for ListScope {
    type Err = WordError;

    fn from_str(word: &str) -> Result<ListScope, WordError> {
        match word {
            "all" => Ok(ListScope::Own(None)),
            "swarm" => Ok(ListScope::Swarm),
            word => word.parse().map(|origin| ListScope::Own(Some(origin))),
        }
    }
}

impl TryFrom<String> for ListScope {
    type Error = WordError;

    fn try_from(word: String) -> Result<ListScope, WordError> {
        word.parse()
    }
}

impl From<ListScope> for String {
    fn from(scope: ListScope) -> String {
        match scope {
            ListScope::Own(None) => "all".to_owned(),
            ListScope::Own(Some(origin)) => origin.to_string(),
            ListScope::Swarm => "swarm".to_owned(),
        }
    }
}

/// `replicate`.
#[derive(Debug, Clone, PartialEq, Eq, Args, Serialize, Deserialize)]
pub struct ReplicateArgs {
    /// The file.
    #[command(flatten)]
    pub query: QueryArg,
    /// Number of live copies to keep, 0 to 100; 0: make no further copies
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    #[arg(value_parser = clap::value_parser!(u32).range(0..=i64::from(limits::REPLICA_COPIES_MAX)))]
    pub copies: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_read_back_from_its_line_of_json() {
        let name = |text: &str| FileName::new(text).expect("a name");
        let query = |text: &str| QueryArg(Query::parse(text).expect(text));
        let b3: Checksum = "b3=af1349b9f5f9a1a6".parse().expect("a digest");
        let download = |checksum, verify, force| DownloadArgs { name: name("-rf"), checksum, verify, force };
        for command in [
            Command::Find(query("a.bin")),
            Command::Find(QueryArg(Query::Name(name("md5=x")))),
            Command::Find(query("b3=af1349b9f5f9a1a6")),
            Command::Sources(query("md5=d41d8cd98f00b204e9800998ecf8427e")),
            Command::Download(download(None, None, false)),
            Command::Download(download(Some(b3), Some(Whole::Whole), true)),
            Command::Getload(GetLoadArgs { ip: IpAddr::from([127, 0, 0, 1]), port: 5001 }),
            Command::Getload(GetLoadArgs { ip: "::1".parse().expect("an address"), port: 1 }),
            Command::List(ListArgs::default()),
            Command::List(ListArgs { listed: Some(ListScope::Swarm) }),
            Command::List(ListArgs { listed: Some(ListScope::Own(Some(FileOrigin::Downloaded))) }),
            Command::Replicate(ReplicateArgs { query: query("a b"), copies: 3 }),
            Command::Nodes,
            Command::Stats,
            Command::Updatelist,
        ] {
            let line = serde_json::to_string(&command).expect("it is text");
            assert!(!line.contains('\n'), "{line}");
            assert_eq!(serde_json::from_str::<Command>(&line).expect(&line), command, "{line}");
        }
    }

    #[test]
    fn a_line_of_json_with_a_bad_value_is_not_a_command() {
        for line in
            [r#"{"find":{"Name":"../x"}}"#, r#"{"download":{"name":""}}"#, r#"{"list":{"listed":"x"}}"#]
        {
            assert!(serde_json::from_str::<Command>(line).is_err(), "{line}");
        }
    }
}
