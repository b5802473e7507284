//! Content: digests, checksums, the pieces of a file and its manifest.

mod checksum;
mod digest;
mod manifest;
mod piece_set;
mod pieces;

pub use checksum::{Checksum, ChecksumError, ContentPrefix};
pub(crate) use digest::hex_value;
pub use digest::{ContentId, ContentKey, Md5Digest, PieceDigests};
pub use manifest::{Manifest, ManifestError, PieceError, SubtreeHasher};
pub use piece_set::PieceSet;
pub use pieces::Geometry;
