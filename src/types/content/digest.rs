//! Digests: MD5 and BLAKE3 values and their text form; the identity of a content.

use std::fmt::{self, Debug, Display};

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// MD5 (RFC 1321) of a whole file or of one piece; printed as 32 lower-case hex digits, as `md5sum` does. It
/// detects damage, but a forger can make other bytes with the same MD5.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Md5Digest(pub [u8; 16]);

/// BLAKE3 of a whole file, printed as `b3sum` does: 64 lower-case hex digits. It identifies a content: nobody
/// can make other bytes with the same BLAKE3.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentId(pub [u8; 32]);

/// The identity of a content: size and BLAKE3. A name is only a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ContentKey {
    /// Number of bytes.
    pub size_bytes: u64,
    /// BLAKE3 of all bytes.
    pub id: ContentId,
}

/// One line of a manifest: 48 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PieceDigests {
    /// MD5 of the piece.
    pub md5: Md5Digest,
    /// BLAKE3 subtree value of the piece: its chaining value at its offset in the file, or the root hash if
    /// the file is a single piece.
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

/// Reads exactly `2 * N` hex digits of either case. Anything else is `None`.
fn read_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = hex_value(pair[0])? << 4 | hex_value(pair[1])?;
    }
    Some(bytes)
}

impl Md5Digest {
    /// Reads exactly 32 hex digits of either case. Anything else is `None`.
    pub fn from_hex(text: &str) -> Option<Md5Digest> {
        read_hex(text).map(Md5Digest)
    }
}

impl ContentId {
    /// Reads exactly 64 hex digits of either case. Anything else is `None`.
    pub fn from_hex(text: &str) -> Option<ContentId> {
        read_hex(text).map(ContentId)
    }

    /// The first 16 hex digits: enough to tell contents apart in a list and to name one with `b3=`.
    pub fn short(&self) -> String {
        let mut text = self.to_string();
        text.truncate(16);
        text
    }
}

/// Hex digits in a text format (JSON), plain bytes in a message on the wire.
impl Serialize for Md5Digest {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        if to.is_human_readable() { to.collect_str(self) } else { self.0.serialize(to) }
    }
}

impl<'de> Deserialize<'de> for Md5Digest {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Md5Digest, D::Error> {
        if !from.is_human_readable() {
            return Deserialize::deserialize(from).map(Md5Digest);
        }
        let text = String::deserialize(from)?;
        Md5Digest::from_hex(&text).ok_or_else(|| D::Error::custom("an MD5 has 32 hex digits"))
    }
}

/// Hex digits in a text format (JSON), plain bytes in a message on the wire.
impl Serialize for ContentId {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        if to.is_human_readable() { to.collect_str(self) } else { self.0.serialize(to) }
    }
}

impl<'de> Deserialize<'de> for ContentId {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<ContentId, D::Error> {
        if !from.is_human_readable() {
            return Deserialize::deserialize(from).map(ContentId);
        }
        let text = String::deserialize(from)?;
        ContentId::from_hex(&text).ok_or_else(|| D::Error::custom("a BLAKE3 has 64 hex digits"))
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
