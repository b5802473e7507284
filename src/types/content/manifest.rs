//! `Manifest`: the digests of all pieces of one content.
//!
//! A manifest is accepted only if its BLAKE3 subtree values merge to the content id. So these values cannot
//! be forged, and each piece can be checked alone when it is complete. The MD5 values can be wrong: only the
//! bytes of a piece show it. The tree is BLAKE3's own (<https://github.com/BLAKE3-team/BLAKE3-specs>,
//! section 2.1; `blake3::hazmat`). The length of a piece is a power of two of at least 1 MiB, so a piece is
//! a whole subtree.

use blake3::hazmat::{HasherExt, Mode, left_subtree_len, merge_subtrees_non_root, merge_subtrees_root};
use md5::{Digest, Md5};
use thiserror::Error;

use super::digest::{ContentId, ContentKey, Md5Digest, PieceDigests};
use super::pieces::Geometry;

/// An accepted manifest. It takes 48 bytes for each piece.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    key: ContentKey,
    /// In the order of the pieces.
    digests: Vec<PieceDigests>,
}

/// Why a list of digests is not the manifest of its content. Its sender is to blame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ManifestError {
    /// The number of pieces does not fit the size.
    #[error("manifest with {got} pieces, but a content of this size has {expected}")]
    Count {
        /// Number of pieces in the manifest.
        got: usize,
        /// Number of pieces that the size gives.
        expected: u64,
    },
    /// The values do not merge to the content id.
    #[error("manifest does not merge to the content id: it is forged or damaged")]
    Forged,
}

/// Why a piece does not agree with the manifest, with the number of the piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PieceError {
    /// The bytes are not those of the content: the sender lied, or bits flipped on the way.
    #[error("piece {0}: wrong bytes")]
    Bytes(u32),
    /// The bytes are right and the MD5 in the manifest is not: the publisher of the MD5 lied.
    #[error("piece {0}: right bytes, but the md5 published for them is wrong")]
    Md5(u32),
    /// The content has no piece of this number, or the piece has another length.
    #[error("piece {0}: wrong length or number")]
    Length(u32),
}

impl PieceDigests {
    /// Digests of piece `index` of a file cut by `geometry`. `bytes` must be the whole piece.
    pub fn of(geometry: &Geometry, index: u32, bytes: &[u8]) -> PieceDigests {
        let mut hasher = SubtreeHasher::new(geometry, index);
        hasher.update(bytes);
        PieceDigests { md5: Md5Digest(Md5::digest(bytes).into()), subtree: hasher.value() }
    }
}

/// Computes the BLAKE3 subtree value of a piece step by step: its chaining value at its place in the file, or
/// the hash of the file if it is the only piece.
#[derive(Debug)]
pub struct SubtreeHasher {
    hasher: blake3::Hasher,
    is_root: bool,
}

impl SubtreeHasher {
    /// A hasher without bytes for piece `index`, which must exist, of a file cut by `geometry`.
    pub fn new(geometry: &Geometry, index: u32) -> SubtreeHasher {
        let mut hasher = blake3::Hasher::new();
        let is_root = geometry.size_bytes() <= geometry.piece_len_bytes();
        if !is_root {
            hasher.set_input_offset(u64::from(index) * geometry.piece_len_bytes());
        }
        SubtreeHasher { hasher, is_root }
    }

    /// Adds the next bytes of the piece.
    ///
    /// # Panics
    /// Possibly, if more bytes are added than the piece has: a bug of the caller.
    pub fn update(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
    }

    /// The value, after all bytes of the piece were added.
    ///
    /// # Panics
    /// If no byte was added and the file has several pieces.
    pub fn value(&self) -> [u8; 32] {
        if self.is_root { *self.hasher.finalize().as_bytes() } else { self.hasher.finalize_non_root() }
    }
}

impl Manifest {
    /// The manifest of content `key`, if `digests`, in the order of the pieces, are that.
    ///
    /// # Errors
    /// [`ManifestError`] unless there is one line for each piece and the lines merge to the content id.
    pub fn accept(key: ContentKey, digests: Vec<PieceDigests>) -> Result<Manifest, ManifestError> {
        let geometry = Geometry::of(key.size_bytes);
        let expected = key.size_bytes.div_ceil(geometry.piece_len_bytes());
        if digests.len() as u64 != expected {
            return Err(ManifestError::Count { got: digests.len(), expected });
        }
        if merge(&geometry, &digests) != key.id {
            return Err(ManifestError::Forged);
        }
        Ok(Manifest { key, digests })
    }

    /// The manifest of a file that this program has hashed. The content id follows from the digests.
    ///
    /// # Panics
    /// If the number of digests is not that of the pieces: a bug of the caller.
    pub fn of_hashed(size_bytes: u64, digests: Vec<PieceDigests>) -> Manifest {
        let geometry = Geometry::of(size_bytes);
        assert_eq!(
            geometry.count().map(|count| count as usize),
            Some(digests.len()),
            "every piece was hashed"
        );
        let id = merge(&geometry, &digests);
        Manifest { key: ContentKey { size_bytes, id }, digests }
    }

    /// The manifest of a content of at most one piece, which no peer has to send: the subtree value is the
    /// content id and the MD5 is that of the file. `None` for a content with more pieces, and for a content
    /// of 0 bytes whose id is not that of the empty file.
    pub fn of_single(key: ContentKey, md5: Md5Digest) -> Option<Manifest> {
        let digests = match Geometry::of(key.size_bytes).count() {
            Some(0) => Vec::new(),
            Some(1) => vec![PieceDigests { md5, subtree: key.id.0 }],
            _ => return None,
        };
        Manifest::accept(key, digests).ok()
    }

