//! The file of a download: its target, its partial file, and how the partial file becomes a shared file.

pub(super) mod announced_partial;
pub(super) mod disposition;
pub(super) mod place;
pub(super) mod target;
