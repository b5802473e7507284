//! The index of the own share: the catalog, and the thread that alone changes it.

pub(super) mod catalog;
mod event;
mod handle;
mod indexer;
mod task;

pub(super) use handle::IndexerHandle;
pub(super) use indexer::{Indexer, IndexerParts};
