//! The own files for other protocols than the node's: looked up, opened, and counted as load while they are
//! sent.
//!
//! The same rules as for pieces: a file is sent only while it looks as it did when it was hashed, whoever
//! sends it pays from the node's upload rate, and each sending ends exactly once.

use std::fs::File;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::reader::ShareReader;
use crate::discovery::TrackerSession;
use crate::logic::load::Requester;
use crate::net::TokenBucket;
use crate::node::index::catalog::SharedFile;
use crate::node::report::OwnFile;
use crate::node::state::NodeState;
use crate::proto::peer::PeerRefusal;
use crate::types::{ContentKey, FileEntry, FileName, Manifest};

/// Cheap to clone.
#[derive(Debug, Clone)]
pub struct SharedFiles {
    state: Arc<NodeState>,
    reader: ShareReader,
    tracker: Arc<dyn TrackerSession>,
    rate: Arc<TokenBucket>,
}

/// A file that is open and was as it was hashed.
#[derive(Debug)]
pub struct OpenSharedFile {
    pub file: Arc<File>,
    shared: Arc<SharedFile>,
    state: Arc<NodeState>,
    reader: ShareReader,
}

/// A sending that counts as load until this is dropped.
#[derive(Debug)]
pub struct UploadGuard {
    requester: Requester,
    content: ContentKey,
    open: OpenSharedFile,
}

impl SharedFiles {
    pub(crate) fn new(
        state: Arc<NodeState>,
        reader: ShareReader,
        tracker: Arc<dyn TrackerSession>,
        rate: Arc<TokenBucket>,
    ) -> SharedFiles {
        SharedFiles { state, reader, tracker, rate }
    }

    /// What pays for every byte that is sent of a file.
    pub fn rate(&self) -> &Arc<TokenBucket> {
        &self.rate
    }

    /// Why peers do not find yet, or not now, what is here; `None`: they do.
    pub fn why_not_ready(&self) -> Option<&'static str> {
        if !self.state.is_scanned.load(Ordering::Relaxed) {
            return Some("the shared directory is being looked at for the first time");
        }
        let is_registered = self.tracker.is_registered();
        (!is_registered)
            .then_some("no registration is in effect: no tracker, or it cannot call this node back")
    }

    /// The piece list of an own file with this content.
    pub fn manifest(&self, content: &ContentKey) -> Option<Arc<Manifest>> {
        self.state.catalog.read().by_content(content).map(|file| Arc::clone(&file.manifest))
    }

    /// The first `max` own files that begin with `prefix` and come after `after`, by name, and whether there
    /// are more.
    pub fn files(&self, prefix: &str, after: Option<&FileName>, max: usize) -> (Vec<OwnFile>, bool) {
        let catalog = self.state.catalog.read();
        let own = |file: &Arc<SharedFile>| OwnFile { kind: file.kind, entry: FileEntry::clone(&file.entry) };
        let mut files: Vec<_> =
            catalog.files_with(prefix, after).take(max.saturating_add(1)).map(own).collect();
        let more = files.len() > max;
        files.truncate(max);
        (files, more)
    }

    /// Number of own files.
    pub fn len(&self) -> usize {
        self.state.catalog.read().len()
    }

    /// Returns true if and only if there is no own file.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of transfers that the node takes part in.
    pub fn load(&self) -> u32 {
        self.state.ledger.lock().load()
    }

    /// Opens the own file called `name`. May wait for a disk.
    ///
    /// # Errors
    /// [`PeerRefusal`]; `Changed` if it is not what was hashed, which is being looked at again then.
    pub fn open(&self, name: &FileName) -> Result<OpenSharedFile, PeerRefusal> {
        let shared = self.state.catalog.read().get(name).cloned().ok_or(PeerRefusal::NotShared)?;
        let file = Arc::new(self.reader.open(&shared)?);
        self.reader.check(&shared, &file)?;
        Ok(OpenSharedFile { file, shared, state: Arc::clone(&self.state), reader: self.reader.clone() })
    }
}

impl OpenSharedFile {
    pub fn entry(&self) -> &Arc<FileEntry> {
        &self.shared.entry
    }

    /// Counts from now on as a transfer to whoever is at `peer`. All connections of one address are one
    /// transfer, as those of one node.
    pub fn begin(self, peer: IpAddr) -> UploadGuard {
        let (requester, content) = (Requester::Http(peer.to_canonical()), self.shared.entry.key());
        self.state.ledger.lock().upload_began(requester, content);
        UploadGuard { requester, content, open: self }
    }
}

impl UploadGuard {
    /// Whether the file still is what was hashed.
    pub fn is_unchanged(&self) -> bool {
        self.open.reader.check(&self.open.shared, &self.open.file).is_ok()
    }

    /// So many bytes of it were handed to the system.
    pub fn sent(&self, bytes: u64) {
        self.open.state.sent_bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl Drop for UploadGuard {
    fn drop(&mut self) {
        self.open.state.ledger.lock().upload_ended(self.requester, self.content);
    }
}
