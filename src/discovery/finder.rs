//! The two traits of discovery.

use std::time::Instant;

use super::error::DiscoveryError;
use crate::rt::Stop;
use crate::types::{Provider, Query};

/// Knows which nodes have which content.
pub trait Finder: Send + Sync {
    /// The name of the finder in reports and errors, for example `tracker 10.0.0.1:7000`.
    fn name(&self) -> String;

    /// Live holders of what `query` names, in no particular order. This node may be one of them. No holder
    /// is an empty answer and not an error.
    ///
    /// A find of the user waits for every finder, and its `deadline` may be a minute away. So a finder must
    /// not collect answers until `deadline`: it has a shorter time limit of its own, and returns what it has
    /// then, or an error.
    ///
    /// # Errors
    /// [`DiscoveryError::Cancelled`] if `cancel` is triggered before there is an answer, else the reason why
    /// there is none, at `deadline` at the latest.
    fn find(&self, query: &Query, deadline: Instant, cancel: &Stop) -> Result<Vec<Provider>, DiscoveryError>;
}

/// Makes the files of this node known.
pub trait Publisher: std::fmt::Debug + Send + Sync {
    /// Tells the publisher that the catalog has changed. Does not wait: the publisher reads the catalog a
    /// little later.
    fn publish(&self);
}
