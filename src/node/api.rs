//! What the floor above sees of a node: configuration, reports, errors. Plain values.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;

use crate::discovery::DiscoveryError;
pub use crate::proto::event::Outcome;
use crate::rt::EventBroadcast;
use crate::store::ShareError;
use crate::types::{
    Checksum, ContentKey, FileEntry, FileName, FileOrigin, Layout, Md5Digest, Millis, NodeTraits, Printable,
    ReplicationStatus,
};

/// How a node runs. Every field has a flag of the same name.
#[derive(Debug, Clone)]
pub struct NodeConfig {
    pub ip: IpAddr,
    /// 0: any.
    pub port: u16,
    pub share: PathBuf,
    /// Where the files of each kind stand in it.
    pub layout: Layout,
    /// Where downloads are placed instead. They are shared only if that lies within the share, under the name
    /// that they have there.
    pub save_dir: Option<PathBuf>,
    pub tracker: SocketAddr,
    pub advertise: Option<SocketAddr>,
    pub latency: LatencySource,
    /// For a pair that the latency file does not have.
    pub default_latency: Millis,
    /// What one unit of load weighs, in milliseconds.
    pub load_weight: Millis,
    pub emulate_latency: bool,
    pub retries: u32,
    /// `None`: no heartbeats, and reconnecting only at a command.
    pub heartbeat: Option<Duration>,
    /// Bytes per second of all uploads together; `None`: no limit.
    pub max_upload: Option<u64>,
    /// True: a tracker that is not there is waited for. False: it is an error of whoever asks.
    pub wait_for_tracker: bool,
    pub membership: Membership,
    /// Go on by itself with downloads that a former run of the node left unfinished.
    pub resume: bool,
    /// Keep copies of others' files when the tracker asks for it. Nothing is asked of a node without
    /// heartbeats.
    pub accept_replicas: bool,
    /// Most bytes of such copies, those under way included; `None`: as many as the disk has room for.
    pub replica_quota: Option<u64>,
    /// Where the node tells what happens.
    pub events: EventBroadcast,
}

impl NodeConfig {
    /// A node on `ip` and any port that shares `share`, with every other field at its default.
    pub fn new(ip: IpAddr, share: &Path, tracker: SocketAddr) -> NodeConfig {
        NodeConfig {
            ip,
            port: 0,
            share: share.to_owned(),
            layout: Layout::Flat,
            save_dir: None,
            tracker,
            advertise: None,
            latency: LatencySource::Measured,
            default_latency: Millis::from_ms(100),
            load_weight: Millis::from_ms(10),
            emulate_latency: false,
            retries: 4,
            heartbeat: Some(Duration::from_secs(5)),
            max_upload: None,
            wait_for_tracker: false,
            membership: Membership::Member,
            resume: false,
            accept_replicas: false,
            replica_quota: None,
            events: EventBroadcast::default(),
        }
    }

    /// What the tracker is told about the node when it starts.
    pub(super) fn traits(&self) -> NodeTraits {
        // A node that says nothing unasked would never ask for anything to keep.
        let is_member = self.membership == Membership::Member;
        let is_willing = self.accept_replicas && self.heartbeat.is_some() && is_member;
        let quota = self.replica_quota.unwrap_or(u64::MAX);
        NodeTraits { http_port: None, replica_quota_bytes: is_willing.then_some(quota) }
    }
}

/// Whether others know of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Membership {
    /// It listens, registers, locks its share and offers what is in it.
    Member,
    /// It asks and downloads: no listener, no registration, no lock on the directory, and nothing of it is
    /// read but where a download is to go. Its port only says which row of the latency file is its own.
    Guest(GuestFolder),
}

/// Where the downloads of a guest go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GuestFolder {
    /// Nowhere: it only asks, and its share is not looked at.
    Nowhere,
    /// Into its share, under their names. A node that shares it keeps the guest out.
    Share,
    /// Into its share, under this name, whoever shares it.
    File(FileName),
}

/// Where latencies come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LatencySource {
    /// A latency file, read again when it has changed.
    File(PathBuf),
    /// Measured.
    Measured,
}

/// What came of waiting for the node to be up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ready {
    /// Registered, and the first scan published.
    Complete { files: usize },
    /// Registered, but the first scan goes on; a notice will tell of its end.
    Scanning,
}

/// What a scan changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ScanSummary {
    pub files: usize,
    pub added: usize,
    pub removed: usize,
    pub changed: usize,
}

/// The answer to `find`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FindReport {
    /// Contents, most live full holders first.
    pub groups: Vec<FoundGroup>,
    /// Holders that did not answer the load probe, and why.
    pub silent: Vec<(SocketAddr, String)>,
    /// What a download would take; `None` where several contents are equally held, or nobody else has any.
    pub meant: Option<ResolvedContent>,
}

/// The content that a name means, and the first of its sources.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResolvedContent {
    pub key: ContentKey,
    pub first: SocketAddr,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundGroup {
    pub key: ContentKey,
    /// Best score first; the own node last.
    pub rows: Vec<FoundRow>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundRow {
    pub endpoint: SocketAddr,
    /// Where the source serves HTTP, if it has told.
    pub http: Option<SocketAddr>,
    pub entry: FileEntry,
    /// How it ranks; `None` for the own node.
    pub rating: Option<crate::logic::select::Rating>,
}

/// A file of the node that is published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnFile {
    pub kind: FileOrigin,
    pub entry: FileEntry,
}

/// What to download.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DownloadRequest {
    pub name: FileName,
    pub checksum: Option<Checksum>,
    /// Compute the MD5 of the whole file before it is put in place.
    pub verify_whole: bool,
    /// Replace a file of that name.
    pub force: bool,
}

