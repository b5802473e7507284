//! Verifies and hashes many pieces at once, in one pass. A few KiB of each piece go through MD5, eight pieces
//! side by side, and then, while they are in the processor's cache, through BLAKE3.
//!
//! Verdicts equal those of [`Manifest::check`] for each piece, and digests those of [`PieceDigests::of`].
//! No function here reads a file.

use crate::sys::md5_of_many;
use crate::types::{Geometry, Manifest, PieceDigests, PieceError, SubtreeHasher};

/// Checks pieces (index, bytes) by length, BLAKE3 and MD5; returns a verdict for each, in their order. The
/// number and the order do not matter; 8 or more pieces of the same length are the fastest.
///
/// [`PieceError`] says what is wrong with a piece, and whose fault it is.
pub fn verify(manifest: &Manifest, pieces: &[(u32, &[u8])]) -> Vec<Result<(), PieceError>> {
    // A piece of another length or number has no place in the tree: it cannot be hashed.
    let fit = |(index, bytes): &&(u32, &[u8])| manifest.check_len(*index, bytes.len() as u64).is_ok();
    let fitting: Vec<(u32, &[u8])> = pieces.iter().filter(fit).copied().collect();
    let mut computed = digests(&manifest.geometry(), &fitting).into_iter();
    let verdict = |(index, bytes): &(u32, &[u8])| {
        manifest.check_len(*index, bytes.len() as u64)?;
        let digests = computed.next().expect("each piece of the right length was hashed");
        manifest.check_digests(*index, &digests)
    };
    pieces.iter().map(verdict).collect()
}

/// The digests of consecutive pieces of a file with this geometry, the first of which is piece `first_index`.
/// Each piece must be complete.
pub fn piece_digests(geometry: &Geometry, first_index: u32, pieces: &[&[u8]]) -> Vec<PieceDigests> {
    let numbered: Vec<(u32, &[u8])> = (first_index..).zip(pieces.iter().copied()).collect();
    digests(geometry, &numbered)
}

fn digests(geometry: &Geometry, pieces: &[(u32, &[u8])]) -> Vec<PieceDigests> {
    let mut hashers: Vec<SubtreeHasher> =
        pieces.iter().map(|(index, _)| SubtreeHasher::new(geometry, *index)).collect();
    let bytes: Vec<&[u8]> = pieces.iter().map(|(_, bytes)| *bytes).collect();
    let md5s = md5_of_many(&bytes, |number, stretch| hashers[number].update(stretch));
    md5s.into_iter()
        .zip(&hashers)
        .map(|(md5, hasher)| PieceDigests { md5, subtree: hasher.value() })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use proptest::sample::Index;

    const PIECE: usize = 1 << 20;

    fn content(len: usize) -> Vec<u8> {
        (0..len).map(|i| (i % 251) as u8 ^ (i >> 16) as u8).collect()
    }

    fn hashed(bytes: &[u8]) -> Manifest {
        let pieces: Vec<&[u8]> = bytes.chunks(PIECE).collect();
        Manifest::of_hashed(bytes.len() as u64, piece_digests(&Geometry::of(bytes.len() as u64), 0, &pieces))
    }

    #[test]
    fn digests_of_pieces_from_any_index_equal_those_of_each_piece() {
        for len in [0, 1, PIECE, PIECE + 1, 3 * PIECE, 9 * PIECE + 7919] {
            let bytes = content(len);
            let geometry = Geometry::of(len as u64);
            let pieces: Vec<&[u8]> = bytes.chunks(PIECE).collect();
            let one = |(index, bytes): (usize, &&[u8])| PieceDigests::of(&geometry, index as u32, bytes);
            let expected: Vec<_> = pieces.iter().enumerate().map(one).collect();
            for first in [0, 1, 5].into_iter().filter(|first| *first <= pieces.len()) {
                let digests = piece_digests(&geometry, first as u32, &pieces[first..]);
                assert_eq!(digests, expected[first..], "length {len}, first {first}");
            }
        }
    }

    /// What happens to a piece on its way.
    #[derive(Debug, Clone)]
    enum Fate {
        Whole,
        Flipped(Index),
        Cut(Index),
        Lengthened,
        /// It gets another index, which may be beyond the file.
        As(u32),
    }

    fn fates() -> impl Strategy<Value = Fate> {
        prop_oneof![
            4 => Just(Fate::Whole),
            1 => any::<Index>().prop_map(Fate::Flipped),
            1 => any::<Index>().prop_map(Fate::Cut),
            1 => Just(Fate::Lengthened),
            1 => prop_oneof![0_u32..12, Just(u32::MAX)].prop_map(Fate::As),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn verdicts_equal_those_of_single_checks(
            arrived in prop::collection::vec((0_usize..10, fates()), 0..=17),
            lies in prop::collection::vec(0_usize..10, 0..3),
        ) {
            let bytes = content(9 * PIECE + 77);
            let honest = hashed(&bytes);
            let mut listed = honest.pieces().to_vec();
            for lie in lies {
                listed[lie].md5.0[15] ^= 1;
            }
            let manifest = Manifest::accept(honest.key(), listed).expect("md5 is not part of the tree");
            let deliver = |(number, fate): &(usize, Fate)| {
                let mut piece = bytes[number * PIECE..bytes.len().min((number + 1) * PIECE)].to_vec();
                let mut index = *number as u32;
                match fate {
                    Fate::Whole => {}
                    Fate::Flipped(at) => piece[at.index(77)] ^= 0x40,
                    Fate::Cut(len) => piece.truncate(len.index(piece.len())),
                    Fate::Lengthened => piece.push(0),
                    Fate::As(other) => index = *other,
                }
                (index, piece)
            };
            let delivered: Vec<(u32, Vec<u8>)> = arrived.iter().map(deliver).collect();
            let pieces: Vec<(u32, &[u8])> =
                delivered.iter().map(|(index, piece)| (*index, &piece[..])).collect();
            let expected: Vec<_> =
                pieces.iter().map(|(index, piece)| manifest.check(*index, piece)).collect();
            prop_assert_eq!(verify(&manifest, &pieces), expected);
        }
    }

    #[test]
    fn each_wrong_piece_gets_its_own_verdict() {
        let bytes = content(3 * PIECE + 5);
        let honest = hashed(&bytes);
        let mut listed = honest.pieces().to_vec();
        listed[2].md5.0[0] ^= 1;
        let manifest = Manifest::accept(honest.key(), listed).expect("md5 is not part of the tree");
        let piece = |index: usize| &bytes[index * PIECE..bytes.len().min((index + 1) * PIECE)];
        let pieces =
            [(3, piece(3)), (1, piece(0)), (2, piece(2)), (0, piece(3)), (0, piece(0)), (4, piece(3))];
        let expected = [
            Ok(()),
            Err(PieceError::Bytes(1)),
            Err(PieceError::Md5(2)),
            Err(PieceError::Length(0)),
            Ok(()),
            Err(PieceError::Length(4)),
        ];
        assert_eq!(verify(&manifest, &pieces), expected);
        assert_eq!(verify(&manifest, &[]), []);
    }
}
