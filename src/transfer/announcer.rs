//! Makes the verified pieces of a running download available to other nodes, from the first one until the
//! announcer is dropped.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::ports::PieceOffer;
use crate::store::{FileStamp, Partial};
use crate::types::{ContentKey, FileEntry, FileName, Holding, Manifest, Md5Digest, Md5Origin, limits};

/// The least time between two updates of the published number of pieces. Other downloads search as often:
/// they would not see more updates.
const PUBLISH_EVERY: Duration = Duration::from_millis(limits::SEARCH_AGAIN_MS);

/// Announces the pieces of one download. A content of one piece is never announced: its first piece makes it
/// whole.
pub struct PartialAnnouncer {
    offer: Arc<dyn PieceOffer>,
    /// The published name; `None`: neither the file nor its pieces will be shared.
    name: Option<FileName>,
    content: ContentKey,
    /// The MD5 of the whole file, as its holders claim it.
    md5: Option<Md5Digest>,
    /// The first piece was announced.
    has_begun: bool,
    published_at: Option<Instant>,
    /// The manifest contains a wrong MD5. Other nodes would blame this node for it.
    withholds_manifest: bool,
}

impl PartialAnnouncer {
    /// An announcer for `content`, which is published as `name` if there is one. `md5`: the MD5 of the whole
    /// file, as its holders claim it.
    pub fn new(
        offer: Arc<dyn PieceOffer>,
        name: Option<FileName>,
        content: ContentKey,
        md5: Option<Md5Digest>,
    ) -> PartialAnnouncer {
        PartialAnnouncer {
            offer,
            name,
            content,
            md5,
            has_begun: false,
            published_at: None,
            withholds_manifest: false,
        }
    }

    /// Announces a piece that was verified and written to `partial`.
    pub(super) fn add(&mut self, piece: u32, manifest: &Arc<Manifest>, partial: &Partial, now: Instant) {
        let count = manifest.pieces().len() as u32;
        let Some(name) = self.name.as_ref().filter(|_| count >= 2) else { return };
        if !self.has_begun {
            self.has_begun = true;
            self.offer.begin(Arc::clone(manifest), partial.file());
            if self.withholds_manifest {
                self.offer.withhold_manifest(&self.content);
            }
        }
        let available = self.offer.add(&self.content, piece);
        let is_due = self.published_at.is_none_or(|at| now.saturating_duration_since(at) >= PUBLISH_EVERY);
        // With all pieces the file is whole, and is published once it is in place. An entry needs an MD5.
        if let Some(md5) = self.md5.filter(|_| available < count && is_due) {
            self.published_at = Some(now);
            let entry = FileEntry {
                name: name.clone(),
                size_bytes: self.content.size_bytes,
                mtime_ns: FileStamp::of(&partial.file()).map_or(0, |stamp| stamp.mtime_ns),
                content: self.content.id,
                md5,
                md5_origin: Md5Origin::Claimed,
                holding: Holding::Pieces(available),
                attributes: Vec::new(),
            };
            self.offer.publish(entry);
        }
    }

    /// Stops to serve the manifest, which contains a wrong MD5. The pieces stay available, as their BLAKE3
    /// values are right.
    pub(super) fn withhold_manifest(&mut self) {
        self.withholds_manifest = true;
        self.offer.withhold_manifest(&self.content);
    }
}

impl std::fmt::Debug for PartialAnnouncer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PartialAnnouncer").field("content", &self.content).finish_non_exhaustive()
    }
}

impl Drop for PartialAnnouncer {
    fn drop(&mut self) {
        if self.has_begun {
            self.offer.end(&self.content);
        }
    }
}
