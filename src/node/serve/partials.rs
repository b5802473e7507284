//! Contents under download, as far as the node can send them: their manifests, open partial files, and
//! pieces.
//!
//! A plain structure; downloads write it and fronts read it, both through [`crate::node::state::NodeState`].
//! Only a verified and written piece may be added. A partial file needs no stamp: its download alone writes
//! to it, this node has verified what is in it, and the requester verifies each piece again. The structure
//! never closes a file: the caller that removes a content does, without the lock.

use std::collections::HashMap;
use std::fs::File;
use std::sync::Arc;

use crate::types::{ContentKey, Manifest, PieceSet};

/// One content under download.
#[derive(Debug)]
pub(crate) struct PartialContent {
    /// `None` if the manifest has proved false: a peer would blame this node for it. The pieces stay right.
    manifest: Option<Arc<Manifest>>,
    /// Stays valid when the file is renamed to its place.
    file: Arc<File>,
    has: PieceSet,
}

/// All contents under download of which some pieces are here.
#[derive(Debug, Default)]
pub(crate) struct Partials(HashMap<ContentKey, PartialContent>);

impl Partials {
    /// Adds the content of `manifest`, without a piece so far, which will be in `file`.
    pub(crate) fn begin(&mut self, manifest: Arc<Manifest>, file: Arc<File>) {
        let has = PieceSet::none(manifest.pieces().len() as u32);
        self.0.insert(manifest.key(), PartialContent { manifest: Some(manifest), file, has });
    }

    /// Stops sending the manifest to peers.
    pub(crate) fn withhold_manifest(&mut self, content: &ContentKey) {
        if let Some(partial) = self.0.get_mut(content) {
            partial.manifest = None;
        }
    }

    /// Adds a verified and written piece; returns the number of pieces. Ignored for an unknown content.
    pub(crate) fn add(&mut self, content: &ContentKey, piece: u32) -> usize {
        let Some(partial) = self.0.get_mut(content) else { return 0 };
        partial.has.set(piece, true);
        partial.has.len()
    }

    /// Removes the content. Pieces under way are still sent. The caller drops the result without the lock:
    /// closing a file that has no name any more may take long.
    #[must_use]
    pub(crate) fn end(&mut self, content: &ContentKey) -> Option<PartialContent> {
        self.0.remove(content)
    }

    pub(crate) fn manifest(&self, content: &ContentKey) -> Option<Arc<Manifest>> {
        self.0.get(content).and_then(|partial| partial.manifest.clone())
    }

    pub(crate) fn has(&self, content: &ContentKey) -> Option<PieceSet> {
        self.0.get(content).map(|partial| partial.has.clone())
    }

    /// The open partial file, and whether `piece` may be sent from it.
    pub(crate) fn file(&self, content: &ContentKey, piece: u32) -> Option<(Arc<File>, bool)> {
        self.0.get(content).map(|partial| (Arc::clone(&partial.file), partial.has.contains(piece)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Geometry, PieceDigests};

    #[test]
    fn only_added_pieces_are_served_until_the_content_is_removed() {
        let bytes = vec![7; (1 << 20) + 1];
        let geometry = Geometry::of(bytes.len() as u64);
        let digests = |index| {
            let range = geometry.range(index).expect("two pieces");
            PieceDigests::of(&geometry, index, &bytes[range.start as usize..range.end as usize])
        };
        let manifest = Arc::new(Manifest::of_hashed(geometry.size_bytes(), vec![digests(0), digests(1)]));
        let (content, file) = (manifest.key(), Arc::new(tempfile::tempfile().expect("a file")));
        let mut partials = Partials::default();
        assert_eq!(partials.add(&content, 0), 0, "unknown content");
        partials.begin(Arc::clone(&manifest), Arc::clone(&file));
        assert_eq!((partials.add(&content, 1), partials.add(&content, 1)), (1, 1));
        let is_served =
            |partials: &Partials, piece| partials.file(&content, piece).map(|(_, is_served)| is_served);
        assert_eq!(
            [0, 1, 2].map(|piece| is_served(&partials, piece)),
            [Some(false), Some(true), Some(false)]
        );
        assert_eq!(partials.manifest(&content), Some(manifest));
        partials.withhold_manifest(&content);
        assert_eq!((partials.manifest(&content), is_served(&partials, 1)), (None, Some(true)));
        let ended = partials.end(&content).expect("it was there");
        assert_eq!((is_served(&partials, 1), partials.has(&content)), (None, None));
        assert_eq!(Arc::strong_count(&file), 2, "the caller closes it");
        drop(ended);
        assert_eq!(Arc::strong_count(&file), 1);
    }
}