/// What a node uploads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Uploads {
    /// Bytes of pieces that were sent whole since the node started.
    pub sent_bytes: u64,
    /// Peers that something is uploaded to now.
    pub peers: usize,
}

/// How it stands with the copies of a content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicationReport {
    /// What copies are called.
    pub name: FileName,
    pub key: ContentKey,
    /// Its [`ReplicationStatus::shortfall`] says why there will not be more.
    pub status: ReplicationStatus,
}

/// What is going on in a download.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Progress {
    /// The candidates in order, with the reason for each place, before the first byte.
    Ranked { key: ContentKey, ranking: Vec<crate::logic::select::Rating> },
    /// More than one content has the name; this one has strictly more live full holders.
    Chose { key: ContentKey, holders: usize, others: usize },
    /// Another download of the same content, or as many as may run at once, have to end first.
    Waiting,
    /// So many bytes were left by an earlier download; they are verified again while the others are fetched.
    Resumed { marked_bytes: u64 },
    /// Pieces are now fetched from this source too.
    Source { endpoint: SocketAddr },
    /// A source was left; without a reason nothing is wrong with it, and nothing is asked of it now.
    Left { endpoint: SocketAddr, why: Option<String> },
    /// `done_bytes` are verified and written; `fetched_bytes` of them have come from sources in this run.
    Bytes { done_bytes: u64, total_bytes: u64, fetched_bytes: u64 },
    /// All sources have failed; another round begins after a pause.
    Retry { round: u32, of: u32, pause: Duration },
    /// The whole file is being hashed.
    Hashing,
}

/// A download that ended well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Downloaded {
    pub name: FileName,
    pub key: ContentKey,
    pub outcome: Outcome,
}

/// One content that a name could mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variant {
    pub key: ContentKey,
    pub md5: Md5Digest,
    pub live_full_holders: usize,
}

/// One failed try of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    pub endpoint: SocketAddr,
    pub why: String,
}

/// Why a node cannot start.
#[derive(Debug, Error)]
pub enum StartError {
    #[error("cannot listen on {addr}: {why}")]
    AddressInUse { addr: SocketAddr, why: String },
    #[error("cannot listen on {addr}: {why}")]
    Listen { addr: SocketAddr, why: String },
    #[error("cannot share {path}: {why}")]
    NoSuchDirectory { path: String, why: String },
    #[error("cannot share {path}: {why}")]
    Share { path: String, why: String },
    #[error("{path} is in use by another node: stop it, or share another directory")]
    ShareInUse { path: String },
    #[error("latency file {path}: {why}")]
    Latency { path: String, why: String },
    #[error("the system gives no more threads or descriptors: {0}")]
    System(#[from] std::io::Error),
}

impl From<ShareError> for StartError {
    fn from(error: ShareError) -> StartError {
        match error {
            ShareError::NoSuchDirectory { path, why } => StartError::NoSuchDirectory { path, why },
            ShareError::InUse { path } => StartError::ShareInUse { path },
            ShareError::Io { path, why } => StartError::Share { path, why },
        }
    }
}

/// Why a command failed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CommandError {
    #[error("no tracker at {tracker}: {why}")]
    NoTracker { tracker: SocketAddr, why: String },
    #[error("the tracker at {tracker} refused: {why}")]
    TrackerRefused { tracker: SocketAddr, why: String },
    #[error("{endpoint} cannot be reached: {why}")]
    Unreachable { endpoint: SocketAddr, why: String },
    /// Holders are known, but none answered.
    #[error("none of {} holders answered", .0.len())]
    NoneAnswered(Vec<(SocketAddr, String)>),
    #[error("latency file {path}: {why}")]
    Latency { path: String, why: String },
    #[error("cannot read the share: {0}")]
    Share(String),
    #[error("the system gives no more threads or descriptors: {0}")]
    System(String),
    #[error("cancelled")]
    Cancelled,
}

/// Why a download failed. Nothing of the user's was changed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DownloadError {
    #[error(transparent)]
    Command(#[from] CommandError),
    #[error("no node has `{}`", Printable(.0))]
    NotFound(String),
    #[error("`{name}` means {} different contents with equally many live full holders: choose one with --checksum", .variants.len())]
    Ambiguous { name: FileName, variants: Vec<Variant> },
    #[error("`{name}` exists with other content: use --force to replace it")]
    Exists { name: FileName },
    #[error("`{name}`: no source could deliver it: {}", attempts_text(.attempts))]
    AllFailed {
        name: FileName,
        attempts: Vec<Attempt>,
        /// True if every failure was a digest that did not match.
        all_by_digest: bool,
    },
    #[error("`{name}`: no content has {checksum}: nothing was put in place")]
    Checksum { name: FileName, checksum: String },
    #[error("`{name}`: no space left: {why}")]
    NoSpace { name: FileName, why: String },
    #[error("`{name}`: cannot write: {why}")]
    Disk { name: FileName, why: String },
}

fn attempts_text(attempts: &[Attempt]) -> String {
    if attempts.is_empty() {
        return "nobody who answers has a piece that is missing here".into();
    }
    let texts: Vec<_> =
        attempts.iter().map(|attempt| format!("{}: {}", attempt.endpoint, attempt.why)).collect();
    texts.join("; ")
}

impl From<DiscoveryError> for CommandError {
    fn from(error: DiscoveryError) -> CommandError {
        match error {
            DiscoveryError::NoTracker { tracker, why } => CommandError::NoTracker { tracker, why },
            DiscoveryError::Refused { tracker, why } => CommandError::TrackerRefused { tracker, why },
            DiscoveryError::Cancelled => CommandError::Cancelled,
        }
    }
}
