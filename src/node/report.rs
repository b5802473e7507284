//! The values that commands take and return: requests and reports.

use std::net::SocketAddr;

pub use crate::proto::event::Outcome;
use crate::types::{
    Checksum, ContentKey, FileEntry, FileName, FileOrigin, Md5Digest, Ranked, ReplicationStatus,
};

/// Result of waiting for a node to be ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ready {
    /// The node is registered, and the result of the first scan is published.
    Complete {
        /// Number of shared files.
        files: usize,
    },
    /// The node is registered, but the first scan is not over. A notice tells its end.
    Scanning,
}

/// What a scan changed in the catalog.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ScanSummary {
    /// Number of shared files after it.
    pub files: usize,
    /// Number of new files.
    pub added: usize,
    /// Number of files that are not shared any more.
    pub removed: usize,
    /// Number of files with a new content.
    pub changed: usize,
}

/// Result of `find`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FindReport {
    /// Contents, most live full holders first.
    pub groups: Vec<FoundGroup>,
    /// Holders without a valid answer to the probe, and why.
    pub silent: Vec<(SocketAddr, String)>,
    /// The content that the name means for a download. `None` if no other node has any, or if no content has
    /// more full holders than each other one and the own node has none of them.
    pub resolved: Option<ResolvedContent>,
}

/// The content that a name means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResolvedContent {
    /// The content.
    pub key: ContentKey,
    /// Its best source.
    pub first: SocketAddr,
}

/// A content that `find` found, with its holders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundGroup {
    /// The content.
    pub key: ContentKey,
    /// The full holders, then the partial ones, each kind with the best score first; the own node last.
    pub rows: Vec<FoundRow>,
}

/// A holder of a content, under one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundRow {
    /// Address of the holder.
    pub endpoint: SocketAddr,
    /// Address of the holder's HTTP server, if it has announced one.
    pub http: Option<SocketAddr>,
    /// The file as the holder publishes it.
    pub entry: FileEntry,
    /// The score, with the latency and load that it is computed from; `None` for the own node.
    pub rating: Option<Ranked>,
}

/// A published file of the own node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnFile {
    /// Whether the file is local, downloaded or a replica.
    pub origin: FileOrigin,
    /// The file as it is published.
    pub entry: FileEntry,
}

/// What to download.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DownloadRequest {
    /// Name of the file, here and at its holders.
    pub name: FileName,
    /// Digest that selects one of the contents that the name may mean.
    pub checksum: Option<Checksum>,
    /// Compute the MD5 of the whole file before it is placed. Other reasons for this are in
    /// `download/check.rs`.
    pub verify_whole: bool,
    /// Replace a file of the same name.
    pub force: bool,
}

/// What a node uploads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Uploads {
    /// Bytes of completely sent pieces and of files over HTTP since the start of the node.
    pub sent_bytes: u64,
    /// Number of peers with an upload under way.
    pub peers: usize,
}

/// State of the replication of a content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicationReport {
    /// Name of the copies.
    pub name: FileName,
    /// The content.
    pub key: ContentKey,
    /// Numbers of wanted and present copies. [`ReplicationStatus::shortfall`] tells why copies are missing.
    pub status: ReplicationStatus,
}

/// Result of a download.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Downloaded {
    /// Name of the file.
    pub name: FileName,
    /// Its content.
    pub key: ContentKey,
    /// Whether it was fetched, and from which sources.
    pub outcome: Outcome,
}

/// One of several contents that a name may mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variant {
    /// The content.
    pub key: ContentKey,
    /// MD5 of the whole file, as a holder publishes it.
    pub md5: Md5Digest,
    /// Number of nodes that answer and have the whole content.
    pub live_full_holders: usize,
}

/// A holder or source that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// Its address.
    pub endpoint: SocketAddr,
    /// The reason.
    pub why: String,
}
