//! Digests: what they are over, how they are written, and the key under which content is known.

use std::fmt::{self, Debug, Display};

use serde::{Deserialize, Serialize};

/// MD5 (RFC 1321) of a whole file or of one piece; printed as 32 lower-case hex digits, as `md5sum` does.
/// Finds accidents, stops no forger.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Md5Digest(pub [u8; 16]);

/// BLAKE3 of a whole file, printed as `b3sum` does: 64 lower-case hex digits. Identifies content; nobody can
/// forge it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ContentId(pub [u8; 32]);

/// What "the same content" means: size and BLAKE3. A name is only a label on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ContentKey {
    pub size_bytes: u64,
    pub id: ContentId,
}

/// One line of a manifest: the MD5 of a piece and its BLAKE3 subtree value (chaining value of the piece at
/// its offset in the file, or the root hash where the file is a single piece). 48 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PieceDigests {
    pub md5: Md5Digest,
    pub subtree: [u8; 32],
}

/// Lower-case hex of `bytes`.
fn write_hex(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

/// Value of one hex digit of either case.
pub(crate) fn hex_value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

impl Md5Digest {
    /// Reads exactly 32 hex digits of either case; anything else is `None`.
    pub fn from_hex(text: &str) -> Option<Md5Digest> {
        if text.len() != 32 {
            return None;
        }
        let mut bytes = [0; 16];
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            *byte = hex_value(pair[0])? << 4 | hex_value(pair[1])?;
        }
        Some(Md5Digest(bytes))
    }
}

impl ContentId {
    /// The first 16 hex digits, enough to tell contents apart in a listing and to name one with `b3=`.
    pub fn short(&self) -> String {
        let mut text = self.to_string();
        text.truncate(16);
        text
    }
}

impl Display for Md5Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

impl Debug for Md5Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

impl Display for ContentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

impl Debug for ContentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}
