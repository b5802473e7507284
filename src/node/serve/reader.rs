//! Opens shared files for sending, and checks that they are as they were hashed.

use std::fs::File;
use std::sync::Arc;

use crate::node::index::IndexerHandle;
use crate::node::index::catalog::SharedFile;
use crate::proto::peer::PeerRefusal;
use crate::store::share::FileStamp;
use crate::store::{ShareFolders, is_shortage};

/// Reads shared files. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct ShareReader {
    /// `None`: this node has no directory.
    pub(crate) folders: Option<Arc<ShareFolders>>,
    pub(crate) indexer: IndexerHandle,
}

impl ShareReader {
    /// Opens a shared file.
    ///
    /// # Errors
    /// [`PeerRefusal`]: it is gone or has changed, it cannot be read, or this node has no descriptor left.
    pub(super) fn open(&self, source: &SharedFile) -> Result<File, PeerRefusal> {
        let folder = self.folders.as_ref().and_then(|folders| folders.of(source.origin));
        let folder = folder.ok_or(PeerRefusal::NotShared)?;
        let opened = folder.open_file(&source.entry.name);
        opened.map(|open| open.file).map_err(|error| self.refusal_for(source, &error))
    }

    /// Checks that the open file of `source` has the stamp that it had when it was hashed.
    ///
    /// # Errors
    /// [`PeerRefusal`]. If the file has changed or cannot be examined, the indexer compares it with the
    /// catalog.
    pub(super) fn check(&self, source: &SharedFile, file: &File) -> Result<(), PeerRefusal> {
        match FileStamp::of(file) {
            Ok(stamp) if stamp == source.stamp => Ok(()),
            Ok(_) => {
                self.look_again(source);
                Err(PeerRefusal::Changed)
            }
            Err(error) => Err(self.refusal_for(source, &error)),
        }
    }

    /// The refusal for a file that cannot be opened or examined.
    fn refusal_for(&self, source: &SharedFile, error: &std::io::Error) -> PeerRefusal {
        // A shortage of descriptors or memory says nothing about the file.
        if is_shortage(error) {
            return PeerRefusal::Busy;
        }
        self.look_again(source);
        match error.kind() {
            // The file is gone, or something other than a file has its name.
            std::io::ErrorKind::NotFound | std::io::ErrorKind::InvalidInput => PeerRefusal::Changed,
            kind => PeerRefusal::Unreadable(kind.to_string()),
        }
    }

    /// Requests that the indexer compares the file with the catalog. Does not wait.
    fn look_again(&self, source: &SharedFile) {
        self.indexer.look_again(source.entry.name.clone());
    }
}
