//! Events of one download, from its ranking of sources to its end.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::code::ErrorCode;
use crate::types::{ContentId, ContentKey, FileName, Md5Digest, Ranked};

/// An event of a download of the file `name`. `b3` is the BLAKE3 of the content, `size_bytes` its size.
/// Events that do not belong to one download are in [`Event`](super::Event).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[allow(missing_docs, reason = "variants describe their fields; units are in the names")]
pub enum DownloadEvent {
    /// The sources are ranked, best first, before the first byte is fetched.
    Ranked { name: FileName, b3: ContentId, ranking: Vec<Ranked>, size_bytes: u64 },
    /// Several contents have the name. The download takes this one, because more live nodes have the whole of
    /// it (`holders`) than of any of the `others` other contents.
    Chose { name: FileName, b3: ContentId, holders: u64, others: u64, size_bytes: u64 },
    /// The download waits: another download fetches the same content, or as many downloads as allowed are
    /// running.
    Waiting { name: FileName },
    /// The download resumes a partial file with `marked_bytes`. They are verified again while the rest is
    /// fetched.
    Resumed { name: FileName, marked_bytes: u64 },
    /// The download begins to fetch from this source; it has `sources` sources now.
    Source { name: FileName, addr: SocketAddr, sources: u64 },
    /// The download has left a source and has `sources` sources now. `why` is `null` if the source is not to
    /// blame.
    Left { name: FileName, addr: SocketAddr, sources: u64, why: Option<String> },
    /// `done_bytes` are verified and written; `fetched_bytes` of them came from sources in this run. Rate and
    /// time left count fetched bytes only, and are `null` while they are not known.
    Bytes {
        name: FileName,
        done_bytes: u64,
        eta_ms: Option<u64>,
        fetched_bytes: u64,
        rate_bytes_per_s: Option<u64>,
        sources: u64,
        total_bytes: u64,
    },
    /// All sources have failed. After a pause the download tries them again: round `round` of `of`.
    Retry { name: FileName, of: u32, pause_ms: u64, round: u32 },
    /// The download hashes the whole file.
    Hashing { name: FileName },
    /// The file is in place.
    Done {
        name: FileName,
        b3: ContentId,
        size_bytes: u64,
        #[serde(flatten)]
        outcome: Outcome,
    },
    /// The download has failed.
    Failed { name: FileName, why: String, code: ErrorCode, exit_code: u8 },
}

/// How a successful download has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// The share had the same content under this name before.
    AlreadyHere,
    /// The content is fetched, verified and in place.
    Fetched {
        /// All sources of bytes, in the order of their first use.
        #[serde(rename = "from")]
        sources: Vec<SocketAddr>,
        /// MD5 of the whole file; `null` if this node did not compute it.
        md5: Option<Md5Digest>,
        /// Pieces of the content.
        pieces: u32,
    },
}

impl DownloadEvent {
    /// The end of a download that has placed `content` under `name`.
    pub fn done(name: FileName, content: ContentKey, outcome: Outcome) -> DownloadEvent {
        DownloadEvent::Done { name, b3: content.id, size_bytes: content.size_bytes, outcome }
    }

    /// The end of a download that has failed, with the exit code that belongs to `code`.
    pub fn failed(name: FileName, why: impl Into<String>, code: ErrorCode) -> DownloadEvent {
        DownloadEvent::Failed { name, why: why.into(), code, exit_code: code.exit_code() }
    }

    /// The file that is downloaded.
    pub fn name(&self) -> &FileName {
        match self {
            DownloadEvent::Ranked { name, .. }
            | DownloadEvent::Chose { name, .. }
            | DownloadEvent::Waiting { name }
            | DownloadEvent::Resumed { name, .. }
            | DownloadEvent::Source { name, .. }
            | DownloadEvent::Left { name, .. }
            | DownloadEvent::Bytes { name, .. }
            | DownloadEvent::Retry { name, .. }
            | DownloadEvent::Hashing { name }
            | DownloadEvent::Done { name, .. }
            | DownloadEvent::Failed { name, .. } => name,
        }
    }

    /// Returns true if and only if no event of the download follows.
    pub fn is_end(&self) -> bool {
        matches!(self, DownloadEvent::Done { .. } | DownloadEvent::Failed { .. })
    }
}
