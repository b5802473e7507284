//! The file of a download: where it goes, its partial file, and how that becomes a file in the share.

pub(super) mod disposition;
pub(super) mod partial_file;
pub(super) mod place;
pub(super) mod target;
