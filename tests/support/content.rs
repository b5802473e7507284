//! File contents for tests, and their digests as command-line tools print them.

use md5::{Digest, Md5};
use rand::{RngCore, SeedableRng, rngs::SmallRng};

use nearpeer::types::{ContentId, ContentKey, Geometry, Manifest, Md5Digest, PieceDigests};

/// `len` bytes that look random. Equal seeds give equal bytes.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    SmallRng::seed_from_u64(seed).fill_bytes(&mut bytes);
    bytes
}

/// The MD5 in hex, as `md5sum` prints it.
pub fn md5_hex(bytes: &[u8]) -> String {
    md5_of(bytes).to_string()
}

/// The MD5 of the bytes.
pub fn md5_of(bytes: &[u8]) -> Md5Digest {
    Md5Digest(Md5::digest(bytes).into())
}

/// The BLAKE3 digest in hex, as `b3sum` prints it.
pub fn b3_hex(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
}

/// Size and content id of the bytes.
pub fn key_of(bytes: &[u8]) -> ContentKey {
    ContentKey { size_bytes: bytes.len() as u64, id: ContentId(*blake3::hash(bytes).as_bytes()) }
}

/// The true piece digests of the bytes.
pub fn pieces_of(bytes: &[u8]) -> Vec<PieceDigests> {
    let geometry = Geometry::of(bytes.len() as u64);
    let piece_len = geometry.piece_len_bytes() as usize;
    (0..)
        .zip(bytes.chunks(piece_len))
        .map(|(index, piece)| PieceDigests::of(&geometry, index, piece))
        .collect()
}

/// The true manifest of the bytes.
pub fn manifest_of(bytes: &[u8]) -> Manifest {
    Manifest::accept(key_of(bytes), pieces_of(bytes)).expect("an honest list merges to its content id")
}
