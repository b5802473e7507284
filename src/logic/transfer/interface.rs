//! The values that the machine and its driver exchange.

use std::net::SocketAddr;
use std::time::Duration;

use crate::logic::select::Candidate;
use crate::types::{Millis, PieceSet};

/// The content to fetch, and the limits for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Number of pieces of the content.
    pub pieces: u32,
    /// Length of every piece but the last one, which may be shorter.
    pub piece_len_bytes: u64,
    /// Pieces that an earlier download left and that are being verified again. Each needs an
    /// [`Event::Verified`], [`Event::Wrong`] or [`Event::Dropped`].
    pub marked: Vec<u32>,
    /// The piece that is fetched first. Fetching continues from there and wraps at the end.
    pub first_piece: u32,
    /// Seed for random choices.
    pub seed: u64,
    /// Maximum number of sources in use at once; 0 counts as 1.
    pub sources_max: usize,
    /// What one unit of load costs in a score.
    pub load_weight: Millis,
    /// Rounds after the first one.
    pub retries: u32,
}

/// A holder that answered the probe, and the pieces that it has; `None`: all. The machine ignores a holder
/// whose set is for another number of pieces.
pub type RankedSource = (Candidate, Option<PieceSet>);

/// An action that the driver is to execute. The machine returns each action once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Find and rank the holders again, and report [`Event::Ranked`] or [`Event::Unranked`] when that is
    /// done. Fetching continues meanwhile.
    Search,
    /// Connect to this source.
    Open(SocketAddr),
    /// Request this piece from this source.
    Fetch {
        /// The source.
        source: SocketAddr,
        /// Index of the piece.
        piece: u32,
    },
    /// Close the connection to this source. The only report that may still follow for it is a piece that had
    /// arrived before. Without a reason the source has no fault.
    Leave {
        /// The source.
        source: SocketAddr,
        /// The reason, for the user.
        why: Option<String>,
    },
    /// No source can send anything; the next search follows after `pause`.
    Pause {
        /// Number of the round that begins.
        round: u32,
        /// Number of rounds after the first one.
        of: u32,
        /// Time until the round begins.
        pause: Duration,
    },
    /// Every piece is done. The driver closes what is open.
    Finish,
    /// The last round has ended with pieces missing; see [`super::Transfer::failures`].
    GiveUp,
}

/// An event that the driver reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The holders that answered, in any order. May be empty.
    Ranked(Vec<RankedSource>),
    /// A known partial source has these pieces now. The machine ignores a report about any other source, and
    /// a set for another number of pieces.
    HasPieces {
        /// The source.
        source: SocketAddr,
        /// The pieces that it has.
        pieces: PieceSet,
    },
    /// The search has no result. The last ranking stays.
    Unranked,
    /// A source replied that it does not have a requested piece. Its connection can still be used.
    LacksPiece {
        /// The source.
        source: SocketAddr,
        /// Index of the piece.
        piece: u32,
    },
    /// All bytes of a piece have arrived from a source. If [`super::Transfer::wants`] was true for the piece,
    /// the driver verifies it: [`Event::Verified`], [`Event::Wrong`] or [`Event::Dropped`] must follow, even
    /// if the source is left.
    Arrived {
        /// The source.
        source: SocketAddr,
        /// Index of the piece.
        piece: u32,
    },
    /// A piece that had arrived or was marked is right, and is written.
    Verified {
        /// Index of the piece.
        piece: u32,
    },
    /// A piece that had arrived or was marked is wrong. Its sender is to blame.
    Wrong {
        /// Index of the piece.
        piece: u32,
        /// The reason, for the user.
        why: String,
    },
    /// A piece that had arrived or was marked was dropped unverified, because no source gives a manifest. No
    /// source is to blame.
    Dropped {
        /// Index of the piece.
        piece: u32,
    },
    /// The source gives no manifest, or one of another content. The machine uses it no more in this round.
    NoManifest {
        /// The source.
        source: SocketAddr,
        /// The reason, for the user.
        why: String,
        /// True if a piece, a manifest or an MD5 that the source gave is wrong.
        sent_wrong_data: bool,
    },
    /// The source refused, failed or stalled.
    Failed {
        /// The source.
        source: SocketAddr,
        /// The reason, for the user.
        why: String,
        /// True if a piece, a manifest or an MD5 that the source gave is wrong.
        sent_wrong_data: bool,
    },
    /// The bytes that have arrived from the source so far. A time in which its bytes wait for a buffer here
    /// does not count against the source, nor does the time between two reports with different
    /// `waits_for_us`.
    Received {
        /// The source.
        source: SocketAddr,
        /// Bytes since the source was opened.
        bytes: u64,
        /// The delay of its replies that emulates a latency.
        reply_delay: Duration,
        /// True while its bytes wait for a buffer here.
        waits_for_us: bool,
    },
}
