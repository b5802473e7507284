//! Discovery: which nodes have what. The seam between a node and everything that can answer it; today a
//! tracker.
//!
//! The rest of the program knows [`Finder`] for finding and [`Publisher`] for publishing. A [`Directory`]
//! asks several finders at once and is a finder itself. What only a tracker can do stands behind
//! [`TrackerSession`].

mod directory;
mod error;
mod finder;
mod published;
mod tracker;

pub use directory::{Directory, DirectoryAnswer, FinderReport};
pub use error::DiscoveryError;
pub use finder::{Finder, Publisher};
pub use published::{Changes, PublishedCatalog, ReplicaCapacity};
pub use tracker::{
    NamePage, ReplicationRequest, TrackerClient, TrackerClientConfig, TrackerEvent, TrackerSession,
};
