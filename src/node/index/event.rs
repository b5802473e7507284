//! Events that the indexer thread handles.

use std::sync::Arc;

use crossbeam_channel::Sender;

use super::catalog::SharedFile;
use crate::node::report::ScanSummary;
use crate::store::hash::{HashError, Hashed};
use crate::store::scan::FoundFile;
use crate::store::share::FileStamp;
use crate::types::{ContentKey, FileEntry, FileName, FileOrigin, Md5Digest};

/// What the core is told.
#[derive(Debug)]
pub(crate) enum Event {
    /// Scan the share; answer when done.
    Rescan(Sender<Result<ScanSummary, String>>),
    /// A walk has come across a file in the folder of that kind.
    Found(FileOrigin, FoundFile),
    /// A walk has come across something that it skips and a person should know.
    Skipped(String),
    WalkEnded(Result<(), String>),
    /// Make the catalog right about one name, and answer with what it holds then.
    Check {
        name: FileName,
        reply: Sender<Option<Arc<SharedFile>>>,
    },
    /// A file does not look as it did when it was hashed.
    LookAgain {
        name: FileName,
    },
    /// A worker has hashed a file, or found it as known.
    Looked {
        name: FileName,
        outcome: Look,
    },
    /// Some pieces of a content that is being downloaded are here.
    Partial(FileEntry),
    /// It is being downloaded no more.
    PartialEnded(ContentKey),
    /// A download is in place.
    Placed {
        file: SharedFile,
        reply: Sender<()>,
    },
    /// The MD5 of a whole file, claimed before, has been computed.
    Md5 {
        name: FileName,
        stamp: FileStamp,
        md5: Md5Digest,
    },
}

/// What a worker found at a name.
#[derive(Debug)]
pub(crate) enum Look {
    AsKnown,
    Hashed(FileOrigin, Hashed),
    Failed(HashError),
}
