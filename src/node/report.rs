//! Values that commands take and return: requests, and reports of their results.

use std::net::SocketAddr;

pub use crate::proto::event::Outcome;
use crate::types::{
    Checksum, ContentKey, FileEntry, FileName, FileOrigin, Md5Digest, Ranked, ReplicationStatus,
};

/// Result of waiting for a node to be ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ready {
    /// Registered, and the first scan is published.
    Complete {
        /// Number of shared files.
        files: usize,
    },
    /// Registered, but the first scan is not over; a notice tells when it is.
    Scanning,
}

/// What a scan changed in the catalog.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ScanSummary {
    /// Number of shared files after it.
    pub files: usize,
    /// Number of new files.
    pub added: usize,
    /// Number of files that were removed.
    pub removed: usize,
    /// Number of files with a new content.
    pub changed: usize,
}

/// Result of `find`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FindReport {
    /// Contents, most live full holders first.
    pub groups: Vec<FoundGroup>,
    /// Holders that did not answer the load probe, and why.
    pub silent: Vec<(SocketAddr, String)>,
    /// The content that a download would fetch. `None` if several contents have equally many holders, or if
    /// no other node has any.
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
    /// The holders, best score first; the own node last.
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
    /// Score and what it is made of; `None` for the own node.
    pub rating: Option<Ranked>,
}

/// A published file of the own node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnFile {
    /// Where the file comes from.
    pub kind: FileOrigin,
    /// The file as it is published.
    pub entry: FileEntry,
}

/// What to download.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DownloadRequest {
    /// Name of the file, here and at its holders.
    pub name: FileName,
    /// Digest of the content, where the name may have several.
    pub checksum: Option<Checksum>,
    /// Compute the MD5 of the whole file before it is placed.
    pub verify_whole: bool,
    /// Replace a file of the same name.
    pub force: bool,
}

/// What a node uploads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Uploads {
    /// Bytes of completely sent pieces since the start of the node.
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
    /// Number of copies; [`ReplicationStatus::shortfall`] tells why there will not be more.
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
    /// Number of holders that answer and have all of it.
    pub live_full_holders: usize,
}

/// A source that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// Address of the source.
    pub endpoint: SocketAddr,
    /// The reason.
    pub why: String,
}
