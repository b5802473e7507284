//! What the node serves: replies from memory, pieces of files, and whole files over other protocols.

pub(super) mod control;
pub(super) mod meter;
pub(super) mod partials;
pub(super) mod reader;
pub(super) mod shared_files;
pub(super) mod upload;
