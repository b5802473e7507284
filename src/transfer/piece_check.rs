//! The digests that the pieces of a download are checked against.

use std::sync::Arc;

use crate::store::verify::verify;
use crate::types::{ContentKey, Geometry, Manifest, Md5Digest, PieceDigests, PieceError};

/// The digests of all pieces of one content.
///
/// Another kind of content, such as a BitTorrent file with its SHA-1 digests, needs another variant, and its
/// digest function in `store`.
#[derive(Debug, Clone)]
pub enum PieceCheck {
    /// The manifest of nearpeer: a BLAKE3 subtree value and an MD5 for each piece.
    Native(Arc<Manifest>),
    /// A content of one piece: its content id, and the MD5 that the sender publishes, if that is known.
    Single {
        /// Size and content id.
        content: ContentKey,
        /// MD5 of the content, as the sender publishes it.
        md5: Option<Md5Digest>,
    },
}

impl PieceCheck {
    /// Checks pieces, given as (index, bytes), and returns a verdict for each, in their order. Takes any
    /// number of pieces in any order. 8 or more of one length are fastest: so many lanes has the digest.
    pub fn verify(&self, pieces: &[(u32, &[u8])]) -> Vec<Result<(), PieceError>> {
        match self {
            PieceCheck::Native(manifest) => verify(manifest, pieces),
            PieceCheck::Single { content, md5 } => {
                pieces.iter().map(|(index, bytes)| check_single(*content, *md5, *index, bytes)).collect()
            }
        }
    }
}

fn check_single(
    content: ContentKey,
    md5: Option<Md5Digest>,
    index: u32,
    bytes: &[u8],
) -> Result<(), PieceError> {
    if index != 0 || bytes.is_empty() || bytes.len() as u64 != content.size_bytes {
        return Err(PieceError::Length(index));
    }
    let actual = PieceDigests::of(&Geometry::of(content.size_bytes), index, bytes);
    if actual.subtree != content.id.0 {
        Err(PieceError::Bytes(index))
    } else if md5.is_some_and(|md5| md5 != actual.md5) {
        Err(PieceError::Md5(index))
    } else {
        Ok(())
    }
}
