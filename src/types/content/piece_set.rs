//! A set of pieces of one content: the pieces that a partial holder has, or those missing in a download. A
//! piece takes one bit.
//!
//! Invariant: no bit at or above `count` is set, and `len` is the number of set bits.

const WORD: usize = u64::BITS as usize;

/// A subset of the pieces `0..count`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PieceSet {
    /// Piece 0 is the highest bit of the first word, as on the wire.
    words: Vec<u64>,
    count: u32,
    len: usize,
}

impl PieceSet {
    /// The empty set of `count` pieces.
    pub fn none(count: u32) -> PieceSet {
        PieceSet { words: vec![0; (count as usize).div_ceil(WORD)], count, len: 0 }
    }

    /// The full set of `count` pieces.
    pub fn all(count: u32) -> PieceSet {
        let mut words = vec![u64::MAX; (count as usize).div_ceil(WORD)];
        let beyond = words.len() * WORD - count as usize;
        if let Some(last) = words.last_mut() {
            *last <<= beyond;
        }
        PieceSet { words, count, len: count as usize }
    }

    /// Reads a set in its wire format: `count / 8` bytes, rounded up. Piece 0 is the highest bit of the first
    /// byte; bits beyond the last piece are 0. `None` if the bytes have another length or such a bit is 1.
    pub fn from_bytes(count: u32, bytes: &[u8]) -> Option<PieceSet> {
        if bytes.len() != (count as usize).div_ceil(8) {
            return None;
        }
        let word = |chunk: &[u8]| {
            let mut word = [0; WORD / 8];
            word[..chunk.len()].copy_from_slice(chunk);
            u64::from_be_bytes(word)
        };
        let words: Vec<u64> = bytes.chunks(WORD / 8).map(word).collect();
        let len = words.iter().map(|word| word.count_ones() as usize).sum();
        let set = PieceSet { words, count, len };
        (set.common(&PieceSet::all(count)) == len).then_some(set)
    }

    /// The wire format, see [`PieceSet::from_bytes`].
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes: Vec<u8> = self.words.iter().flat_map(|word| word.to_be_bytes()).collect();
        bytes.truncate((self.count as usize).div_ceil(8));
        bytes
    }

    /// Number of pieces of the content.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Number of pieces in the set.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns true if and only if the set has no piece.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns true if and only if `piece` is in the set.
    pub fn contains(&self, piece: u32) -> bool {
        piece < self.count && self.words[piece as usize / WORD] & bit(piece) != 0
    }

    /// Adds a piece if `is_in`, else removes it. Does nothing for a piece that the content does not have.
    pub fn set(&mut self, piece: u32, is_in: bool) {
        if piece >= self.count || self.contains(piece) == is_in {
            return;
        }
        self.words[piece as usize / WORD] ^= bit(piece);
        self.len = if is_in { self.len + 1 } else { self.len - 1 };
    }

    /// Adds all pieces of `other`, a set of the same content.
    pub fn unite(&mut self, other: &PieceSet) {
        for (word, more) in self.words.iter_mut().zip(&other.words) {
            *word |= more;
        }
        self.len = self.words.iter().map(|word| word.count_ones() as usize).sum();
    }

    /// Number of pieces that are in both sets, which are of the same content.
    pub fn common(&self, other: &PieceSet) -> usize {
        self.words.iter().zip(&other.words).map(|(a, b)| (a & b).count_ones() as usize).sum()
    }

    /// The first piece of the set at or after `from`, else its first piece; `None` if the set is empty. A
    /// `from` beyond the last piece begins again at 0.
    pub fn next(&self, from: u32) -> Option<u32> {
        self.next_where(from, |index| self.words[index])
    }

    /// As [`PieceSet::next`], but only for pieces that are also in `other`, a set of the same content.
    pub fn next_in(&self, other: &PieceSet, from: u32) -> Option<u32> {
        self.next_where(from, |index| self.words[index] & other.words[index])
    }

    /// The pieces of this set that are not in `other`, a set of the same content.
    pub fn without(&self, other: &PieceSet) -> PieceSet {
        let words: Vec<u64> =
            self.words.iter().zip(&other.words).map(|(word, other)| word & !other).collect();
        let len = words.iter().map(|word| word.count_ones() as usize).sum();
        PieceSet { words, count: self.count, len }
    }

    /// The piece that has `before` pieces of this set before it; `None` if the set has at most `before`
    /// pieces.
    pub fn nth(&self, before: usize) -> Option<u32> {
        let mut before = before;
        for (index, word) in self.words.iter().enumerate() {
            let ones = word.count_ones() as usize;
            if before < ones {
                let bits = (0..u64::BITS).filter(|bit| word << bit >> (u64::BITS - 1) == 1);
                return bits.map(|bit| (index * WORD) as u32 + bit).nth(before);
            }
            before -= ones;
        }
        None
    }

    fn next_where(&self, from: u32, word: impl Fn(usize) -> u64) -> Option<u32> {
        if self.count == 0 {
            return None;
        }
        let from = from % self.count;
        let (start, from_here_on) = (from as usize / WORD, u64::MAX >> (from as usize % WORD));
        let in_word =
            |index: usize, bits: u64| (bits != 0).then(|| (index * WORD) as u32 + bits.leading_zeros());
        in_word(start, word(start) & from_here_on)
            .or_else(|| {
                (start + 1..self.words.len()).chain(0..start).find_map(|index| in_word(index, word(index)))
            })
            .or_else(|| in_word(start, word(start) & !from_here_on))
    }
}

