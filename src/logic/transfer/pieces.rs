//! The state of every piece: missing -> requested -> arrived -> done, or back to missing.
//!
//! [`Pieces`] knows the sender of a piece that is being verified, but not the sources of requested pieces. It
//! needs one byte and two bits for each piece. Invariant: counts and sets agree with the states.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::types::PieceSet;

/// The state of a piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Neither requested nor being verified nor done.
    Missing,
    /// Requested from a source in use.
    Requested,
    /// All bytes are here, and are being verified.
    Arrived,
    /// Verified.
    Done,
}

/// All pieces of one content.
#[derive(Debug)]
pub(super) struct Pieces {
    states: Vec<State>,
    missing: PieceSet,
    /// The pieces that are missing or requested.
    wanted: PieceSet,
    arrived: usize,
    done: usize,
    /// Senders of arrived pieces; no entry for a piece that an earlier download left.
    senders: BTreeMap<u32, SocketAddr>,
    /// Where the search for a missing piece begins.
    first: u32,
}

impl Pieces {
    /// `count` pieces. Those in `marked` have arrived without a sender, the others are missing. Marks that
    /// occur twice or name no piece are ignored.
    pub(super) fn new(count: u32, marked: &[u32], first: u32) -> Pieces {
        let mut pieces = Pieces {
            states: vec![State::Missing; count as usize],
            missing: PieceSet::all(count),
            wanted: PieceSet::all(count),
            arrived: 0,
            done: 0,
            senders: BTreeMap::new(),
            first,
        };
        for &piece in marked {
            pieces.set(piece, State::Arrived);
        }
        pieces
    }

    /// `None` if there is no such piece.
    pub(super) fn state(&self, piece: u32) -> Option<State> {
        self.states.get(piece as usize).copied()
    }

    /// Number of missing pieces.
    pub(super) fn missing(&self) -> usize {
        self.missing.len()
    }

    /// The set of missing pieces.
    pub(super) fn all_missing(&self) -> &PieceSet {
        &self.missing
    }

    /// True if some piece of `held` is missing or requested. A requested piece may be missing again.
    pub(super) fn wants_any_of(&self, held: &PieceSet) -> bool {
        self.wanted.common(held) > 0
    }

    /// True if every missing or requested piece is in `held`.
    pub(super) fn wants_only(&self, held: &PieceSet) -> bool {
        self.wanted.common(held) == self.wanted.len()
    }

    /// Number of all pieces.
    pub(super) fn count(&self) -> u32 {
        self.missing.count()
    }

    /// Number of pieces that are being verified.
    pub(super) fn arrived(&self) -> usize {
        self.arrived
    }

    pub(super) fn done(&self) -> usize {
        self.done
    }

    pub(super) fn all_done(&self) -> bool {
        self.done == self.states.len()
    }

    /// The first missing piece from `first` on, or else from piece 0 on.
    pub(super) fn next_missing(&self) -> Option<u32> {
        self.missing.next(self.first)
    }

    /// The same, among the pieces in `held`.
    pub(super) fn next_missing_of(&self, held: &PieceSet) -> Option<u32> {
        self.missing.next_in(held, self.first)
    }

    /// The missing pieces that are not in `others`; all missing pieces if all are in `others`.
    pub(super) fn missing_outside(&self, others: &PieceSet) -> PieceSet {
        let outside = self.missing.without(others);
        if outside.is_empty() { self.missing.clone() } else { outside }
    }

    pub(super) fn request(&mut self, piece: u32) {
        self.set(piece, State::Requested);
    }

    pub(super) fn arrive(&mut self, piece: u32, sender: SocketAddr) {
        self.set(piece, State::Arrived);
        self.senders.insert(piece, sender);
    }

    /// Records that an arrived piece is right. Returns its sender, if it came from a source.
    pub(super) fn accept(&mut self, piece: u32) -> Option<SocketAddr> {
        self.set(piece, State::Done);
        self.senders.remove(&piece)
    }

    /// Records that an arrived piece is wrong. Returns its sender, if it came from a source. `is_requested`:
    /// it is also requested from another source, which may still send it.
    pub(super) fn reject(&mut self, piece: u32, is_requested: bool) -> Option<SocketAddr> {
        self.set(piece, if is_requested { State::Requested } else { State::Missing });
        self.senders.remove(&piece)
    }

    /// Records that a piece is requested from no source any more.
    pub(super) fn set_missing(&mut self, piece: u32) {
        self.set(piece, State::Missing);
    }

    /// True if a piece from this source is being verified.
    pub(super) fn is_sender(&self, source: SocketAddr) -> bool {
        self.senders.values().any(|sender| *sender == source)
    }

    /// The one place where a state changes.
    fn set(&mut self, piece: u32, state: State) {
        let Some(slot) = self.states.get_mut(piece as usize) else { return };
        match std::mem::replace(slot, state) {
            State::Arrived => self.arrived -= 1,
            State::Done => self.done -= 1,
            State::Missing | State::Requested => {}
        }
        match state {
            State::Arrived => self.arrived += 1,
            State::Done => self.done += 1,
            State::Missing | State::Requested => {}
        }
        self.missing.set(piece, state == State::Missing);
        self.wanted.set(piece, matches!(state, State::Missing | State::Requested));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::SmallRng;
    use rand::{Rng, SeedableRng};

    #[test]
    fn the_search_for_a_missing_piece_begins_at_the_first_one_and_wraps() {
        let mut rng = SmallRng::seed_from_u64(3);
        for round in 0..200 {
            let count = rng.random_range(1..1700);
            let first = rng.random_range(0..count);
            let mut pieces = Pieces::new(count, &[], first);
            for _ in 0..rng.random_range(0..4 * count) {
                // Mostly near the first piece, so that the search wraps.
                let piece = (first + rng.random_range(0..count) * rng.random_range(0..=1)) % count;
                match rng.random_range(0..4) {
                    0 => pieces.set_missing(piece),
                    1 => pieces.request(piece),
                    _ => {
                        if let Some(next) = pieces.next_missing() {
                            pieces.request(next);
                        }
                    }
                }
                let plain = (0..count)
                    .map(|n| (first + n) % count)
                    .find(|n| pieces.state(*n) == Some(State::Missing));
                assert_eq!(pieces.next_missing(), plain, "round {round}: {count} pieces from {first}");
            }
            let missing = (0..count).filter(|n| pieces.state(*n) == Some(State::Missing)).count();
            assert_eq!(pieces.missing(), missing);
        }
    }

    #[test]
    fn marks_that_repeat_or_name_no_piece_are_ignored() {
        let pieces = Pieces::new(3, &[1, 1, 3, u32::MAX], 7);
        assert_eq!((pieces.missing(), pieces.arrived(), pieces.done()), (2, 1, 0));
        assert_eq!(pieces.next_missing(), Some(2));
        assert_eq!(Pieces::new(0, &[0], 0).next_missing(), None);
    }
}
