//! The state of every piece: missing -> asked -> arrived -> done, or back to missing.
//!
//! Knows who sent what is being verified, not who is asked for what. One byte and two bits a piece; counts
//! and sets always agree with the states.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::types::PieceSet;

/// Where a piece stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Neither here nor asked for.
    Missing,
    /// Asked of a source in use.
    Asked,
    /// Here, and being verified.
    Arrived,
    /// Verified.
    Done,
}

/// All pieces of one file.
#[derive(Debug)]
pub(super) struct Pieces {
    states: Vec<State>,
    missing: PieceSet,
    /// Missing or asked.
    wanted: PieceSet,
    arrived: usize,
    done: usize,
    /// Who sent the arrived ones; no entry for what an earlier download left.
    senders: BTreeMap<u32, SocketAddr>,
    /// Where the search for a missing one begins.
    first: u32,
}

impl Pieces {
    /// `count` pieces, `marked` arrived from nobody, the others missing. What `marked` names twice or beyond
    /// the end is void.
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

    /// `None` beyond the end.
    pub(super) fn state(&self, piece: u32) -> Option<State> {
        self.states.get(piece as usize).copied()
    }

    /// How many are missing.
    pub(super) fn missing(&self) -> usize {
        self.missing.len()
    }

    /// Which are missing.
    pub(super) fn all_missing(&self) -> &PieceSet {
        &self.missing
    }

    /// True if one of `has` is missing, or asked for and may be missing again.
    pub(super) fn wants_any_of(&self, has: &PieceSet) -> bool {
        self.wanted.common(has) > 0
    }

    /// True if nothing beside `has` is missing, or asked for and may be missing again.
    pub(super) fn wants_only(&self, has: &PieceSet) -> bool {
        self.wanted.common(has) == self.wanted.len()
    }

    /// How many there are, in whatever state.
    pub(super) fn count(&self) -> u32 {
        self.missing.count()
    }

    /// Pieces being verified.
    pub(super) fn arrived(&self) -> usize {
        self.arrived
    }

    pub(super) fn done(&self) -> usize {
        self.done
    }

    pub(super) fn all_done(&self) -> bool {
        self.done == self.states.len()
    }

    /// The next missing piece from the first one onwards, wrapping.
    pub(super) fn next_missing(&self) -> Option<u32> {
        self.missing.next(self.first)
    }

    /// The same of those in `has`.
    pub(super) fn next_missing_of(&self, has: &PieceSet) -> Option<u32> {
        self.missing.next_in(has, self.first)
    }

    /// The missing pieces that are not in `others`, or all if they all are.
    pub(super) fn missing_beside(&self, others: &PieceSet) -> PieceSet {
        let beside = self.missing.without(others);
        if beside.is_empty() { self.missing.clone() } else { beside }
    }

    pub(super) fn ask(&mut self, piece: u32) {
        self.set(piece, State::Asked);
    }

    pub(super) fn arrive(&mut self, piece: u32, sender: SocketAddr) {
        self.set(piece, State::Arrived);
        self.senders.insert(piece, sender);
    }

    /// An arrived piece is right; who sent it, if a source did.
    pub(super) fn accept(&mut self, piece: u32) -> Option<SocketAddr> {
        self.set(piece, State::Done);
        self.senders.remove(&piece)
    }

    /// An arrived piece is wrong; who sent it, if a source did. `is_asked`: another source has been asked for
    /// it and may still send it.
    pub(super) fn reject(&mut self, piece: u32, is_asked: bool) -> Option<SocketAddr> {
        self.set(piece, if is_asked { State::Asked } else { State::Missing });
        self.senders.remove(&piece)
    }

    /// Nobody is asked for it any more.
    pub(super) fn miss(&mut self, piece: u32) {
        self.set(piece, State::Missing);
    }

    /// True if something that it sent is being verified.
    pub(super) fn is_sender(&self, source: SocketAddr) -> bool {
        self.senders.values().any(|sender| *sender == source)
    }

    /// The one place where a state changes.
    fn set(&mut self, piece: u32, state: State) {
        let Some(slot) = self.states.get_mut(piece as usize) else { return };
        match std::mem::replace(slot, state) {
            State::Arrived => self.arrived -= 1,
            State::Done => self.done -= 1,
            State::Missing | State::Asked => {}
        }
        match state {
            State::Arrived => self.arrived += 1,
            State::Done => self.done += 1,
            State::Missing | State::Asked => {}
        }
        self.missing.set(piece, state == State::Missing);
        self.wanted.set(piece, matches!(state, State::Missing | State::Asked));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::SmallRng;
    use rand::{Rng, SeedableRng};

    #[test]
    fn the_next_missing_piece_is_the_first_one_onwards_wrapping() {
        let mut rng = SmallRng::seed_from_u64(3);
        for round in 0..200 {
            let count = rng.random_range(1..1700);
            let first = rng.random_range(0..count);
            let mut pieces = Pieces::new(count, &[], first);
            for _ in 0..rng.random_range(0..4 * count) {
                // Mostly near the first piece, so that the search has to go far and around.
                let piece = (first + rng.random_range(0..count) * rng.random_range(0..=1)) % count;
                match rng.random_range(0..4) {
                    0 => pieces.miss(piece),
                    1 => pieces.ask(piece),
                    _ => {
                        if let Some(next) = pieces.next_missing() {
                            pieces.ask(next);
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
    fn marks_beyond_the_end_or_twice_are_void() {
        let pieces = Pieces::new(3, &[1, 1, 3, u32::MAX], 7);
        assert_eq!((pieces.missing(), pieces.arrived(), pieces.done()), (2, 1, 0));
        assert_eq!(pieces.next_missing(), Some(2));
        assert_eq!(Pieces::new(0, &[0], 0).next_missing(), None);
    }
}
