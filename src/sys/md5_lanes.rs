//! MD5 of many buffers at once. A vector register has eight lanes; each lane processes a buffer of its own.
//!
//! Each step of MD5 needs the result of the step before, so a single buffer leaves most of a core idle, and
//! eight independent buffers use it. A lane whose buffer ends takes the next buffer. For all lengths and
//! processors the digests are those of the `md-5` crate. That crate does the work where the processor does
//! not have these vectors, or only one buffer is left.

use md5::block_api::compress;
use md5::{Digest, Md5};

use crate::types::Md5Digest;

const LANES: usize = 8;
const BLOCK_BYTES: usize = 64;
/// Maximum number of blocks that a lane processes before the caller's function gets their bytes.
const STRETCH_BLOCKS: usize = 512;
type Block = [u8; BLOCK_BYTES];
/// The four words A, B, C, D of every lane.
type States = [[u32; LANES]; 4];

/// The first state of a buffer (RFC 1321, 3.3).
const INITIAL: [u32; 4] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];

/// MD5 of each buffer, in the order of the buffers. Their number and lengths do not matter; 8 or more of
/// about the same length are the fastest.
///
/// Calls `on_bytes` with the number of a buffer and its next bytes just after MD5 has processed them, with
/// all bytes of a buffer in order. A call has at most 32 KiB, so that the caller can compute a second digest
/// while the bytes are in the processor's cache.
pub fn md5_of_many(buffers: &[&[u8]], on_bytes: impl FnMut(usize, &[u8])) -> Vec<Md5Digest> {
    match Vectors::best() {
        Some(vectors) if buffers.len() > 1 => digest_in_lanes(vectors, buffers, on_bytes),
        _ => digest_one_by_one(buffers, on_bytes),
    }
}

fn digest_one_by_one(buffers: &[&[u8]], mut on_bytes: impl FnMut(usize, &[u8])) -> Vec<Md5Digest> {
    let digest = |(number, buffer): (usize, &&[u8])| {
        let mut md5 = Md5::new();
        for stretch in buffer.chunks(STRETCH_BLOCKS * BLOCK_BYTES) {
            md5.update(stretch);
            on_bytes(number, stretch);
        }
        Md5Digest(md5.finalize().into())
    };
    buffers.iter().enumerate().map(digest).collect()
}

/// A buffer that a lane processes.
struct Lane<'a> {
    /// Its number among the buffers.
    index: usize,
    state: [u32; 4],
    /// Whole blocks that are not processed yet.
    body: &'a [Block],
    /// The last bytes, fewer than a block.
    rest: &'a [u8],
    /// The end of the input: the last bytes, a one bit, zeros, the length in bits (RFC 1321, 3.1 and 3.2).
    /// One block or two.
    tail: [Block; 2],
    /// The first block of the tail that is not processed yet. A tail of one block is `tail[1]`.
    tail_at: usize,
}

impl<'a> Lane<'a> {
    fn new(index: usize, buffer: &'a [u8]) -> Lane<'a> {
        let (body, rest) = buffer.as_chunks();
        let mut tail = [[0; BLOCK_BYTES]; 2];
        let tail_at = usize::from(rest.len() + 1 + size_of::<u64>() <= BLOCK_BYTES);
        let padded = tail[tail_at..].as_flattened_mut();
        padded[..rest.len()].copy_from_slice(rest);
        padded[rest.len()] = 0x80;
        let bits = (buffer.len() as u64).wrapping_mul(8).to_le_bytes();
        let bits_at = padded.len() - bits.len();
        padded[bits_at..].copy_from_slice(&bits);
        Lane { index, state: INITIAL, body, rest, tail, tail_at }
    }

    /// The next blocks that are adjacent in memory; empty if and only if the buffer is processed.
    fn next_blocks(&self) -> &[Block] {
        if self.body.is_empty() { &self.tail[self.tail_at..] } else { self.body }
    }

    /// Skips `count` of the next blocks; returns the bytes of the buffer in them.
    fn advance(&mut self, count: usize) -> &'a [u8] {
        if self.body.is_empty() {
            self.tail_at += count;
            std::mem::take(&mut self.rest)
        } else {
            let (done, body) = self.body.split_at(count);
            self.body = body;
            done.as_flattened()
        }
    }

