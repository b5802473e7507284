//! The values that the machine and its driver exchange.

use std::net::SocketAddr;
use std::time::Duration;

use crate::logic::select::Candidate;
use crate::types::{Millis, PieceSet};

/// What to fetch, and within which bounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Number of pieces of the content.
    pub pieces: u32,
    /// Length of all pieces except perhaps the last one.
    pub piece_len_bytes: u64,
    /// Pieces that an earlier download left and that are being verified again. Each needs an
    /// [`Event::Verified`] or [`Event::Wrong`].
    pub marked: Vec<u32>,
    /// The piece that is fetched first. Fetching continues from there and wraps at the end.
    pub first_piece: u32,
    /// Seed for random choices.
    pub seed: u64,
    /// Most sources in use at once; at least one.
    pub sources_max: usize,
    /// What one unit of load costs in a score.
    pub load_weight: Millis,
    /// Rounds after the first one.
    pub retries: u32,
}

/// A holder that answered, and the pieces of the content that it has; `None`: all. It is ignored if the set
/// has another number of pieces.
pub type RankedSource = (Candidate, Option<PieceSet>);

/// What the driver is to do next. Each action is returned once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Find and rank the holders again, and report [`Event::Ranked`] when that is done. Fetching continues
    /// meanwhile.
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
    /// Close the connection to this source. Only a piece that is complete already may still be reported for
    /// it. Without a reason nothing is wrong with the source.
    Leave {
        /// The source.
        source: SocketAddr,
        /// The reason, for the user.
        why: Option<String>,
    },
    /// All sources have failed; the next search follows after `pause`.
    Pause {
        /// Number of the round that begins.
        round: u32,
        /// Number of rounds after the first one.
        of: u32,
        /// Time until the round begins.
        pause: Duration,
    },
    /// Every piece is done. Open connections can be closed.
    Finish,
    /// No source is left in any round; see [`super::Transfer::failures`].
    GiveUp,
}

/// What has happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The holders that answered, in any order. May be empty.
    Ranked(Vec<RankedSource>),
    /// A known partial source has these pieces now. Ignored for any other source, and for a set of another
    /// number of pieces.
    Has {
        /// The source.
        source: SocketAddr,
        /// The pieces that it has.
        pieces: PieceSet,
    },
    /// Discovery gives no answer. The sources of the last ranking stay in use.
    Unranked,
    /// A source does not have a requested piece. Nothing else is wrong with it.
    Lacks {
        /// The source.
        source: SocketAddr,
        /// Index of the piece.
        piece: u32,
    },
    /// All bytes of a piece have arrived from a source. If [`super::Transfer::wants`] it, it is being
    /// verified, and [`Event::Verified`] or [`Event::Wrong`] must follow, even if the source is left.
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
    /// A piece that had arrived or was marked was dropped unverified, as there is no manifest to check it. No
    /// source is to blame.
    Dropped {
        /// Index of the piece.
        piece: u32,
    },
    /// The source gives no manifest, or a false one. Its pieces cannot be used.
    NoList {
        /// The source.
        source: SocketAddr,
        /// The reason, for the user.
        why: String,
        /// True if a digest did not match.
        by_digest: bool,
    },
    /// The source refused, failed or stalled.
    Failed {
        /// The source.
        source: SocketAddr,
        /// The reason, for the user.
        why: String,
        /// True if a digest did not match.
        by_digest: bool,
    },
    /// `bytes` have arrived from the source since it was opened. `held_back`: its replies are delayed by this
    /// time on purpose, to emulate a latency. `waits_for_us`: its bytes wait for a buffer here. That time
    /// does not count against the source, nor does the time between two reports in which this changed.
    Received {
        /// The source.
        source: SocketAddr,
        /// Bytes since the source was opened.
        bytes: u64,
        /// The emulated latency.
        held_back: Duration,
        /// True while its bytes wait for a buffer here.
        waits_for_us: bool,
    },
}
