//! The shared files for other protocols: looks them up, opens them, and counts them as load while they are
//! sent.
//!
//! The rules are those for pieces: a file is sent only while it is as it was hashed, each byte counts against
//! the upload limit of the node, and each upload counts as load until it ends.

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

/// Access to the shared files of a node. Cheap to clone.
#[derive(Debug, Clone)]
pub struct SharedFiles {
    state: Arc<NodeState>,
    reader: ShareReader,
    tracker: Arc<dyn TrackerSession>,
    rate: Arc<TokenBucket>,
}

/// An open file. When it was opened it was unchanged since it was hashed.
#[derive(Debug)]
pub struct OpenSharedFile {
    /// The file, open for reading.
    pub file: Arc<File>,
    shared: Arc<SharedFile>,
    state: Arc<NodeState>,
    reader: ShareReader,
}

/// An upload that counts as load until this is dropped.
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

    /// The upload limit, from which the sender takes each byte of a file.
    pub fn rate(&self) -> &Arc<TokenBucket> {
        &self.rate
    }

    /// The reason why peers cannot find all shared files now; `None` if they can.
    pub fn why_not_ready(&self) -> Option<&'static str> {
        if !self.state.is_scanned.load(Ordering::Relaxed) {
            return Some("the first scan of the shared directory is not over");
        }
        let is_registered = self.tracker.is_registered();
        (!is_registered)
            .then_some("no registration is in effect: no tracker, or it cannot call this node back")
    }

    /// The manifest of a shared file with this content.
    pub fn manifest(&self, content: &ContentKey) -> Option<Arc<Manifest>> {
        self.state.catalog.read().by_content(content).map(|file| Arc::clone(&file.manifest))
    }

    /// The first `max` files whose names begin with `prefix` and come after `after`, in order of names, and
    /// whether there are more.
    pub fn files(&self, prefix: &str, after: Option<&FileName>, max: usize) -> (Vec<OwnFile>, bool) {
        let catalog = self.state.catalog.read();
        let own =
            |file: &Arc<SharedFile>| OwnFile { origin: file.origin, entry: FileEntry::clone(&file.entry) };
        let mut files: Vec<_> =
            catalog.files_with_prefix(prefix, after).take(max.saturating_add(1)).map(own).collect();
        let more = files.len() > max;
        files.truncate(max);
        (files, more)
    }

    /// Number of shared files.
    pub fn len(&self) -> usize {
        self.state.catalog.read().len()
    }

    /// Returns true if and only if there is no shared file.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The load of the node: its number of transfers.
    pub fn load(&self) -> u32 {
        self.state.load_counter.lock().load()
    }

    /// Opens the shared file called `name`. May wait for the disk.
    ///
    /// # Errors
    /// [`PeerRefusal`]; `Changed` if the file has changed since it was hashed or is gone. The indexer
    /// compares it with the catalog then.
    pub fn open(&self, name: &FileName) -> Result<OpenSharedFile, PeerRefusal> {
        let shared = self.state.catalog.read().get(name).cloned().ok_or(PeerRefusal::NotShared)?;
        let file = Arc::new(self.reader.open(&shared)?);
        self.reader.check(&shared, &file)?;
        Ok(OpenSharedFile { file, shared, state: Arc::clone(&self.state), reader: self.reader.clone() })
    }
}

impl OpenSharedFile {
    /// The file as it is published.
    pub fn entry(&self) -> &Arc<FileEntry> {
        &self.shared.entry
    }

    /// Begins an upload to the HTTP client at `peer`. All connections of one address count as one transfer,
    /// as all connections of one node do.
    pub fn begin(self, peer: IpAddr) -> UploadGuard {
        let (requester, content) = (Requester::Http(peer.to_canonical()), self.shared.entry.key());
        self.state.load_counter.lock().upload_began(requester, content);
        UploadGuard { requester, content, open: self }
    }
}

impl UploadGuard {
    /// Returns true if and only if the file is unchanged since it was hashed.
    pub fn is_unchanged(&self) -> bool {
        self.open.reader.check(&self.open.shared, &self.open.file).is_ok()
    }

    /// Records that `bytes` of the file were handed to the system.
    pub fn record_sent(&self, bytes: u64) {
        self.open.state.sent_bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl Drop for UploadGuard {
    fn drop(&mut self) {
        self.open.state.load_counter.lock().upload_ended(self.requester, self.content);
    }
}
