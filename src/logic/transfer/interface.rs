//! What the machine and its driver say to each other.

use std::net::SocketAddr;
use std::time::Duration;

use crate::logic::select::Candidate;
use crate::types::{Millis, PieceSet};

/// What to fetch, and within which bounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    pub pieces: u32,
    /// Of each piece but perhaps the last.
    pub piece_len_bytes: u64,
    /// Pieces left by an earlier download that are being verified again: each needs an [`Event::Verified`] or
    /// [`Event::Wrong`].
    pub marked: Vec<u32>,
    /// Where in the file fetching begins; it goes on from there and wraps.
    pub first_piece: u32,
    /// For choices at random.
    pub seed: u64,
    /// Most sources in use at once; at least one.
    pub sources_max: usize,
    /// What one unit of load costs.
    pub load_weight: Millis,
    /// Rounds after the first one.
    pub retries: u32,
}

/// A holder that answered, and which of the content's pieces it has; `None`: all. One that tells of other
/// pieces is left out.
pub type RankedSource = (Candidate, Option<PieceSet>);

/// What to do next. Each is said once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Find and rank the holders anew; answer with [`Event::Ranked`], whenever it is there. Fetching goes on
    /// meanwhile.
    Search,
    /// Connect to this source.
    Open(SocketAddr),
    /// Ask this source for this piece.
    Fetch { source: SocketAddr, piece: u32 },
    /// Close the connection to this source. A piece that is complete already may still be told of, nothing
    /// else. Where there is no reason, nothing is wrong with it, and nothing is asked of it now.
    Leave { source: SocketAddr, why: Option<String> },
    /// All sources have failed; the next search follows after `pause`.
    Pause { round: u32, of: u32, pause: Duration },
    /// Every piece is done; connections still open can be closed.
    Finish,
    /// No source is left and no round; see [`super::Transfer::failures`].
    GiveUp,
}

/// What has happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The holders that answered, in any order. May be empty.
    Ranked(Vec<RankedSource>),
    /// A known partial source has these pieces now. Void for any other, and if it is no set of the content's
    /// pieces.
    Has { source: SocketAddr, pieces: PieceSet },
    /// Nobody can be asked who the holders are: those of the last ranking are used on.
    Unranked,
    /// A source does not have a piece that it was asked for, nothing worse.
    Lacks { source: SocketAddr, piece: u32 },
    /// All bytes of a piece have come from a source. If [`super::Transfer::wants`] it, they are being
    /// verified, and an [`Event::Verified`] or [`Event::Wrong`] must follow, whatever becomes of the source.
    Arrived { source: SocketAddr, piece: u32 },
    /// A piece that had arrived or was marked is right, and is written.
    Verified { piece: u32 },
    /// A piece that had arrived or was marked is not the right one. Whoever sent it is blamed.
    Wrong { piece: u32, why: String },
    /// A piece that had arrived or was marked was thrown away unverified: there is nobody left to say what is
    /// right. Nobody is blamed.
    Dropped { piece: u32 },
    /// The source gives no piece list, or a false one: of no use, whatever pieces it sends.
    NoList { source: SocketAddr, why: String, by_digest: bool },
    /// The source refused, died or stalled.
    Failed { source: SocketAddr, why: String, by_digest: bool },
    /// So many bytes have come from the source since it was opened. `held_back`: its replies are kept from us
    /// for so long on purpose (an emulated latency), which is no fault of its. `waits_for_us`: its bytes wait
    /// until we have room for them; no time of that counts against it, nor does the time before or after in
    /// which this changed.
    Received { source: SocketAddr, bytes: u64, held_back: Duration, waits_for_us: bool },
}
