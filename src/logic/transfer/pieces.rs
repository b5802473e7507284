//! The state of every piece: missing -> asked -> arrived -> done, or back to missing.
//!
//! Knows who sent what is being verified, not who is asked for what. One byte a piece; the counts always agree with the states.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::Range;

/// Missing pieces are counted in blocks of this many, so that the next one is found in about twice the square root of the number of
/// pieces (262,144 at most in practice) without a list of them.
const BLOCK: usize = 512;

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
    missing_in_block: Vec<u16>,
    missing: usize,
    arrived: usize,
    done: usize,
    /// Who sent the arrived ones; no entry for what an earlier download left.
    senders: BTreeMap<u32, SocketAddr>,
    /// Where the search for a missing one begins.
    first: usize,
}

impl Pieces {
    /// `count` pieces, `marked` arrived from nobody, the others missing. What `marked` names twice or beyond the end is void.
    pub(super) fn new(count: u32, marked: &[u32], first: u32) -> Pieces {
        let count = count as usize;
        let in_block = |block: usize| BLOCK.min(count - block * BLOCK) as u16;
        let mut pieces = Pieces {
            states: vec![State::Missing; count],
            missing_in_block: (0..count.div_ceil(BLOCK)).map(in_block).collect(),
            missing: count,
            arrived: 0,
            done: 0,
            senders: BTreeMap::new(),
            first: first as usize % count.max(1),
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

    pub(super) fn missing(&self) -> usize {
        self.missing
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
        if self.missing == 0 {
            return None;
        }
        let home = self.first / BLOCK;
        let others = (home + 1..self.missing_in_block.len()).chain(0..home);
        let in_other = || others.into_iter().find(|block| self.missing_in_block[*block] > 0);
        self.missing_within(self.first..self.block(home).end)
            .or_else(|| in_other().and_then(|block| self.missing_within(self.block(block))))
            .or_else(|| self.missing_within(self.block(home).start..self.first))
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

    /// An arrived piece is wrong; who sent it, if a source did. `is_asked`: another source has been asked for it and may still send it.
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
        let index = piece as usize;
        let Some(slot) = self.states.get_mut(index) else { return };
        match std::mem::replace(slot, state) {
            State::Missing => {
                self.missing -= 1;
                self.missing_in_block[index / BLOCK] -= 1;
            }
            State::Arrived => self.arrived -= 1,
            State::Done => self.done -= 1,
            State::Asked => {}
        }
        match state {
            State::Missing => {
                self.missing += 1;
                self.missing_in_block[index / BLOCK] += 1;
            }
            State::Arrived => self.arrived += 1,
            State::Done => self.done += 1,
            State::Asked => {}
        }
    }

    fn block(&self, block: usize) -> Range<usize> {
        block * BLOCK..self.states.len().min((block + 1) * BLOCK)
    }

    fn missing_within(&self, range: Range<usize>) -> Option<u32> {
        let start = range.start;
        let offset = self.states[range].iter().position(|state| *state == State::Missing)?;
        Some((start + offset) as u32)
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
