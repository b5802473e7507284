//! What a node can send of contents that it is still downloading: their piece lists, open parts, and which
//! pieces are there.
//!
//! A plain structure; downloads write it and fronts read it, both through [`crate::node::state::NodeState`].
//! Only a piece that was verified and written may be added. A part has no stamp, and none is needed: nobody
//! but its download writes to it, what is in it was verified by this node, and whoever asks for a piece
//! verifies it again against a list that cannot be forged. It never closes a file: whoever takes a part out
//! does, without the lock.

use std::collections::HashMap;
use std::fs::File;
use std::sync::Arc;

use crate::types::{ContentKey, Manifest, PieceSet};

/// One content that is being downloaded.
#[derive(Debug)]
pub(crate) struct Part {
    /// `None` once it has proved false: who passes it on would be taken for the liar. The pieces are as good
    /// as ever.
    manifest: Option<Arc<Manifest>>,
    /// Stays of use when the part is renamed to its place.
    file: Arc<File>,
    has: PieceSet,
}

/// All contents of which some pieces are here.
#[derive(Debug, Default)]
pub(crate) struct Partials(HashMap<ContentKey, Part>);

impl Partials {
    /// The content of `manifest` is there in `file`, no piece of it yet.
    pub(crate) fn begin(&mut self, manifest: Arc<Manifest>, file: Arc<File>) {
        let has = PieceSet::none(manifest.pieces().len() as u32);
        self.0.insert(manifest.key(), Part { manifest: Some(manifest), file, has });
    }

    /// The piece list is passed on to nobody any more.
    pub(crate) fn withhold_list(&mut self, content: &ContentKey) {
        if let Some(part) = self.0.get_mut(content) {
            part.manifest = None;
        }
    }

    /// A piece was verified and written; how many there are now. Void for a content that is not there.
    pub(crate) fn add(&mut self, content: &ContentKey, piece: u32) -> usize {
        let Some(part) = self.0.get_mut(content) else { return 0 };
        part.has.set(piece, true);
        part.has.len()
    }

    /// Nothing more is served of the content. What is being sent goes on. To be dropped once the lock is
    /// free: where the file has no name any more, closing it may take long.
    #[must_use]
    pub(crate) fn end(&mut self, content: &ContentKey) -> Option<Part> {
        self.0.remove(content)
    }

    pub(crate) fn manifest(&self, content: &ContentKey) -> Option<Arc<Manifest>> {
        self.0.get(content).and_then(|part| part.manifest.clone())
    }

    pub(crate) fn has(&self, content: &ContentKey) -> Option<PieceSet> {
        self.0.get(content).map(|part| part.has.clone())
    }

    /// The open part, and whether `piece` may be sent from it.
    pub(crate) fn file(&self, content: &ContentKey, piece: u32) -> Option<(Arc<File>, bool)> {
        self.0.get(content).map(|part| (Arc::clone(&part.file), part.has.contains(piece)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Geometry, PieceDigests};

    #[test]
    fn only_pieces_that_were_added_are_there_until_the_end() {
        let bytes = vec![7; (1 << 20) + 1];
        let geometry = Geometry::of(bytes.len() as u64);
        let digests = |index| {
            let range = geometry.range(index).expect("two pieces");
            PieceDigests::of(&geometry, index, &bytes[range.start as usize..range.end as usize])
        };
        let manifest = Arc::new(Manifest::of_hashed(geometry.size_bytes(), vec![digests(0), digests(1)]));
        let (content, file) = (manifest.key(), Arc::new(tempfile::tempfile().expect("a file")));
        let mut partials = Partials::default();
        assert_eq!(partials.add(&content, 0), 0, "nothing has begun");
        partials.begin(Arc::clone(&manifest), Arc::clone(&file));
        assert_eq!((partials.add(&content, 1), partials.add(&content, 1)), (1, 1));
        let is_there =
            |partials: &Partials, piece| partials.file(&content, piece).map(|(_, is_there)| is_there);
        assert_eq!([0, 1, 2].map(|piece| is_there(&partials, piece)), [Some(false), Some(true), Some(false)]);
        assert_eq!(partials.manifest(&content), Some(manifest));
        partials.withhold_list(&content);
        assert_eq!((partials.manifest(&content), is_there(&partials, 1)), (None, Some(true)));
        let ended = partials.end(&content).expect("it was there");
        assert_eq!((is_there(&partials, 1), partials.has(&content)), (None, None));
        assert_eq!(Arc::strong_count(&file), 2, "closed by whoever drops it");
        drop(ended);
        assert_eq!(Arc::strong_count(&file), 1);
    }
}
