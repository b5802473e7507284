//! The mark of a downloaded file: an extended attribute with the id of the content that was downloaded.
//!
//! In the flat layout it alone tells what was downloaded from what is local. It goes where the file goes and
//! ends with it, hence it needs no bound and no sweeping; it counts only while the file has that very
//! content, so that a file that was changed is local; a copy that is kept for others and was changed is no
//! copy any more. A file system without such attributes keeps no mark: what was downloaded there is local
//! after a restart.

use std::fs::File;

use rustix::fs::{XattrFlags, fgetxattr, fsetxattr};
use rustix::io::Result;

use crate::types::ContentId;

const ATTRIBUTE: &str = "user.nearpeer.downloaded";

/// Writes the mark; [`super::Disk::mark`] is for others.
pub(super) fn write(file: &File, content: ContentId) -> Result<()> {
    fsetxattr(file, ATTRIBUTE, &content.0, XattrFlags::empty())
}

/// What `file` was downloaded as; it may have been changed since.
pub(super) fn of(file: &File) -> Option<ContentId> {
    // A value that is longer is an error.
    let mut value = [0; 32];
    matches!(fgetxattr(file, ATTRIBUTE, &mut value[..]), Ok(32)).then_some(ContentId(value))
}