    fn digest(&self) -> Md5Digest {
        let mut digest = [0; 16];
        for (bytes, word) in digest.as_chunks_mut().0.iter_mut().zip(self.state) {
            *bytes = word.to_le_bytes();
        }
        Md5Digest(digest)
    }
}

fn digest_in_lanes(
    vectors: Vectors,
    buffers: &[&[u8]],
    mut on_bytes: impl FnMut(usize, &[u8]),
) -> Vec<Md5Digest> {
    let mut digests = vec![Md5Digest([0; 16]); buffers.len()];
    let mut waiting = buffers.iter().enumerate().map(|(index, buffer)| Lane::new(index, buffer));
    let mut live: Vec<Lane<'_>> = Vec::with_capacity(LANES);
    loop {
        live.extend(waiting.by_ref().take(LANES - live.len()));
        let Some(count) = live.iter().map(|lane| lane.next_blocks().len()).min() else { return digests };
        let count = count.min(STRETCH_BLOCKS);
        match live.as_mut_slice() {
            // Idle lanes cost as much as busy lanes: a single buffer is faster without them.
            [only] => {
                let mut state = only.state;
                compress(&mut state, &only.next_blocks()[..count]);
                only.state = state;
            }
            live => compress_lanes(vectors, live, count),
        }
        live.retain_mut(|lane| {
            on_bytes(lane.index, lane.advance(count));
            let is_done = lane.next_blocks().is_empty();
            if is_done {
                digests[lane.index] = lane.digest();
            }
            !is_done
        });
    }
}

