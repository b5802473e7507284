//! Geometry of pieces: how a file is cut. For nearpeer's own contents the piece length follows from the size
//! alone, so that all nodes cut alike; for contents of other systems the caller gives it.

use std::ops::Range;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const SMALL_MAX_BYTES: u64 = 4 * GIB;
const MEDIUM_MAX_BYTES: u64 = 16 * GIB;

/// How one file is cut: all pieces have `piece_len_bytes`, except the last one, which has the rest. A file of
/// 0 bytes has no pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    size_bytes: u64,
    piece_len_bytes: u64,
}

impl Geometry {
    /// Length of the pieces of the largest files.
    pub const LARGEST_PIECE_BYTES: u64 = 4 * MIB;

    /// The native cut: pieces of 1 MiB for files up to 4 GiB, 2 MiB up to 16 GiB, 4 MiB above.
    pub fn of(size_bytes: u64) -> Geometry {
        let piece_len_bytes = if size_bytes <= SMALL_MAX_BYTES {
            MIB
        } else if size_bytes <= MEDIUM_MAX_BYTES {
            2 * MIB
        } else {
            Geometry::LARGEST_PIECE_BYTES
        };
        Geometry { size_bytes, piece_len_bytes }
    }

    /// The cut into pieces of `piece_len_bytes`; `None` if that is 0.
    pub fn with_piece_len(size_bytes: u64, piece_len_bytes: u64) -> Option<Geometry> {
        (piece_len_bytes > 0).then_some(Geometry { size_bytes, piece_len_bytes })
    }

    /// Length of the file in bytes.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Length in bytes of all pieces except the last one.
    pub fn piece_len_bytes(&self) -> u64 {
        self.piece_len_bytes
    }

    /// Number of pieces; `None` if it needs more than 32 bits: with the native cut for a file above 16 PiB.
    pub fn count(&self) -> Option<u32> {
        u32::try_from(self.size_bytes.div_ceil(self.piece_len_bytes)).ok()
    }

    /// Byte range of piece `index`, or `None` if there is no such piece.
    pub fn range(&self, index: u32) -> Option<Range<u64>> {
        let start = u64::from(index).checked_mul(self.piece_len_bytes)?;
        (start < self.size_bytes)
            .then(|| start..self.size_bytes.min(start.saturating_add(self.piece_len_bytes)))
    }

    /// Length in bytes of piece `index`, or `None` if there is no such piece.
    pub fn len_bytes(&self, index: u32) -> Option<u64> {
        self.range(index).map(|range| range.end - range.start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_at_each_limit_are_cut_into_pieces_of_1_2_or_4_mib() {
        for (size, len, count, last) in [
            (0, MIB, 0, None),
            (1, MIB, 1, Some(1)),
            (MIB - 1, MIB, 1, Some(MIB - 1)),
            (MIB, MIB, 1, Some(MIB)),
            (MIB + 1, MIB, 2, Some(1)),
            (4 * GIB, MIB, 4096, Some(MIB)),
            (4 * GIB + 1, 2 * MIB, 2049, Some(1)),
            (16 * GIB, 2 * MIB, 8192, Some(2 * MIB)),
            (16 * GIB + 1, 4 * MIB, 4097, Some(1)),
        ] {
            let geometry = Geometry::of(size);
            assert_eq!(geometry.piece_len_bytes(), len, "size {size}");
            assert_eq!(geometry.count(), Some(count), "size {size}");
            assert_eq!(count.checked_sub(1).and_then(|index| geometry.len_bytes(index)), last, "size {size}");
            assert_eq!(geometry.range(count), None, "size {size}");
        }
        assert_eq!(Geometry::of(u64::MAX).count(), None);
        assert_eq!(
            Geometry::of(u64::MAX).range(u32::MAX),
            Some(u64::from(u32::MAX) * 4 * MIB..u64::from(u32::MAX) * 4 * MIB + 4 * MIB)
        );
    }

    #[test]
    fn a_given_piece_length_cuts_a_file_of_any_size() {
        let cut = |size, len| Geometry::with_piece_len(size, len).expect("a length above 0");
        for (size, len, count, last) in
            [(0, 5, 0, None), (5, 5, 1, Some(5)), (11, 5, 3, Some(1)), (7, 9, 1, Some(7))]
        {
            let geometry = cut(size, len);
            assert_eq!((geometry.size_bytes(), geometry.piece_len_bytes()), (size, len));
            assert_eq!(geometry.count(), Some(count), "{size} in pieces of {len}");
            assert_eq!(count.checked_sub(1).and_then(|index| geometry.len_bytes(index)), last);
        }
        assert_eq!(cut(u64::MAX, 1).count(), None);
        assert_eq!(cut(8 * MIB, MIB), Geometry::of(8 * MIB));
        assert_eq!(Geometry::with_piece_len(8, 0), None);
    }

    #[test]
    fn pieces_cover_a_file_without_gap_or_overlap() {
        for geometry in [
            Geometry::of(1),
            Geometry::of(7919),
            Geometry::of(3 * MIB + 17),
            Geometry::of(64 * MIB),
            Geometry::with_piece_len(7919, 16).expect("a length above 0"),
        ] {
            let size = geometry.size_bytes();
            let mut end = 0;
            for index in 0..geometry.count().expect("small") {
                let range = geometry.range(index).expect("within count");
                assert_eq!(range.start, end);
                end = range.end;
            }
            assert_eq!(end, size);
        }
    }
}
