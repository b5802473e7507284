//! `PartialError`: failures on this node's side of a download.

use std::fs::File;
use std::os::fd::AsFd;

use rustix::io::Errno;
use thiserror::Error;

use super::io::allocated_bytes;
use crate::store::disk::Op;
use crate::store::share::Share;
use crate::types::{ContentId, ContentKey, FileName};

/// What went wrong on our side: no peer is to blame and no other source will help.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PartialError {
    /// The disk or the quota is too small.
    #[error("{needed_bytes} bytes are needed and {free_bytes} are free: {errno}")]
    NoSpace { needed_bytes: u64, free_bytes: u64, errno: Errno },
    /// A limit on the size of one file, such as `ulimit -f`.
    #[error("a file of {needed_bytes} bytes may not be made here: {errno}")]
    TooLarge { needed_bytes: u64, errno: Errno },
    /// What stands at the name or on the way to it.
    #[error("`{name}` is {what} here already: it is not replaced")]
    Exists { name: FileName, what: &'static str },
    #[error("the share cannot be written to: {0}")]
    Unwritable(Errno),
    #[error("`{0}` is not a directory of this user's: remove it")]
    PartsDirectory(String),
    /// At the name of a part or of its record.
    #[error("a directory stands among the files of `.nearpeer` that begin with `{0}`: remove it")]
    DirectoryInTheWay(ContentId),
    #[error("something else has removed or cut the part in `.nearpeer`: download it again")]
    Touched,
    #[error("another download of this content is running")]
    InProgress,
    #[error("cannot {op}: {errno}")]
    Disk { op: Op, errno: Errno },
    #[error("cannot look at `{name}`: {why}")]
    Look { name: FileName, why: String },
}

/// Sorts an error of the system by what its reader can do about it. `file` is the part, if there is one yet.
pub(super) fn fault(
    share: &Share,
    key: ContentKey,
    file: Option<&File>,
    op: Op,
    errno: Errno,
) -> PartialError {
    match errno {
        Errno::FBIG => PartialError::TooLarge { needed_bytes: key.size_bytes, errno },
        Errno::NOSPC | Errno::DQUOT => {
            let needed_bytes = key.size_bytes.saturating_sub(file.map_or(0, allocated_bytes));
            let free_bytes = share.disk().free_bytes(share.as_fd()).unwrap_or(0);
            PartialError::NoSpace { needed_bytes, free_bytes, errno }
        }
        Errno::ISDIR => PartialError::DirectoryInTheWay(key.id),
        Errno::ROFS | Errno::ACCESS | Errno::PERM => PartialError::Unwritable(errno),
        errno => PartialError::Disk { op, errno },
    }
}
