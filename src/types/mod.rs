//! The vocabulary: names, digests, identities, units, limits, catalog entries, geometry of pieces.
//!
//! `FileName`, `Manifest`, `PieceSet` and the like check their input when they are made, so all other code
//! may rely on a value of these types. Nothing here opens a file, sends, waits or prints.

pub mod catalog;
pub mod content;
pub mod dataset;
pub mod ids;
pub mod limits;
pub mod millis;
pub mod name;
pub mod printable;
pub mod rating;

pub use catalog::{
    Attribute, FileEntry, FileOrigin, Holding, Layout, Liveness, Md5Origin, NodeSummary, NodeTraits,
    Provider, Query, QueryError, ReplicaTask, ReplicationStatus, WordError, full_holders,
};
pub use content::{
    Checksum, ChecksumError, ContentId, ContentKey, ContentPrefix, Geometry, Manifest, ManifestError,
    Md5Digest, PieceDigests, PieceError, PieceSet, SubtreeHasher,
};
pub use dataset::{DatasetSpec, DatasetSpecError};
pub use ids::{Epoch, NodeId, Nonce};
pub use millis::Millis;
pub use name::{FileName, NameError};
pub use printable::{Printable, path_text, reason};
pub use rating::{LatencyOrigin, Ranked};
