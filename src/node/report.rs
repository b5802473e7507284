//! Requests to a node and what it reports. Plain values.

use std::net::SocketAddr;
use std::time::Duration;

use crate::logic::select::Rating;
pub use crate::proto::event::Outcome;
use crate::types::{Checksum, ContentKey, FileEntry, FileName, FileOrigin, Md5Digest, ReplicationStatus};

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
    pub rating: Option<Rating>,
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
    Ranked { key: ContentKey, ranking: Vec<Rating> },
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
