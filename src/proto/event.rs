//! Events: what the programs tell other programs, one JSON object a line. `docs/events.schema.json` is their
//! schema.
//!
//! One vocabulary for `--json`, `--progress json`, the socket of a running node and the web: results,
//! downloads, notices, errors, jobs. A line begins with `{"event":"`, has its units in the names of fields,
//! and holds no character that could steer a terminal. Fields and events may be added, never renamed. Pure:
//! the time comes in; nothing here knows how an event comes about.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::types::printable::is_unsafe;
use crate::types::{FileEntry, FileName, Geometry, Holding, Millis, NodeSummary};

/// What listens where the pages of a program are.
pub const PAGES: &str = "pages";

/// An event, and when it was told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    #[serde(flatten)]
    pub event: Event,
    /// The download of the node that it is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<u64>,
    /// RFC 3339, UTC, with milliseconds.
    pub ts: String,
}

/// What has happened, or one line of a result. Names and texts are as they are; a [`Record`]'s line escapes
/// them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A program listens, `tracker` or `node`, or [`PAGES`].
    Listening { program: String, addr: SocketAddr },
    /// A node is registered; `files` is `null` while its first scan goes on.
    Ready { files: Option<u64> },
    /// Something that a person should know and did not ask for.
    Notice { level: Level, text: String },
    /// So many events were not told to this reader, who was too slow, or could not be written to.
    Missed { count: u64 },
    /// A command has failed. `exit_code` is what its program exits with if nothing else fails later.
    Error { why: String, code: ErrorCode, exit_code: u8 },
    /// A program or a request has ended; nothing comes after it.
    End { exit_code: u8, code: Option<ErrorCode> },

    /// What `find` has found; `rows` of `found` follow.
    Find { query: String, rows: u64 },
    /// Somebody who has it.
    Found(EventHolder),
    /// A holder that is known and did not answer.
    Silent { addr: SocketAddr, why: String },
    /// One of the contents that a name means, in `sources`; its `rows` of `candidate` follow. `meant`:
    /// `download` would take it.
    Content { name: FileName, size_bytes: u64, b3: String, full_holders: u64, rows: u64, meant: bool },
    /// Somebody who has it, and why it stands where it stands: score = latency + `load_weight_ms` * load.
    /// `place` is `null` for the own node.
    Candidate {
        place: Option<u64>,
        #[serde(with = "ms")]
        load_weight_ms: Millis,
        #[serde(flatten)]
        holder: EventHolder,
    },
    /// Somebody has searched, and was shown `rows`; a download would begin with `addr`.
    Searched {
        query: String,
        rows: u64,
        addr: Option<SocketAddr>,
        #[serde(with = "ms_or_null")]
        score_ms: Option<Millis>,
        took_us: u64,
    },
    /// The load of a node.
    Load { addr: SocketAddr, load: u32 },
    /// A file of the own share; digests are `null` where nobody has computed them, and so is `kind` where
    /// nobody knows it.
    File { name: FileName, size_bytes: u64, md5: Option<String>, b3: Option<String>, kind: Option<String> },
    /// A file of the swarm, as the tracker knows it.
    Name { name: FileName },
    /// A node as the tracker knows it: `live`, `suspect` or `unproved`; to those who follow also `gone`.
    /// `load` is as its last heartbeat told.
    Node { addr: SocketAddr, state: String, files: u32, load: Option<u32> },
    /// What a scan of the own share has changed.
    Updated { files: u64, added: u64, removed: u64, changed: u64 },
    /// One figure of `stats`; `null` where it is not known. The unit is in its name.
    Stat { name: String, value: Option<u64> },
    /// What `verify` says of a file.
    Verified { name: FileName, state: VerifyState, size_bytes: u64, b3: Option<String>, why: Option<String> },
    /// The upload rate in force; `null`: no limit.
    Limit { max_upload_bytes_per_s: Option<u64> },
    /// Copies that nodes are to keep: how many nodes are to have it, have it, had it a moment ago, and are at
    /// it. `shortfall` says why there will be fewer.
    Replication {
        name: FileName,
        size_bytes: u64,
        b3: String,
        wanted: u32,
        copies: u32,
        awaited: u32,
        under_way: u32,
        shortfall: Option<String>,
    },
    /// A download of the node as it stands now.
    Job {
        id: u64,
        name: FileName,
        state: JobState,
        origin: JobOrigin,
        done_bytes: Option<u64>,
        total_bytes: Option<u64>,
        why: Option<String>,
    },
    /// Text for people.
    Help { text: String },

    /// A download has ranked its candidates, best first.
    Ranked { name: FileName, b3: String, ranking: Vec<EventRanked>, size_bytes: u64 },
    /// More than one content has the name; this one has strictly more live full holders.
    Chose { name: FileName, b3: String, holders: u64, others: u64, size_bytes: u64 },
    /// Other downloads have to end first.
    Waiting { name: FileName },
    /// So much was left by an earlier download and is verified again.
    Resumed { name: FileName, marked_bytes: u64 },
    /// Pieces are now fetched from this source too; `sources` are in use then.
    Source { name: FileName, addr: SocketAddr, sources: u64 },
    /// A source was left; without a reason nothing is wrong with it.
    Left { name: FileName, addr: SocketAddr, sources: u64, why: Option<String> },
    /// How far a download is. `rate_bytes_per_s` and `eta_ms` go by fetched bytes and are `null` while they
    /// are not known.
    Bytes {
        name: FileName,
        done_bytes: u64,
        eta_ms: Option<u64>,
        fetched_bytes: u64,
        rate_bytes_per_s: Option<u64>,
        sources: u64,
        total_bytes: u64,
    },
    /// All sources have failed; another round begins after a pause.
    Retry { name: FileName, of: u32, pause_ms: u64, round: u32 },
    /// The whole file is being hashed.
    Hashing { name: FileName },
    /// A download has ended well.
    Done {
        name: FileName,
        b3: String,
        size_bytes: u64,
        #[serde(flatten)]
        outcome: EventOutcome,
    },
    /// A download has failed.
    Failed { name: FileName, why: String, code: ErrorCode, exit_code: u8 },
}

