//! `Event`: all events. Those of one download are in `download.rs`.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::code::ErrorCode;
use super::download::DownloadEvent;
use super::find::EventHolder;
use super::job::{JobSource, JobState};
use super::node::{NodeState, Service};
use crate::types::{ContentId, FileName, FileOrigin, Md5Digest, Millis, NodeSummary};

/// A fact that a program publishes, or one line of the result of a command. Names and texts are not escaped
/// here; the line of a [`Record`](super::Record) escapes them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[allow(missing_docs, reason = "variants describe their fields; units are in the names")]
pub enum Event {
    /// A program listens on `addr`.
    Listening {
        #[serde(rename = "program")]
        service: Service,
        addr: SocketAddr,
    },
    /// A node is registered; `files` is `null` while its first scan runs.
    Ready { files: Option<u64> },
    /// A text for the user that is not the result of a command.
    Notice { level: Level, text: String },
    /// This reader did not get `count` events: it was too slow, or they could not be written.
    Missed { count: u64 },
    /// A command has failed. `exit_code` is what its program exits with if nothing else fails later.
    Error { why: String, code: ErrorCode, exit_code: u8 },
    /// A program, or a command of the local socket, has ended. No event follows.
    End { exit_code: u8, code: Option<ErrorCode> },

    /// Result of `find`; `rows` of `found` follow.
    Find { query: String, rows: u64 },
    /// A row of `find`: a holder.
    Found(EventHolder),
    /// A known holder that did not answer.
    Silent { addr: SocketAddr, why: String },
    /// Result of `sources`: a content that the name can mean. Its `rows` of `candidate` follow.
    Content {
        name: FileName,
        size_bytes: u64,
        b3: ContentId,
        full_holders: u64,
        rows: u64,
        /// True if and only if `download` would take this content.
        #[serde(rename = "meant")]
        resolved: bool,
    },
    /// A row of `sources`: a holder and the parts of its score, latency + `load_weight_ms` * load. `place`
    /// counts from 1 and is `null` for this node itself.
    Candidate {
        place: Option<u64>,
        load_weight_ms: Millis,
        #[serde(flatten)]
        holder: EventHolder,
    },
    /// A user of this program has run a find of `query`, and got `rows` rows. A download would begin with
    /// `addr`.
    Searched { query: String, rows: u64, addr: Option<SocketAddr>, score_ms: Option<Millis>, took_us: u64 },
    /// Load of a node.
    Load { addr: SocketAddr, load: u32 },
    /// A file of this node's share. Digests are `null` where they are not computed, `kind` where it is
    /// unknown.
    File {
        name: FileName,
        size_bytes: u64,
        md5: Option<Md5Digest>,
        b3: Option<ContentId>,
        kind: Option<FileOrigin>,
    },
    /// A file of the swarm, as the tracker knows it.
    Name { name: FileName },
    /// A node as the tracker knows it. `load` is that of its last heartbeat.
    Node { addr: SocketAddr, state: NodeState, files: u32, load: Option<u32> },
    /// Changes that a scan of this node's share has found; `files` is the number of files now.
    Updated { files: u64, added: u64, removed: u64, changed: u64 },
    /// One counter of `stats`; `null` where it is not known. The unit is in its name.
    Stat { name: String, value: Option<u64> },
    /// Result of `verify` for one file.
    Verified {
        name: FileName,
        state: VerifyState,
        size_bytes: u64,
        b3: Option<ContentId>,
        why: Option<String>,
    },
    /// The upload rate in force; `null`: no limit.
    Limit { max_upload_bytes_per_s: Option<u64> },
    /// Copies of a content: number of nodes that shall have it (`wanted`), have it, had it a moment ago, and
    /// fetch it. `shortfall` says why there will be fewer than `wanted`.
    Replication {
        name: FileName,
        size_bytes: u64,
        b3: ContentId,
        wanted: u32,
        copies: u32,
        awaited: u32,
        under_way: u32,
        shortfall: Option<String>,
    },
    /// State of a download job. `why` says why it has failed.
    Job {
        id: u64,
        name: FileName,
        state: JobState,
        #[serde(rename = "origin")]
        source: JobSource,
        done_bytes: Option<u64>,
        total_bytes: Option<u64>,
        why: Option<String>,
    },
    /// The text of `help`.
    Help { text: String },

    /// An event of a download.
    #[serde(untagged)]
    Download(DownloadEvent),
}

/// How important a notice is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// A fact that needs no action.
    Info,
    /// A fault. The program continues.
    Warning,
}

/// How a local file compares with the contents that nodes publish under its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VerifyState {
    /// A node publishes this content under this name.
    Ok,
    /// Nodes publish only other contents under this name.
    Differs,
    /// No node that answers publishes a content under this name.
    Unknown,
    /// The file does not exist or cannot be read.
    Unreadable,
}

impl VerifyState {
    /// The word for it in output and events.
    pub const fn as_str(self) -> &'static str {
        match self {
            VerifyState::Ok => "ok",
            VerifyState::Differs => "differs",
            VerifyState::Unknown => "unknown",
            VerifyState::Unreadable => "unreadable",
        }
    }
}

impl From<DownloadEvent> for Event {
    fn from(event: DownloadEvent) -> Event {
        Event::Download(event)
    }
}

impl Event {
    /// A notice of level `Info`.
    pub fn info(text: impl Into<String>) -> Event {
        Event::Notice { level: Level::Info, text: text.into() }
    }

    /// A notice of level `Warning`.
    pub fn warning(text: impl Into<String>) -> Event {
        Event::Notice { level: Level::Warning, text: text.into() }
    }

    /// A node that the tracker lists.
    pub fn node(node: &NodeSummary) -> Event {
        let NodeSummary { endpoint, liveness, files, load, .. } = node;
        Event::Node { addr: *endpoint, state: NodeState::Listed(*liveness), files: *files, load: *load }
    }

    /// A node that the tracker has removed.
    pub fn gone(addr: SocketAddr) -> Event {
        Event::Node { addr, state: NodeState::Gone, files: 0, load: None }
    }

    /// The value of the counter `name`.
    pub fn stat(name: &str, value: usize) -> Event {
        Event::Stat { name: name.to_owned(), value: u64::try_from(value).ok() }
    }

    /// A failed command, with the exit code that belongs to `code`.
    pub fn error(why: impl Into<String>, code: ErrorCode) -> Event {
        Event::Error { why: why.into(), code, exit_code: code.exit_code() }
    }

    /// The event of a download; `None` for all others.
    pub fn as_download(&self) -> Option<&DownloadEvent> {
        match self {
            Event::Download(event) => Some(event),
            _ => None,
        }
    }
}
