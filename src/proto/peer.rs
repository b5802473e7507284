//! Messages to a node's listener and its replies: each request has exactly one reply, in order.
//!
//! The control front answers `Identify`, `Load`, `Manifest` and `Have` from memory. The first `Piece` moves
//! the connection to an upload front, where it stays. After a `Piece` reply the raw bytes of the piece
//! follow.

use serde::{Deserialize, Serialize};

use super::frame::frame;
use crate::types::{ContentKey, Geometry, NodeId, Nonce, PieceDigests, PieceSet, Printable, limits, reason};

/// Size of the number of a variant on the wire.
const ENUM_BYTES: usize = 4;
/// Size of the length of a list or a text on the wire.
const LENGTH_BYTES: usize = 8;

/// A request to a node's listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum PeerRequest {
    /// Asks for the node's id. Trackers send it as a call-back.
    Identify,
    /// Asks for the node's load, and for the requester's part of it.
    Load {
        /// Id of the requester.
        asker: NodeId,
        /// The content that the requester may be transferring.
        content: Option<ContentKey>,
    },
    /// Asks for a page of the manifest: the digests of as many pieces as fit a reply.
    Manifest {
        /// The content.
        content: ContentKey,
        /// The first piece.
        first_piece: u32,
    },
    /// Asks for the bytes of one piece. It counts as a transfer until they are sent or the connection ends.
    Piece {
        /// Id of the requester.
        asker: NodeId,
        /// The content.
        content: ContentKey,
        /// Number of the piece.
        piece: u32,
    },
    /// Asks a partial holder for its pieces.
    Have {
        /// The content.
        content: ContentKey,
    },
}

/// A reply of a node's listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum PeerReply {
    /// To `Identify`.
    Identity {
        /// The node's id.
        node: NodeId,
        /// The nonce that the node's tracker gave it on the control connection, if it has one.
        nonce: Option<Nonce>,
    },
    /// To `Load`.
    Load {
        /// The node's id.
        node: NodeId,
        /// Transfers that the node takes part in.
        load: u32,
        /// 1 if the requester has a transfer of the content here, otherwise 0. `load` counts it too.
        yours: u8,
    },
    /// To `Manifest`.
    Manifest {
        /// Number of the first piece in `pieces`.
        first_piece: u32,
        /// The digests of consecutive pieces.
        pieces: Vec<PieceDigests>,
    },
    /// To `Piece`: the raw bytes of the piece follow this frame.
    Piece {
        /// Number of the piece.
        piece: u32,
        /// Number of raw bytes.
        len_bytes: u32,
    },
    /// The request was not carried out.
    Refused(PeerRefusal),
    /// To `Have`.
    Have {
        /// A bit for each piece, as [`PieceSet::to_bytes`] makes them: set if its bytes can be requested.
        pieces: Vec<u8>,
    },
}

/// Why a node does not carry a request out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum PeerRefusal {
    /// The bytes are not a request of this protocol version. The node closes the connection.
    Malformed(String),
    /// The node does not share this content, or not any more.
    NotShared,
    /// The file has changed since it was published. The node scans it again.
    Changed,
    /// The content has no such piece.
    NoSuchPiece,
    /// The file could not be read.
    Unreadable(String),
    /// The node is overloaded. A later attempt may succeed.
    Busy,
}

impl PeerRequest {
    /// The request as a frame.
    pub fn framed(&self) -> Vec<u8> {
        frame(self).expect("a request has a few fields of fixed size")
    }

    /// Maximum length of the body of a reply to this request, a refusal included.
    pub fn reply_max_bytes(&self) -> usize {
        let refused = 2 * ENUM_BYTES + LENGTH_BYTES + limits::REASON_MAX_BYTES;
        match self {
            // A few fields of fixed size, shorter than a refusal.
            PeerRequest::Identify | PeerRequest::Load { .. } | PeerRequest::Piece { .. } => refused,
            PeerRequest::Manifest { .. } => limits::FRAME_MAX_BYTES,
            PeerRequest::Have { content } => {
                let pieces = Geometry::of(content.size_bytes).count().unwrap_or(0);
                let bytes = pieces.div_ceil(u8::BITS) as usize;
                refused.max(ENUM_BYTES + LENGTH_BYTES + bytes.min(PeerReply::HAVE_MAX_BYTES))
            }
        }
    }
}

