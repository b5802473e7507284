//! Names that the store gives its own files.

/// The directory of the partial files, in the root of a share. Its name is hidden, so its files are never
/// shared or listed, and no download is placed in it.
pub(super) const PARTIALS_DIR: &str = ".nearpeer";
