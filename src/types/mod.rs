//! The vocabulary: names, digests, addresses, units, limits, catalog entries, geometry of pieces.
//!
//! Plain values that are valid by construction. Nothing here opens, sends, waits or prints. All other code
//! may rely on a value of these types having been checked.

pub mod attributes;
pub mod catalog;
pub mod content;
pub mod dataset;
pub mod digest;
pub mod ids;
pub mod layout;
pub mod limits;
pub mod manifest;
pub mod millis;
pub mod name;
pub mod piece_set;
pub mod pieces;
pub mod printable;
pub mod query;
pub mod rating;
pub mod replicas;

pub use attributes::{Attribute, NodeTraits};
pub use catalog::{FileEntry, Holding, Liveness, Md5Origin, NodeSummary, Provider, full_holders};
pub use content::{Checksum, ChecksumError, ContentPrefix};
pub use dataset::{DatasetSpec, DatasetSpecError};
pub use digest::{ContentId, ContentKey, Md5Digest, PieceDigests};
pub use ids::{Epoch, NodeId, Nonce};
pub use layout::{FileOrigin, Layout, WordError};
pub use manifest::{Manifest, ManifestError, Subtree, WrongPiece};
pub use millis::Millis;
pub use name::{FileName, NameError};
pub use piece_set::PieceSet;
pub use pieces::Geometry;
pub use printable::{Printable, path_text, reason};
pub use query::{Query, QueryError};
pub use rating::{LatencyOrigin, Ranked};
pub use replicas::{ReplicaTask, ReplicationStatus};
