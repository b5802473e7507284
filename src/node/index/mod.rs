//! The node's own files: scanned, hashed, and kept as a catalog.

pub(super) mod catalog;
pub(super) mod indexer;
pub(super) mod task;
