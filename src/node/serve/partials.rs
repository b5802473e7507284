//! The open partial files that this node serves: their manifests and their verified pieces.
//!
//! A plain structure; downloads write it and fronts read it, both through [`crate::node::state::NodeState`].
//! Only a verified and written piece may be added. A partial file needs no stamp: only its download writes to
//! it, this node has verified the pieces in it, and the requester verifies each piece again. The structure
//! never closes a file: the caller of [`Partials::end`] does, without the lock.

use std::collections::HashMap;
use std::fs::File;
use std::sync::Arc;

use crate::types::{ContentKey, Manifest, PieceSet};

/// A partial file that is served.
#[derive(Debug)]
pub(crate) struct ServedPartial {
    /// `None` if an MD5 in it was wrong: peers would blame this node for it. The pieces are right.
    manifest: Option<Arc<Manifest>>,
    /// Stays valid when the file is renamed to its place.
    file: Arc<File>,
    /// The verified and written pieces.
    pieces: PieceSet,
}

/// All partial files that are served, by content.
#[derive(Debug, Default)]
pub(crate) struct Partials(HashMap<ContentKey, ServedPartial>);

impl Partials {
    /// Adds `file`, the partial file of the content of `manifest`, without any piece so far.
    pub(crate) fn begin(&mut self, manifest: Arc<Manifest>, file: Arc<File>) {
        let pieces = PieceSet::none(manifest.pieces().len() as u32);
        self.0.insert(manifest.key(), ServedPartial { manifest: Some(manifest), file, pieces });
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
        partial.pieces.set(piece, true);
        partial.pieces.len()
    }

    /// Removes the content. Pieces that are being sent are still sent. The caller drops the result without
    /// the lock: it may take long to close a file that has no name any more.
    #[must_use]
    pub(crate) fn end(&mut self, content: &ContentKey) -> Option<ServedPartial> {
        self.0.remove(content)
    }

    pub(crate) fn manifest(&self, content: &ContentKey) -> Option<Arc<Manifest>> {
        self.0.get(content).and_then(|partial| partial.manifest.clone())
    }

    pub(crate) fn pieces(&self, content: &ContentKey) -> Option<PieceSet> {
        self.0.get(content).map(|partial| partial.pieces.clone())
    }

    /// The open partial file, and whether `piece` may be sent from it.
    pub(crate) fn file(&self, content: &ContentKey, piece: u32) -> Option<(Arc<File>, bool)> {
        self.0.get(content).map(|partial| (Arc::clone(&partial.file), partial.pieces.contains(piece)))
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
        assert_eq!((is_served(&partials, 1), partials.pieces(&content)), (None, None));
        assert_eq!(Arc::strong_count(&file), 2, "the caller closes it");
        drop(ended);
        assert_eq!(Arc::strong_count(&file), 1);
    }
}