/// A live holder of a content, as `find` shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EventHolder {
    pub name: FileName,
    pub addr: SocketAddr,
    pub size_bytes: u64,
    /// 32 hex digits, as published.
    pub md5: String,
    /// 64 hex digits.
    pub b3: String,
    pub state: HolderState,
    /// Fewer than `total_pieces` for a part.
    pub have_pieces: u32,
    pub total_pieces: u32,
    /// `null` for the own node, as are the next three.
    #[serde(with = "ms_or_null")]
    pub latency_ms: Option<Millis>,
    pub latency_from: Option<LatencyFrom>,
    pub load: Option<u32>,
    #[serde(with = "ms_or_null")]
    pub score_ms: Option<Millis>,
    /// `download` would begin with it.
    pub chosen: bool,
}

impl EventHolder {
    /// A holder of whom no more is known than what it publishes.
    pub fn of(entry: &FileEntry, addr: SocketAddr) -> EventHolder {
        let total_pieces = Geometry::of(entry.size_bytes).count().unwrap_or(u32::MAX);
        let (state, have_pieces) = match entry.holding {
            Holding::Full => (HolderState::Full, total_pieces),
            Holding::Pieces(have) => (HolderState::Part, have),
        };
        EventHolder {
            name: entry.name.clone(),
            addr,
            size_bytes: entry.size_bytes,
            md5: entry.md5.to_string(),
            b3: entry.content.to_string(),
            state,
            have_pieces,
            total_pieces,
            latency_ms: None,
            latency_from: None,
            load: None,
            score_ms: None,
            chosen: false,
        }
    }
}

/// What a holder is to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HolderState {
    Full,
    /// It has some pieces.
    Part,
    /// It is this very node.
    Own,
}

/// A candidate in its place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EventRanked {
    pub addr: SocketAddr,
    #[serde(with = "ms")]
    pub latency_ms: Millis,
    pub latency_from: LatencyFrom,
    pub load: u32,
    #[serde(with = "ms")]
    pub score_ms: Millis,
    /// The asker's own transfers that `load` counts.
    pub yours: u32,
}

/// Where a latency comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LatencyFrom {
    File,
    Default,
    Measured,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    Info,
    Warning,
}

/// How a download has ended well.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum EventOutcome {
    /// The same content was here.
    AlreadyHere,
    /// `md5` is that of the whole file, `null` if it was not computed here; `from` are all that bytes came
    /// from, the first used first.
    Fetched { from: Vec<SocketAddr>, md5: Option<String>, pieces: u32 },
}

/// How a file compares with what is published under its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VerifyState {
    /// This content is published under this name.
    Ok,
    /// Only other contents are.
    Differs,
    /// Nobody who answers publishes this name.
    Unknown,
    /// It is not there, or cannot be read.
    Unreadable,
}

/// How a download of a node stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    Queued,
    Running,
    Paused,
    Done,
    Failed,
    Cancelled,
}

/// Why there is a download.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobOrigin {
    /// Somebody waits for it.
    Asked,
    /// Somebody has asked for it and does not wait.
    Background,
    /// A former run of the node has left it unfinished.
    Unasked,
}

/// Why something failed, as a word that stays the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// A fault of the program or the system.
    Other,
    /// Bad arguments, an unknown command, no such directory.
    Usage,
    /// No node has the file.
    NotFound,
    /// No tracker that serves us.
    NoTracker,
    /// Holders are known, but none could deliver.
    SourcesFailed,
    /// A peer cannot be reached, or an address cannot be listened on.
    Network,
    /// The time given was not enough.
    TimedOut,
    /// Cancelled with work unfinished.
    Interrupted,
    /// Bytes or a digest that do not match.
    Digest,
    NoSpace,
    /// A directory or file cannot be read or written, or is in use.
    LocalIo,
    /// Something else has that name.
    Exists,
    /// A bad or missing configuration file.
    Config,
    /// A bad or missing latency file.
    LatencyFile,
    AddressInUse,
    /// A name means several contents.
    Ambiguous,
}