/// Processes the next `count` blocks of each live lane.
fn compress_lanes(vectors: Vectors, live: &mut [Lane<'_>], count: usize) {
    // An idle lane processes the blocks of another lane, and its result is not used.
    let blocks = std::array::from_fn(|lane| &live.get(lane).unwrap_or(&live[0]).next_blocks()[..count]);
    let word_of = |word: usize| std::array::from_fn(|lane| live.get(lane).map_or(0, |lane| lane.state[word]));
    let mut states: States = std::array::from_fn(word_of);
    vectors.compress(&mut states, &blocks);
    for (number, lane) in live.iter_mut().enumerate() {
        lane.state = states.map(|word| word[number]);
    }
}

#[cfg(target_arch = "x86_64")]
use x86::Vectors;

#[cfg(not(target_arch = "x86_64"))]
use elsewhere::Vectors;

#[cfg(not(target_arch = "x86_64"))]
mod elsewhere {
    use super::{Block, LANES, States};

    /// A type without values: there is no code for vectors of this processor.
    #[derive(Debug, Clone, Copy)]
    pub(super) enum Vectors {}

    impl Vectors {
        pub(super) fn all() -> Vec<Vectors> {
            Vec::new()
        }

        pub(super) fn best() -> Option<Vectors> {
            None
        }

        pub(super) fn compress(self, _states: &mut States, _lanes: &[&[Block]; LANES]) {
            match self {}
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{Block, LANES, States};

    /// The integer parts of 2^32 times the sine of 1, 2, 3... (RFC 1321, 3.4).
    #[rustfmt::skip]
    pub(super) const SINES: [u32; 64] = [
        0xd76aa478, 0xe8c7b756, 0x242070db, 0xc1bdceee,
        0xf57c0faf, 0x4787c62a, 0xa8304613, 0xfd469501,
        0x698098d8, 0x8b44f7af, 0xffff5bb1, 0x895cd7be,
        0x6b901122, 0xfd987193, 0xa679438e, 0x49b40821,
        0xf61e2562, 0xc040b340, 0x265e5a51, 0xe9b6c7aa,
        0xd62f105d, 0x02441453, 0xd8a1e681, 0xe7d3fbc8,
        0x21e1cde6, 0xc33707d6, 0xf4d50d87, 0x455a14ed,
        0xa9e3e905, 0xfcefa3f8, 0x676f02d9, 0x8d2a4c8a,
        0xfffa3942, 0x8771f681, 0x6d9d6122, 0xfde5380c,
        0xa4beea44, 0x4bdecfa9, 0xf6bb4b60, 0xbebfbc70,
        0x289b7ec6, 0xeaa127fa, 0xd4ef3085, 0x04881d05,
        0xd9d4d039, 0xe6db99e5, 0x1fa27cf8, 0xc4ac5665,
        0xf4292244, 0x432aff97, 0xab9423a7, 0xfc93a039,
        0x655b59c3, 0x8f0ccc92, 0xffeff47d, 0x85845dd1,
        0x6fa87e4f, 0xfe2ce6e0, 0xa3014314, 0x4e0811a1,
        0xf7537e82, 0xbd3af235, 0x2ad7d2bb, 0xeb86d391,
    ];

    /// The parameters of a round: step `n` uses word `n * stride + start` (mod 16) and rotates by `left[n %
    /// 4]`.
    struct Round {
        stride: usize,
        start: usize,
        left: [i32; 4],
    }

    const ROUNDS: [Round; 4] = [
        Round { stride: 1, start: 0, left: [7, 12, 17, 22] },
        Round { stride: 5, start: 1, left: [5, 9, 14, 20] },
        Round { stride: 3, start: 5, left: [4, 11, 16, 23] },
        Round { stride: 7, start: 0, left: [6, 10, 15, 21] },
    ];

    #[derive(Debug, Clone, Copy)]
    enum Kind {
        Avx2,
        Avx512,
    }

    /// A kind of vectors of eight lanes; a value proves that this processor has them.
    #[derive(Debug, Clone, Copy)]
    pub(super) struct Vectors(Kind);

    impl Vectors {
        /// The kinds that this processor has, the fastest first.
        pub(super) fn all() -> Vec<Vectors> {
            let avx512 = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vl");
            let kinds = [(avx512, Kind::Avx512), (is_x86_feature_detected!("avx2"), Kind::Avx2)];
            kinds.into_iter().filter(|(has, _)| *has).map(|(_, kind)| Vectors(kind)).collect()
        }

        pub(super) fn best() -> Option<Vectors> {
            Vectors::all().first().copied()
        }

        /// Processes the blocks of each lane; all lanes have the same number.
        pub(super) fn compress(self, states: &mut States, lanes: &[&[Block]; LANES]) {
            match self.0 {
                // SAFETY: `self` comes from `all`, so the processor has the features that these functions are
                // compiled for.
                Kind::Avx2 => unsafe { avx2::compress(states, lanes) },
                // SAFETY: as above.
                Kind::Avx512 => unsafe { avx512::compress(states, lanes) },
            }
        }
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    fn load(from: &[u8; 32]) -> __m256i {
        // SAFETY: 32 bytes are readable there, and this load needs no alignment.
        unsafe { _mm256_loadu_si256(from.as_ptr().cast()) }
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    fn load_words(from: &[u32; LANES]) -> __m256i {
        // SAFETY: 32 bytes are readable there, and this load needs no alignment.
        unsafe { _mm256_loadu_si256(from.as_ptr().cast()) }
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    fn store_words(to: &mut [u32; LANES], vector: __m256i) {
        // SAFETY: 32 bytes are writable there, and this store needs no alignment.
        unsafe { _mm256_storeu_si256(to.as_mut_ptr().cast(), vector) }
    }

    /// Makes rows of columns: word `w` of lane `l` moves from row `l` to row `w`.
    #[target_feature(enable = "avx2")]
    #[inline]
    fn transpose(rows: [__m256i; LANES]) -> [__m256i; LANES] {
        let [a, b, c, d, e, f, g, h] = rows;
        // First pairs of words of two lanes, then groups of four words of four lanes, in each half of the
        // registers. Then the halves are exchanged.
        let (ab_low, ab_high) = (_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
        let (cd_low, cd_high) = (_mm256_unpacklo_epi32(c, d), _mm256_unpackhi_epi32(c, d));
        let (ef_low, ef_high) = (_mm256_unpacklo_epi32(e, f), _mm256_unpackhi_epi32(e, f));
        let (gh_low, gh_high) = (_mm256_unpacklo_epi32(g, h), _mm256_unpackhi_epi32(g, h));
        let left = [
            _mm256_unpacklo_epi64(ab_low, cd_low),
            _mm256_unpackhi_epi64(ab_low, cd_low),
            _mm256_unpacklo_epi64(ab_high, cd_high),
            _mm256_unpackhi_epi64(ab_high, cd_high),
        ];
        let right = [
            _mm256_unpacklo_epi64(ef_low, gh_low),
            _mm256_unpackhi_epi64(ef_low, gh_low),
            _mm256_unpacklo_epi64(ef_high, gh_high),
            _mm256_unpackhi_epi64(ef_high, gh_high),
        ];
        let low = |at: usize| _mm256_permute2x128_si256::<0x20>(left[at], right[at]);
        let high = |at: usize| _mm256_permute2x128_si256::<0x31>(left[at], right[at]);
        [low(0), low(1), low(2), low(3), high(0), high(1), high(2), high(3)]
    }

    /// Half `half` of every lane's block: words 0 to 7 or 8 to 15.
    #[target_feature(enable = "avx2")]
    #[inline]
    fn words(blocks: &[&Block; LANES], half: usize) -> [__m256i; 8] {
        let row = |lane: usize| load(&blocks[lane].as_chunks().0[half]);
        transpose([row(0), row(1), row(2), row(3), row(4), row(5), row(6), row(7)])
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    fn add(a: __m256i, b: __m256i) -> __m256i {
        _mm256_add_epi32(a, b)
    }

    /// Returns its argument, and makes the compiler compute it at this place. Otherwise the compiler adds the
    /// constant last, and the next step waits for that.
    #[target_feature(enable = "avx2")]
    #[inline]
    fn ready(mut sum: __m256i) -> __m256i {
        // SAFETY: the assembly has no instruction.
        unsafe {
            std::arch::asm!(
                "/* {} */",
                inlateout(ymm_reg) sum,
                options(pure, nomem, nostack, preserves_flags)
            );
        }
        sum
    }

    /// The 16 steps of round `$round` on `$state`: A, B, C, D in the order of the next step.
    macro_rules! round {
        ($round:literal, $state:ident, $words:ident, $mix:ident) => {
            round!($round, $state, $words, $mix, 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15)
        };
        ($round:literal, $state:ident, $words:ident, $mix:ident, $($n:literal)*) => {$(
            let [a, b, c, d] = $state;
            let word = $words[const { ($n * ROUNDS[$round].stride + ROUNDS[$round].start) % 16 }];
            let sine = _mm256_set1_epi32(const { SINES[16 * $round + $n].cast_signed() });
            let sum = add(ready(add(a, add(word, sine))), $mix(b, c, d));
            let sum = rotate::<{ ROUNDS[$round].left[$n % 4] }, { 32 - ROUNDS[$round].left[$n % 4] }>(sum);
            $state = [d, add(b, sum), b, c];
        )*};
    }

    /// Defines `compress`. It uses the functions `rotate`, `f`, `g`, `h` and `i` of the same module.
    macro_rules! compress {
        ($features:literal) => {
            #[target_feature(enable = $features)]
            pub(super) fn compress(states: &mut States, lanes: &[&[Block]; LANES]) {
                let mut state = [0, 1, 2, 3].map(|word| load_words(&states[word]));
                for at in 0..lanes[0].len() {
                    let blocks = lanes.map(|lane| &lane[at]);
                    let [w0, w1, w2, w3, w4, w5, w6, w7] = words(&blocks, 0);
                    let [w8, w9, w10, w11, w12, w13, w14, w15] = words(&blocks, 1);
                    let words = [w0, w1, w2, w3, w4, w5, w6, w7, w8, w9, w10, w11, w12, w13, w14, w15];
                    let before = state;
                    round!(0, state, words, f);
                    round!(1, state, words, g);
                    round!(2, state, words, h);
                    round!(3, state, words, i);
                    state = [0, 1, 2, 3].map(|word| add(before[word], state[word]));
                }
                for (words, vector) in states.iter_mut().zip(state) {
                    store_words(words, vector);
                }
            }
        };
    }

    /// AVX2: a rotation needs two shifts, a mix of three words two or three operations.
    mod avx2 {
        use super::*;

        compress!("avx2");

        #[target_feature(enable = "avx2")]
        #[inline]
        fn rotate<const LEFT: i32, const RIGHT: i32>(a: __m256i) -> __m256i {
            _mm256_or_si256(_mm256_slli_epi32::<LEFT>(a), _mm256_srli_epi32::<RIGHT>(a))
        }

        /// The bits of `c` where `b` has ones, else those of `d`.
        #[target_feature(enable = "avx2")]
        #[inline]
        fn f(b: __m256i, c: __m256i, d: __m256i) -> __m256i {
            _mm256_or_si256(_mm256_and_si256(b, c), _mm256_andnot_si256(b, d))
        }

        /// The bits of `b` where `d` has ones, else those of `c`.
        #[target_feature(enable = "avx2")]
        #[inline]
        fn g(b: __m256i, c: __m256i, d: __m256i) -> __m256i {
            f(d, b, c)
        }

        /// The bits that are one in an odd number of the three.
        #[target_feature(enable = "avx2")]
        #[inline]
        fn h(b: __m256i, c: __m256i, d: __m256i) -> __m256i {
            _mm256_xor_si256(b, _mm256_xor_si256(c, d))
        }

        /// `c ^ (b | !d)`.
        #[target_feature(enable = "avx2")]
        #[inline]
        fn i(b: __m256i, c: __m256i, d: __m256i) -> __m256i {
            let not_d = _mm256_xor_si256(d, _mm256_set1_epi32(-1));
            _mm256_xor_si256(c, _mm256_or_si256(b, not_d))
        }
    }

    /// AVX-512: a rotation is one operation, and so is each mix of three words. Each step waits for the step
    /// before, so fewer operations in a row save time.
    mod avx512 {
        use super::*;

        compress!("avx512f,avx512vl");

        #[target_feature(enable = "avx512f,avx512vl")]
        #[inline]
        fn rotate<const LEFT: i32, const RIGHT: i32>(a: __m256i) -> __m256i {
            _mm256_rol_epi32::<LEFT>(a)
        }

        // Bit `4 * b + 2 * c + d` of a table is the result for these bits of `b`, `c` and `d`.

        /// The bits of `c` where `b` has ones, else those of `d`.
        #[target_feature(enable = "avx512f,avx512vl")]
        #[inline]
        fn f(b: __m256i, c: __m256i, d: __m256i) -> __m256i {
            _mm256_ternarylogic_epi32::<0b1100_1010>(b, c, d)
        }

        /// The bits of `b` where `d` has ones, else those of `c`.
        #[target_feature(enable = "avx512f,avx512vl")]
        #[inline]
        fn g(b: __m256i, c: __m256i, d: __m256i) -> __m256i {
            _mm256_ternarylogic_epi32::<0b1110_0100>(b, c, d)
        }

        /// The bits that are one in an odd number of the three.
        #[target_feature(enable = "avx512f,avx512vl")]
        #[inline]
        fn h(b: __m256i, c: __m256i, d: __m256i) -> __m256i {
            _mm256_ternarylogic_epi32::<0b1001_0110>(b, c, d)
        }

        /// `c ^ (b | !d)`.
        #[target_feature(enable = "avx512f,avx512vl")]
        #[inline]
        fn i(b: __m256i, c: __m256i, d: __m256i) -> __m256i {
            _mm256_ternarylogic_epi32::<0b0011_1001>(b, c, d)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type OnBytes<'a> = &'a mut dyn FnMut(usize, &[u8]);
    type Implementation = Box<dyn Fn(&[&[u8]], OnBytes<'_>) -> Vec<Md5Digest>>;

    /// All implementations for this processor, with their names.
    fn implementations() -> Vec<(String, Implementation)> {
        let mut all: Vec<(_, Implementation)> = vec![
            ("chosen".into(), Box::new(|buffers, on_bytes| md5_of_many(buffers, on_bytes))),
            ("one by one".into(), Box::new(|buffers, on_bytes| digest_one_by_one(buffers, on_bytes))),
        ];
        for vectors in Vectors::all() {
            let digest: Implementation =
                Box::new(move |buffers, on_bytes| digest_in_lanes(vectors, buffers, on_bytes));
            all.push((format!("{vectors:?}"), digest));
        }
        all
    }

    fn check(buffers: &[&[u8]]) {
        let expected: Vec<_> = buffers.iter().map(|buffer| Md5Digest(Md5::digest(buffer).into())).collect();
        for (name, digest) in implementations() {
            let lens = || buffers.iter().map(|buffer| buffer.len()).collect::<Vec<_>>();
            let mut seen = vec![Vec::new(); buffers.len()];
            let digests = digest(buffers, &mut |number, bytes| {
                assert!(bytes.len() <= 32 << 10, "{name}: {} bytes at once", bytes.len());
                seen[number].extend_from_slice(bytes);
            });
            assert!(digests == expected, "{name}: wrong digests for lengths {:?}", lens());
            assert!(seen == buffers, "{name}: other bytes passed on for lengths {:?}", lens());
        }
    }

    /// Bytes without a period, so that no two stretches are equal.
    fn content(len: usize) -> Vec<u8> {
        let mut state = 1_u64;
        let next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        };
        std::iter::repeat_with(next).take(len).collect()
    }

    /// The test suite of RFC 1321, A.5, in hex.
    const RFC: [(&str, &str); 7] = [
        ("", "d41d8cd98f00b204e9800998ecf8427e"),
        ("a", "0cc175b9c0f1b6a831c399e269772661"),
        ("abc", "900150983cd24fb0d6963f7d28e17f72"),
        ("message digest", "f96b697d7cb7938d525a2f31aaf161d0"),
        ("abcdefghijklmnopqrstuvwxyz", "c3fcd3d76192e4007dfb496cca67e13b"),
        (
            "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789",
            "d174ab98d277d9f5a5611c2c9f419d9f",
        ),
        (
            "12345678901234567890123456789012345678901234567890123456789012345678901234567890",
            "57edf4a22be3c955ac49da2e2107b67a",
        ),
    ];

    #[test]
    fn every_lane_computes_the_test_vectors_of_the_rfc() {
        for first in 0..RFC.len() {
            let turned: Vec<_> = RFC.iter().cycle().skip(first).take(LANES).collect();
            let buffers: Vec<&[u8]> = turned.iter().map(|(text, _)| text.as_bytes()).collect();
            let digests: Vec<&str> = turned.iter().map(|(_, digest)| *digest).collect();
            for (name, digest) in implementations() {
                let found: Vec<String> =
                    digest(&buffers, &mut |_, _| ()).iter().map(ToString::to_string).collect();
                assert_eq!(found, digests, "{name}, first {first}");
            }
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_kinds_of_vectors_are_those_that_the_processor_reports() {
        let flags = std::fs::read_to_string("/proc/cpuinfo").expect("Linux");
        let has = |flag: &str| usize::from(flags.split_whitespace().any(|one| one == flag));
        assert_eq!(Vectors::all().len(), has("avx2") + has("avx512f") * has("avx512vl"));
    }

    #[test]
    fn any_number_of_buffers_with_lengths_around_a_block_is_digested() {
        let bytes = content(1 << 20);
        let edges = [0, 1, 55, 56, 63, 64, 65, 119, 120, 127, 128, 129, 1000];
        for count in 0..=40 {
            for len in edges {
                // Buffers of equal length and different bytes.
                let alike: Vec<&[u8]> = (0..count).map(|at| &bytes[at..at + len]).collect();
                check(&alike);
            }
            let mixed: Vec<&[u8]> = (0..count).map(|at| &bytes[at..at + edges[at % edges.len()]]).collect();
            check(&mixed);
        }
        let large: Vec<&[u8]> =
            [1 << 20, 0, (1 << 20) - 1, 65, 1 << 20, 300_000, 1 << 19, 77, 1 << 20, 5, 700_000]
                .iter()
                .map(|len| &bytes[bytes.len() - len..])
                .collect();
        check(&large);
        check(&[&bytes]);
    }

    proptest! {
        #[test]
        fn digests_of_random_buffers_are_those_of_the_md5_crate(
            lens in prop::collection::vec(
                prop_oneof![4 => 0_usize..300, 2 => 0_usize..5000, 1 => 0_usize..100_000],
                0..=40,
            ),
            seed in any::<[u8; 16]>(),
        ) {
            let content = content(101_000);
            let bytes: Vec<u8> = content.iter().zip(seed.iter().cycle()).map(|(a, b)| a ^ b).collect();
            let buffers: Vec<&[u8]> = lens.iter().enumerate().map(|(at, len)| &bytes[at..at + len]).collect();
            check(&buffers);
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn the_table_of_sines_is_that_of_the_rfc() {
        for (at, sine) in x86::SINES.iter().enumerate() {
            let exact = ((at + 1) as f64).sin().abs() * 4_294_967_296.0;
            assert_eq!(u64::from(*sine), exact as u64, "sine {}", at + 1);
        }
    }
}
