//! What nodes publish and find: catalog entries, attributes, queries, origins of files, replication.

mod attributes;
mod entry;
mod layout;
mod query;
mod replicas;

pub use attributes::{Attribute, NodeTraits};
pub use entry::{FileEntry, Holding, Liveness, Md5Origin, NodeSummary, Provider, full_holders};
pub use layout::{FileOrigin, Layout, WordError};
pub use query::{Query, QueryError};
pub use replicas::{ReplicaTask, ReplicationStatus};
