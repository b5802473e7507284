//! Offers the verified pieces of a download to others while it runs: from the first one on, until it is
//! dropped.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::node::context::Context;
use crate::store::{FileStamp, Partial};
use crate::types::{ContentKey, FileEntry, FileName, Holding, Manifest, Md5Digest, Md5Origin, limits};

/// How often the number of pieces is published while it grows: as often as others ask which ones.
const PUBLISH_EVERY: Duration = Duration::from_millis(limits::SEARCH_AGAIN_MS);

/// What one download offers. Nothing is offered of a content of one piece.
#[derive(Debug)]
pub(super) struct PartialAnnouncer {
    context: Arc<Context>,
    /// What it is published as; `None`: nothing of it is offered, as it will not be shared.
    name: Option<FileName>,
    content: ContentKey,
    /// What its holders claim for the whole file.
    md5: Md5Digest,
    is_open: bool,
    published_at: Option<Instant>,
    /// The piece list has proved false: who passes it on would be taken for the liar.
    withholds_list: bool,
}

impl PartialAnnouncer {
    pub(super) fn new(
        context: &Arc<Context>,
        name: Option<FileName>,
        content: ContentKey,
        md5: Md5Digest,
    ) -> PartialAnnouncer {
        let context = Arc::clone(context);
        PartialAnnouncer {
            context,
            name,
            content,
            md5,
            is_open: false,
            published_at: None,
            withholds_list: false,
        }
    }

    /// A piece was verified and is written to `part`.
    pub(super) fn add(&mut self, piece: u32, manifest: &Arc<Manifest>, part: &Partial, now: Instant) {
        let count = manifest.pieces().len() as u32;
        let Some(name) = self.name.as_ref().filter(|_| count >= 2) else { return };
        if !self.is_open {
            self.is_open = true;
            let mut partials = self.context.state.partials.lock();
            partials.begin(Arc::clone(manifest), part.file());
            if self.withholds_list {
                partials.withhold_list(&self.content);
            }
        }
        let has = self.context.state.partials.lock().add(&self.content, piece) as u32;
        let is_due = self.published_at.is_none_or(|at| now.saturating_duration_since(at) >= PUBLISH_EVERY);
        // All pieces are a file, which is published once it is in place.
        if has < count && is_due {
            self.published_at = Some(now);
            let entry = FileEntry {
                name: name.clone(),
                size_bytes: self.content.size_bytes,
                mtime_ns: FileStamp::of(&part.file()).map_or(0, |stamp| stamp.mtime_ns),
                content: self.content.id,
                md5: self.md5,
                md5_origin: Md5Origin::Claimed,
                holding: Holding::Pieces(has),
                attributes: Vec::new(),
            };
            self.context.indexer.set_partial(entry);
        }
    }

    /// The piece list has an MD5 that is wrong: it is passed on to nobody. The pieces are: their BLAKE3
    /// values prove them.
    pub(super) fn withhold_list(&mut self) {
        self.withholds_list = true;
        self.context.state.partials.lock().withhold_list(&self.content);
    }
}

impl Drop for PartialAnnouncer {
    fn drop(&mut self) {
        if self.is_open {
            let part = self.context.state.partials.lock().end(&self.content);
            // The file is closed here, where nobody waits for the lock.
            drop(part);
            self.context.indexer.end_partial(self.content);
        }
    }
}
