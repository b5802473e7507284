//! The conversation with a node's listener: each request has exactly one reply, in order.
//!
//! `Identify`, `Load`, `Manifest` and `Have` are answered from memory by the control front. The first `Piece`
//! moves the connection to an upload front, where it stays; a `Piece` reply is followed by that many raw
//! bytes of the file.

use serde::{Deserialize, Serialize};

use super::frame::frame;
use crate::types::{ContentKey, Geometry, NodeId, Nonce, PieceDigests, PieceSet, Printable, limits, reason};

/// Bytes of which message, or which refusal, it is.
const ENUM_BYTES: usize = 4;
/// Bytes that say how long a list or a text is.
const LENGTH_BYTES: usize = 8;

/// What is asked of a node's listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum PeerRequest {
    /// Who listens here? A tracker's call-back.
    Identify,
    /// How busy is this node, and how much of that is the asker's own transfer of `content`?
    Load { asker: NodeId, content: Option<ContentKey> },
    /// Digests of the pieces from `first_piece` on, as many as fit a frame.
    Manifest { content: ContentKey, first_piece: u32 },
    /// The bytes of one piece. Counts as a transfer until they are sent or the connection ends.
    Piece { asker: NodeId, content: ContentKey, piece: u32 },
    /// Which pieces are here? Asked of those who publish that they have some of them.
    Have { content: ContentKey },
}

/// What a node's listener answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum PeerReply {
    /// `nonce` is the one that the node's tracker gave it on the control connection, if it has one.
    Identity {
        node: NodeId,
        nonce: Option<Nonce>,
    },
    /// `yours` is 1 if the asker has a transfer of the content here, else 0; `load` counts it too.
    Load {
        node: NodeId,
        load: u32,
        yours: u8,
    },
    Manifest {
        first_piece: u32,
        pieces: Vec<PieceDigests>,
    },
    /// `len_bytes` raw bytes follow this frame.
    Piece {
        piece: u32,
        len_bytes: u32,
    },
    Refused(PeerRefusal),
    /// A bit for each piece, as [`PieceSet::to_bytes`] makes them: set if its bytes may be asked for.
    Have {
        pieces: Vec<u8>,
    },
}

/// Why a node does not carry a request out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum PeerRefusal {
    /// The bytes were no request of this protocol version; the connection is closed.
    Malformed(String),
    /// This content is not (or no longer) shared here.
    NotShared,
    /// The file is not the one that was published; it is being scanned again.
    Changed,
    /// There is no such piece.
    NoSuchPiece,
    /// The file could not be read.
    Unreadable(String),
    /// The node has more to do than it can; ask again later.
    Busy,
}

impl PeerRequest {
    /// The request in its envelope.
    pub fn framed(&self) -> Vec<u8> {
        frame(self).expect("a request has a few fields of fixed size")
    }

    /// Longest body of a reply to this that an asker has a use for. A refusal may always come.
    pub fn reply_max_bytes(&self) -> usize {
        let refused = 2 * ENUM_BYTES + LENGTH_BYTES + limits::REASON_MAX_BYTES;
        match self {
            // A few fields of fixed size, fewer than a refusal has bytes.
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
    /// Most piece digests in one `Manifest`: about [`limits::PAGE_TARGET_BYTES`], so that those who take no
    /// reply hold little of ours.
    pub const MANIFEST_PAGE_PIECES: usize = limits::PAGE_TARGET_BYTES / 48;

    /// Longest bitmap in a `Have`: enough for 2 TiB. A node has no pieces to offer of what is larger and not
    /// whole.
    pub const HAVE_MAX_BYTES: usize = limits::PAGE_TARGET_BYTES;

    /// What is here of a content.
    pub fn have(pieces: &PieceSet) -> PeerReply {
        let pieces = pieces.to_bytes();
        match pieces.len() <= PeerReply::HAVE_MAX_BYTES {
            true => PeerReply::Have { pieces },
            false => PeerReply::Refused(PeerRefusal::NotShared),
        }
    }

    /// The reply in its envelope.
    ///
    /// # Panics
    /// If a manifest page or a reason is longer than the limits say: its maker has not cut it.
    pub fn framed(&self) -> Vec<u8> {
        frame(self).expect("manifest pages and reasons are cut to fit")
    }

    /// The reply to bytes that are no request here.
    pub fn malformed(why: &str) -> PeerReply {
        PeerReply::Refused(PeerRefusal::Malformed(reason(why).to_owned()))
    }
}

impl std::fmt::Display for PeerRefusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // A hostile peer fills a frame with it.
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
    fn a_bitmap_is_sent_only_if_it_is_far_smaller_than_a_frame() {
        let most = 8 * PeerReply::HAVE_MAX_BYTES as u32;
        let largest = PeerReply::have(&PieceSet::all(most));
        assert!(largest.framed().len() < limits::FRAME_MAX_BYTES / 8);
        let too_large = PeerReply::have(&PieceSet::none(most + 1));
        assert_eq!(too_large, PeerReply::Refused(PeerRefusal::NotShared));
    }

    #[test]
    fn no_reply_is_longer_than_its_request_says() {
        // Of pieces of 4 MiB, if they are more than 4096.
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
        // No longer than it has to be: many are asked at once.
        assert_eq!(have(8192).0.reply_max_bytes(), 12 + 8192 / 8);
        assert_eq!(have(1 << 22).0.reply_max_bytes(), 12 + PeerReply::HAVE_MAX_BYTES);
    }

    #[test]
    fn an_explanation_is_shown_as_long_as_one_may_be_and_inert() {
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
