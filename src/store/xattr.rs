//! The mark of a downloaded file: an extended attribute with the id of the content that was downloaded.
//!
//! In the flat layout only the mark distinguishes downloaded files from local ones. It moves with the file
//! and is removed with it, so it needs no limit and no cleaning. It counts only while the file has that
//! content: a changed download is a local file, and a changed replica is not published. A file system
//! without extended attributes keeps no mark; after a restart its downloads count as local.

use std::fs::File;

use rustix::fs::{XattrFlags, fgetxattr, fsetxattr};
use rustix::io::Result;

use crate::types::ContentId;

const ATTRIBUTE: &str = "user.nearpeer.downloaded";

/// Writes the mark. Other modules use [`super::Disk::mark`].
pub(super) fn write(file: &File, content: ContentId) -> Result<()> {
    fsetxattr(file, ATTRIBUTE, &content.0, XattrFlags::empty())
}

/// The content that `file` was downloaded as; it may have changed since.
pub(super) fn of(file: &File) -> Option<ContentId> {
    // For a longer value the call fails: it is not a mark.
    let mut value = [0; 32];
    matches!(fgetxattr(file, ATTRIBUTE, &mut value[..]), Ok(32)).then_some(ContentId(value))
}