    /// The content.
    pub fn key(&self) -> ContentKey {
        self.key
    }

    /// The digests of all pieces, in order.
    pub fn pieces(&self) -> &[PieceDigests] {
        &self.digests
    }

    /// How the content is cut into pieces.
    pub fn geometry(&self) -> Geometry {
        Geometry::of(self.key.size_bytes)
    }

    /// Checks piece `index` by length, BLAKE3 and MD5, in this order. The tests of `store::verify` compare
    /// its verdicts with these.
    ///
    /// # Errors
    /// [`PieceError`] for the first that is wrong.
    #[cfg(test)]
    pub(crate) fn check(&self, index: u32, bytes: &[u8]) -> Result<(), PieceError> {
        self.check_len(index, bytes.len() as u64)?;
        self.check_digests(index, &PieceDigests::of(&self.geometry(), index, bytes))
    }

    /// Checks that piece `index` exists and has this length.
    ///
    /// # Errors
    /// [`PieceError::Length`].
    pub fn check_len(&self, index: u32, len_bytes: u64) -> Result<(), PieceError> {
        if self.geometry().len_bytes(index) == Some(len_bytes) {
            Ok(())
        } else {
            Err(PieceError::Length(index))
        }
    }

    /// Checks the digests of bytes that arrived as piece `index`. BLAKE3 comes first: wrong bytes are not the
    /// fault of the manifest's author.
    ///
    /// # Errors
    /// [`PieceError`] says which digest is wrong, and so who is to blame.
    pub fn check_digests(&self, index: u32, computed: &PieceDigests) -> Result<(), PieceError> {
        match self.digests.get(index as usize) {
            None => Err(PieceError::Length(index)),
            Some(listed) if listed.subtree != computed.subtree => Err(PieceError::Bytes(index)),
            Some(listed) if listed.md5 != computed.md5 => Err(PieceError::Md5(index)),
            Some(_) => Ok(()),
        }
    }
}

/// The content id that the subtree values of all pieces give.
fn merge(geometry: &Geometry, digests: &[PieceDigests]) -> ContentId {
    match digests {
        [] => ContentId(*blake3::hash(b"").as_bytes()),
        [only] => ContentId(only.subtree),
        many => {
            let (left, right) = halves(geometry.piece_len_bytes(), geometry.size_bytes(), many);
            ContentId(*merge_subtrees_root(&left, &right, Mode::Hash).as_bytes())
        }
    }
}

/// Chaining values of the left and the right part of the tree over `len_bytes` bytes, at least two pieces.
/// The recursion is as deep as the tree: at most 32 levels.
fn halves(piece_len_bytes: u64, len_bytes: u64, digests: &[PieceDigests]) -> ([u8; 32], [u8; 32]) {
    let left_len = left_subtree_len(len_bytes);
    let (left, right) = digests.split_at((left_len / piece_len_bytes) as usize);
    let value = |len, part: &[PieceDigests]| match part {
        [only] => only.subtree,
        part => {
            let (left, right) = halves(piece_len_bytes, len, part);
            merge_subtrees_non_root(&left, &right, Mode::Hash)
        }
    };
    (value(left_len, left), value(len_bytes - left_len, right))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(len: usize) -> Vec<u8> {
        (0..len).map(|i| (i * 31 % 251) as u8).collect()
    }

    fn hashed(bytes: &[u8]) -> Manifest {
        let geometry = Geometry::of(bytes.len() as u64);
        let pieces = bytes
            .chunks(geometry.piece_len_bytes() as usize)
            .enumerate()
            .map(|(index, piece)| PieceDigests::of(&geometry, index as u32, piece))
            .collect();
        Manifest::of_hashed(bytes.len() as u64, pieces)
    }

    #[test]
    fn subtree_values_merge_to_the_hash_of_the_file() {
        for len in [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3 << 20, (5 << 20) + 7919, 8 << 20] {
            let bytes = content(len);
            let manifest = hashed(&bytes);
            assert_eq!(manifest.key().id.0, *blake3::hash(&bytes).as_bytes(), "length {len}");
            assert_eq!(Manifest::accept(manifest.key(), manifest.pieces().to_vec()), Ok(manifest.clone()));
        }
    }

    #[test]
    fn a_forged_manifest_is_refused_and_a_forged_md5_is_found_at_its_piece() {
        let bytes = content((2 << 20) + 5);
        let honest = hashed(&bytes);
        let mut forged = honest.pieces().to_vec();
        forged[1].subtree[0] ^= 1;
        assert_eq!(Manifest::accept(honest.key(), forged), Err(ManifestError::Forged));
        let short = honest.pieces()[..2].to_vec();
        assert_eq!(Manifest::accept(honest.key(), short), Err(ManifestError::Count { got: 2, expected: 3 }));
        let mut swapped = honest.pieces().to_vec();
        swapped.swap(0, 1);
        assert_eq!(Manifest::accept(honest.key(), swapped), Err(ManifestError::Forged));

        let mut wrong_md5 = honest.pieces().to_vec();
        wrong_md5[1].md5.0[0] ^= 1;
        let accepted = Manifest::accept(honest.key(), wrong_md5).expect("md5 is not part of the tree");
        let piece = |index: usize| &bytes[index << 20..bytes.len().min((index + 1) << 20)];
        assert_eq!(accepted.check(0, piece(0)), Ok(()));
        assert_eq!(accepted.check(1, piece(1)), Err(PieceError::Md5(1)));
        assert_eq!(accepted.check(1, piece(0)), Err(PieceError::Bytes(1)));
        assert_eq!(accepted.check(2, piece(1)), Err(PieceError::Length(2)));
        assert_eq!(accepted.check(3, piece(1)), Err(PieceError::Length(3)));
    }
}