impl ErrorCode {
    /// What a program exits with for it.
    pub const fn exit_code(self) -> u8 {
        match self {
            ErrorCode::Other => 1,
            ErrorCode::Usage => 2,
            ErrorCode::NotFound => 3,
            ErrorCode::NoTracker => 4,
            ErrorCode::SourcesFailed => 5,
            ErrorCode::Network | ErrorCode::TimedOut => 6,
            ErrorCode::Interrupted => 7,
            ErrorCode::Digest => 8,
            ErrorCode::NoSpace => 9,
            ErrorCode::LocalIo => 10,
            ErrorCode::Exists => 11,
            ErrorCode::Config | ErrorCode::LatencyFile => 14,
            ErrorCode::AddressInUse => 15,
            ErrorCode::Ambiguous => 16,
        }
    }
}

impl Event {
    pub fn info(text: impl Into<String>) -> Event {
        Event::Notice { level: Level::Info, text: text.into() }
    }

    pub fn warning(text: impl Into<String>) -> Event {
        Event::Notice { level: Level::Warning, text: text.into() }
    }

    pub fn node(node: &NodeSummary) -> Event {
        let NodeSummary { endpoint, liveness, files, load, .. } = node;
        Event::Node { addr: *endpoint, state: liveness.to_string(), files: *files, load: *load }
    }

    /// A node that the tracker knows no more.
    pub fn gone(addr: SocketAddr) -> Event {
        Event::Node { addr, state: "gone".to_owned(), files: 0, load: None }
    }

    pub fn stat(name: &str, value: usize) -> Event {
        Event::Stat { name: name.to_owned(), value: u64::try_from(value).ok() }
    }

    pub fn error(why: impl Into<String>, code: ErrorCode) -> Event {
        Event::Error { why: why.into(), code, exit_code: code.exit_code() }
    }

    pub fn failed(name: FileName, why: impl Into<String>, code: ErrorCode) -> Event {
        Event::Failed { name, why: why.into(), code, exit_code: code.exit_code() }
    }

    /// The file whose download this tells of; `None` for all that is not of a download.
    pub fn download(&self) -> Option<&FileName> {
        match self {
            Event::Ranked { name, .. }
            | Event::Chose { name, .. }
            | Event::Waiting { name }
            | Event::Resumed { name, .. }
            | Event::Source { name, .. }
            | Event::Left { name, .. }
            | Event::Bytes { name, .. }
            | Event::Retry { name, .. }
            | Event::Hashing { name }
            | Event::Done { name, .. }
            | Event::Failed { name, .. } => Some(name),
            _ => None,
        }
    }

    /// The event told at `wall_ns`, nanoseconds since 1970.
    pub fn at(self, wall_ns: i64) -> Record {
        Record { event: self, job: None, ts: rfc3339(wall_ns) }
    }
}

/// Nanoseconds since 1970 as RFC 3339 writes a time, in UTC with milliseconds: `1994-11-06T08:49:37.000Z`.
/// Earlier is 1970.
pub fn rfc3339(wall_ns: i64) -> String {
    let since_1970 = Duration::from_nanos(u64::try_from(wall_ns).unwrap_or(0));
    humantime::format_rfc3339_millis(SystemTime::UNIX_EPOCH + since_1970).to_string()
}

impl Record {
    /// One line, without its end.
    pub fn to_line(&self) -> String {
        let text = serde_json::to_string(self).expect("keys are strings and numbers finite");
        // JSON lets through what it does not need to escape; outside of strings there is none of it.
        let mut line = String::with_capacity(text.len());
        for c in text.chars() {
            if is_unsafe(c) {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    let _always_fits = write!(line, "\\u{unit:04x}");
                }
            } else {
                line.push(c);
            }
        }
        #[cfg(test)]
        tests::schema::check(&line);
        line
    }

    /// What [`Record::to_line`] has made; fields that are not known are skipped.
    ///
    /// # Errors
    /// When it is no event, or one that this version does not know.
    pub fn from_line(line: &str) -> Result<Record, serde_json::Error> {
        serde_json::from_str(line)
    }
}

/// Milliseconds as a number with up to three decimals.
mod ms {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::types::Millis;

    pub(super) fn number(millis: Millis) -> f64 {
        millis.as_micros() as f64 / 1000.0
    }

    pub(super) fn millis(number: f64) -> Millis {
        // Saturates; what is no number is 0.
        Millis::from_micros((number * 1000.0).round() as u64)
    }

    pub(super) fn serialize<S: Serializer>(value: &Millis, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_f64(number(*value))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Millis, D::Error> {
        f64::deserialize(from).map(millis)
    }
}

/// The same, or `null`.
mod ms_or_null {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::ms;
    use crate::types::Millis;

    pub(super) fn serialize<S: Serializer>(value: &Option<Millis>, to: S) -> Result<S::Ok, S::Error> {
        value.map(ms::number).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Millis>, D::Error> {
        Ok(Option::<f64>::deserialize(from)?.map(ms::millis))
    }
}

#[cfg(test)]
mod tests;
