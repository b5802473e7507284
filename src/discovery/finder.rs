//! The two traits of discovery.

use std::time::Instant;

use super::error::DiscoveryError;
use crate::rt::Stop;
use crate::types::{Provider, Query};

/// Knows which nodes have what.
pub trait Finder: Send + Sync {
    /// What reports call it, for example `tracker 10.0.0.1:7000`.
    fn name(&self) -> String;

    /// Live holders of what `query` names, in no particular order. The own node may be one of them. No holder
    /// is an empty answer and not an error.
    ///
    /// # Errors
    /// [`DiscoveryError`] if there is no answer by `deadline` or `cancel` is triggered before.
    fn find(&self, query: &Query, deadline: Instant, cancel: &Stop) -> Result<Vec<Provider>, DiscoveryError>;
}

/// Makes the files of this node known.
pub trait Publisher: std::fmt::Debug + Send + Sync {
    /// Says that the catalog has changed. Does not wait: the publisher reads the catalog a little later.
    fn publish(&self);
}
