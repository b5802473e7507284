//! What the node serves to peers: answers from memory, pieces of files, and files for other protocols.

pub(super) mod control;
pub(super) mod meter;
pub(super) mod partials;
pub(super) mod reader;
pub(super) mod shared_files;
pub(super) mod upload;
