//! Events that the thread `indexer` handles.

use std::sync::Arc;

use crossbeam_channel::Sender;

use super::catalog::SharedFile;
use crate::node::report::ScanSummary;
use crate::store::hash::{HashError, Hashed};
use crate::store::scan::{FoundFile, SkippedEntry};
use crate::store::share::FileStamp;
use crate::types::{ContentKey, FileEntry, FileName, FileOrigin, Md5Digest};

/// An event for the indexer.
#[derive(Debug)]
pub(crate) enum Event {
    /// A request to scan the shared directory. The reply comes at the end of the scan.
    Rescan(Sender<Result<ScanSummary, String>>),
    /// The walk of a scan has found a file in the folder of this origin.
    Found(FileOrigin, FoundFile),
    /// The walk of the folder of that origin skips a file or directory.
    Skipped(FileOrigin, SkippedEntry),
    /// A folder cannot be opened. Contains the notice for the user.
    FolderSkipped(String),
    /// The walk has ended; an error says why it is incomplete.
    WalkEnded(Result<(), String>),
    /// A request to compare one name with the disk. The reply is the catalog's file after that.
    Check { name: FileName, reply: Sender<Option<Arc<SharedFile>>> },
    /// A file may have changed since it was hashed.
    LookAgain { name: FileName },
    /// A worker has looked at a name: it has hashed the file, or found it unchanged.
    Looked { name: FileName, outcome: LookOutcome },
    /// A partial file has verified pieces, which other nodes may fetch.
    Partial(FileEntry),
    /// The download of a content has ended: its partial file is not published any more.
    PartialEnded(ContentKey),
    /// A download has placed a file.
    Placed { file: SharedFile, reply: Sender<()> },
    /// A worker has computed the MD5 of a whole file, of which only a claim was known before.
    Md5 { name: FileName, stamp: FileStamp, md5: Md5Digest },
}

/// What a worker found under a name.
#[derive(Debug)]
pub(crate) enum LookOutcome {
    /// The file is unchanged since it was hashed.
    Unchanged,
    /// A hashed file and its origin.
    Hashed(FileOrigin, Hashed),
    /// No file can be published under the name.
    Failed(HashError),
}
