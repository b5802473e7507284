//! Events that the indexer thread handles.

use std::sync::Arc;

use crossbeam_channel::Sender;

use super::catalog::SharedFile;
use crate::node::report::ScanSummary;
use crate::store::hash::{HashError, Hashed};
use crate::store::scan::FoundFile;
use crate::store::share::FileStamp;
use crate::types::{ContentKey, FileEntry, FileName, FileOrigin, Md5Digest};

/// An event for the indexer.
#[derive(Debug)]
pub(crate) enum Event {
    /// Scan the shared directory; reply when done.
    Rescan(Sender<Result<ScanSummary, String>>),
    /// A walk has found a file in the folder of that kind.
    Found(FileOrigin, FoundFile),
    /// A walk skips something, for the given reason.
    Skipped(String),
    /// A walk has ended.
    WalkEnded(Result<(), String>),
    /// Compare one name with the disk, and reply with what the catalog has then.
    Check { name: FileName, reply: Sender<Option<Arc<SharedFile>>> },
    /// A file may not be as it was when it was hashed.
    LookAgain { name: FileName },
    /// A worker has hashed a file, or found it unchanged.
    Looked { name: FileName, outcome: Look },
    /// Some pieces of a content under download are here.
    Partial(FileEntry),
    /// The download of a content has ended.
    PartialEnded(ContentKey),
    /// A downloaded file is in place.
    Placed { file: SharedFile, reply: Sender<()> },
    /// The MD5 of a whole file, known before only from holders, has been computed.
    Md5 { name: FileName, stamp: FileStamp, md5: Md5Digest },
}

/// What a worker found under a name.
#[derive(Debug)]
pub(crate) enum Look {
    /// The file is as the catalog has it.
    Unchanged,
    /// A file of that kind, hashed.
    Hashed(FileOrigin, Hashed),
    /// No file can be published under the name.
    Failed(HashError),
}