/// The bit of a piece in its word.
fn bit(piece: u32) -> u64 {
    1 << (WORD - 1 - piece as usize % WORD)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::SmallRng;
    use rand::{Rng, SeedableRng};
    use std::collections::BTreeSet;

    #[test]
    fn piece_0_is_the_highest_bit_and_bits_beyond_the_last_piece_are_refused() {
        let mut set = PieceSet::none(9);
        for piece in [0, 6, 8, 9, u32::MAX] {
            set.set(piece, true);
        }
        assert_eq!((set.to_bytes(), set.len()), (vec![0b1000_0010, 0b1000_0000], 3));
        assert_eq!(PieceSet::from_bytes(9, &[0b1000_0010, 0b1000_0000]), Some(set));
        assert_eq!(PieceSet::all(9).to_bytes(), [0xff, 0x80]);
        for (count, bytes) in [(9, &[0xff, 0xc0][..]), (9, &[0xff]), (9, &[0xff, 0, 0]), (8, &[]), (0, &[0])]
        {
            assert_eq!(PieceSet::from_bytes(count, bytes), None, "{count} pieces, {bytes:?}");
        }
        assert_eq!(PieceSet::from_bytes(0, &[]), Some(PieceSet::all(0)));
    }

    #[test]
    fn a_piece_set_behaves_like_a_set_of_numbers() {
        let mut rng = SmallRng::seed_from_u64(5);
        for round in 0..300 {
            let count = rng.random_range(1..300);
            let fill = rng.random_range(0..=count);
            let mut random = || -> (PieceSet, BTreeSet<u32>) {
                let (mut set, mut plain) = (PieceSet::none(count), BTreeSet::new());
                for _ in 0..fill {
                    let (piece, is_in) = (rng.random_range(0..count), rng.random_ratio(2, 3));
                    set.set(piece, is_in);
                    if is_in {
                        plain.insert(piece)
                    } else {
                        plain.remove(&piece)
                    };
                }
                (set, plain)
            };
            let ((set, plain), (other, plain_other)) = (random(), random());
            let from = rng.random_range(0..count);
            let next = |wanted: &dyn Fn(&u32) -> bool| {
                (0..count).map(|n| (from + n) % count).find(|n| plain.contains(n) && wanted(n))
            };
            assert_eq!(set.len(), plain.len(), "round {round}");
            assert_eq!(set.common(&other), plain.intersection(&plain_other).count(), "round {round}");
            assert_eq!(set.next(from), next(&|_| true), "round {round}");
            assert_eq!(set.next_in(&other, from), next(&|n| plain_other.contains(n)), "round {round}");
            let without: Vec<u32> = plain.difference(&plain_other).copied().collect();
            let nth = (0..=without.len()).map(|n| set.without(&other).nth(n)).map_while(|piece| piece);
            assert_eq!(nth.collect::<Vec<_>>(), without, "round {round}");
            assert_eq!(set.without(&other).len(), without.len(), "round {round}");
            assert_eq!(PieceSet::from_bytes(count, &set.to_bytes()).as_ref(), Some(&set), "round {round}");
            let mut united = set.clone();
            united.unite(&other);
            assert_eq!(united.len(), plain.union(&plain_other).count(), "round {round}");
        }
    }
}