impl PeerReply {
    /// Maximum number of pieces in one `Manifest`, with 48 bytes each: about [`limits::PAGE_TARGET_BYTES`],
    /// so that a peer that reads no replies occupies little memory of the node.
    pub const MANIFEST_PAGE_PIECES: usize = limits::PAGE_TARGET_BYTES / 48;

    /// Maximum length of the bitmap in a `Have`: enough for 2 TiB. A node does not offer pieces of larger
    /// partial files.
    pub const HAVE_MAX_BYTES: usize = limits::PAGE_TARGET_BYTES;

    /// The reply to a `Have` for a content of which the node has `pieces`: a refusal if the bitmap is too
    /// long.
    pub fn have(pieces: &PieceSet) -> PeerReply {
        let pieces = pieces.to_bytes();
        if pieces.len() <= PeerReply::HAVE_MAX_BYTES {
            PeerReply::Have { pieces }
        } else {
            PeerReply::Refused(PeerRefusal::NotShared)
        }
    }

    /// The reply as a frame.
    ///
    /// # Panics
    /// If a manifest page or a reason is too long for a frame: a bug, the code that makes it must cut it.
    pub fn framed(&self) -> Vec<u8> {
        frame(self).expect("manifest pages and reasons are cut to fit")
    }

    /// The reply to bytes that are not a request.
    pub fn malformed(why: &str) -> PeerReply {
        PeerReply::Refused(PeerRefusal::Malformed(reason(why).to_owned()))
    }
}

impl std::fmt::Display for PeerRefusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // A hostile peer may send a whole frame of text.
        let cut = |why| Printable(reason(why)).to_string();
        match self {
            PeerRefusal::Malformed(why) => write!(f, "refused the request as malformed: {}", cut(why)),
            PeerRefusal::NotShared => f.write_str("does not share this content any more"),
            PeerRefusal::Changed => f.write_str("the file has changed there since it was published"),
            PeerRefusal::NoSuchPiece => f.write_str("has no such piece"),
            PeerRefusal::Unreadable(why) => write!(f, "cannot read the file: {}", cut(why)),
            PeerRefusal::Busy => f.write_str("is too busy"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::frame::HEADER_BYTES;
    use crate::types::ContentId;

    #[test]
    fn a_bitmap_that_is_too_long_is_not_sent() {
        let most = 8 * PeerReply::HAVE_MAX_BYTES as u32;
        let largest = PeerReply::have(&PieceSet::all(most));
        assert!(largest.framed().len() < limits::FRAME_MAX_BYTES / 8);
        let too_large = PeerReply::have(&PieceSet::none(most + 1));
        assert_eq!(too_large, PeerReply::Refused(PeerRefusal::NotShared));
    }

    #[test]
    fn no_reply_is_longer_than_the_maximum_of_its_request() {
        // A content with pieces of 4 MiB, if they are more than 4096.
        let content =
            |pieces: u32| ContentKey { size_bytes: u64::from(pieces) << 22, id: ContentId([0; 32]) };
        let asker = NodeId(u128::MAX);
        let have = |pieces: u32| {
            let reply = PeerReply::have(&PieceSet::all(pieces));
            (PeerRequest::Have { content: content(pieces) }, reply)
        };
        let load = PeerRequest::Load { asker, content: Some(content(9)) };
        let refused = PeerReply::malformed(&"x".repeat(limits::REASON_MAX_BYTES));
        for (request, reply) in [
            (load.clone(), PeerReply::Load { node: asker, load: u32::MAX, yours: 1 }),
            (load, refused.clone()),
            (PeerRequest::Identify, PeerReply::Identity { node: asker, nonce: Some(Nonce(u64::MAX)) }),
            have(1),
            (have(1).0, refused),
            have(8192),
        ] {
            let len = reply.framed().len() - HEADER_BYTES;
            assert!(len <= request.reply_max_bytes(), "{len} bytes to {request:?}");
        }
        // No longer than necessary, because many peers are queried at once.
        assert_eq!(have(8192).0.reply_max_bytes(), 12 + 8192 / 8);
        assert_eq!(have(1 << 22).0.reply_max_bytes(), 12 + PeerReply::HAVE_MAX_BYTES);
    }

    #[test]
    fn the_reason_of_a_refusal_is_shown_cut_and_escaped() {
        for refusal in [PeerRefusal::Malformed, PeerRefusal::Unreadable] {
            let shown = refusal("ü\n".repeat(100_000)).to_string();
            assert!(
                shown.len() < 50 + 4 * limits::REASON_MAX_BYTES && !shown.contains('\n'),
                "{}",
                shown.len()
            );
        }
    }
}
