//! The index of the shared files: the catalog, and the thread `indexer`, the only one that changes it.

pub(super) mod catalog;
mod event;
mod handle;
mod indexer;
mod retries;
mod task;

pub(super) use handle::IndexerHandle;
pub(super) use indexer::{Indexer, IndexerParts};
