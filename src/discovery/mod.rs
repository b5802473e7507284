//! Discovery: which nodes have which content. The seam between a node and everything that can answer this
//! question: today only a tracker.
//!
//! The rest of the program finds through a [`Finder`] and publishes through a [`Publisher`]. A [`Directory`]
//! asks several finders at once and is a finder itself. [`TrackerSession`] has what only a tracker can do.

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
