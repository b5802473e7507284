//! How a user types the digest of a content: `md5=HEX` or `b3=HEX`.

use std::fmt::{self, Display};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::digest::{ContentId, Md5Digest, hex_value};
use crate::types::printable::Printable;

/// The first 16 to 64 hex digits of a content id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "(ContentId, u8)", into = "(ContentId, u8)")]
pub struct ContentPrefix {
    /// The given digits, followed by zeros.
    padded: ContentId,
    /// Number of given digits: 16..=64.
    digits: u8,
}

/// A digest that a content must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Checksum {
    /// Its MD5 must be this one.
    Md5(Md5Digest),
    /// Its id must begin with these digits.
    Content(ContentPrefix),
}

/// A text that is not a checksum.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{0}` is not a checksum: give md5= and 32 hex digits, or b3= and 16 to 64")]
pub struct ChecksumError(String);

impl ContentPrefix {
    /// Minimum number of digits: 64 bits do not match by chance.
    pub const MIN_DIGITS: usize = 16;

    /// Reads 16 to 64 hex digits of either case. Anything else is `None`.
    pub fn from_hex(text: &str) -> Option<ContentPrefix> {
        if !(Self::MIN_DIGITS..=64).contains(&text.len()) {
            return None;
        }
        let mut bytes = [0; 32];
        for (index, digit) in text.bytes().enumerate() {
            let shift = if index.is_multiple_of(2) { 4 } else { 0 };
            bytes[index / 2] |= hex_value(digit)? << shift;
        }
        Some(ContentPrefix { padded: ContentId(bytes), digits: text.len() as u8 })
    }

    /// The smallest content id with this prefix. In the order of ids, all others with this prefix come next.
    pub fn first(&self) -> ContentId {
        self.padded
    }

    /// Returns true if and only if `id` begins with these digits.
    pub fn matches(&self, id: &ContentId) -> bool {
        let whole_bytes = usize::from(self.digits / 2);
        id.0[..whole_bytes] == self.padded.0[..whole_bytes]
            && (self.digits.is_multiple_of(2) || id.0[whole_bytes] >> 4 == self.padded.0[whole_bytes] >> 4)
    }
}

impl From<ContentId> for ContentPrefix {
    fn from(id: ContentId) -> ContentPrefix {
        ContentPrefix { padded: id, digits: 64 }
    }
}

impl TryFrom<(ContentId, u8)> for ContentPrefix {
    type Error = ChecksumError;

    fn try_from((id, digits): (ContentId, u8)) -> Result<ContentPrefix, ChecksumError> {
        let hex = id.to_string();
        let given = hex.get(..usize::from(digits)).ok_or_else(|| ChecksumError(hex.clone()))?;
        // Bytes beyond the digits must be 0: equal prefixes have one form.
        ContentPrefix::from_hex(given)
            .filter(|prefix| prefix.padded == id)
            .ok_or_else(|| ChecksumError(hex.clone()))
    }
}

impl From<ContentPrefix> for (ContentId, u8) {
    fn from(prefix: ContentPrefix) -> (ContentId, u8) {
        (prefix.padded, prefix.digits)
    }
}

impl FromStr for Checksum {
    type Err = ChecksumError;

    fn from_str(text: &str) -> Result<Checksum, ChecksumError> {
        let parsed = match text.split_once('=') {
            Some(("md5", hex)) => Md5Digest::from_hex(hex).map(Checksum::Md5),
            Some(("b3", hex)) => ContentPrefix::from_hex(hex).map(Checksum::Content),
            _ => None,
        };
        parsed.ok_or_else(|| ChecksumError(Printable(text).to_string()))
    }
}

impl Display for ContentPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.padded.to_string()[..usize::from(self.digits)])
    }
}

impl Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Checksum::Md5(digest) => write!(f, "md5={digest}"),
            Checksum::Content(prefix) => write!(f, "b3={prefix}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_read_and_printed() {
        for text in [
            "md5=d41d8cd98f00b204e9800998ecf8427e",
            "b3=af1349b9f5f9a1a6",
            "b3=af1349b9f5f9a1a6a",
            "b3=af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262",
        ] {
            assert_eq!(text.parse::<Checksum>().expect(text).to_string(), text);
        }
        let upper: Checksum = "md5=D41D8CD98F00B204E9800998ECF8427E".parse().expect("upper case is read");
        assert_eq!(upper.to_string(), "md5=d41d8cd98f00b204e9800998ecf8427e");
    }

    #[test]
    fn a_text_that_is_not_a_checksum_is_refused_and_named() {
        for text in [
            "",
            "md5=",
            "md5=12",
            "b3=0123456789abcde",
            "sha1=00",
            "md5=g41d8cd98f00b204e9800998ecf8427e",
            "af1349b9f5f9a1a6",
        ] {
            let error = text.parse::<Checksum>().expect_err(text);
            assert!(error.to_string().contains(text));
        }
    }

    #[test]
    fn a_prefix_matches_exactly_the_ids_that_begin_with_it() {
        let id = ContentId([0xab; 32]);
        let prefix = |text| ContentPrefix::from_hex(text).expect("valid prefix");
        assert!(prefix("abababababababab").matches(&id));
        assert!(prefix("ababababababababa").matches(&id));
        assert!(!prefix("ababababababababb").matches(&id));
        assert!(!prefix("abababababababac").matches(&id));
        assert!(ContentPrefix::from(id).matches(&id));
    }
}
