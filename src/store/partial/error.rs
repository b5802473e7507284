//! `PartialError`: failures on this node's side of a download.

use std::fs::File;
use std::os::fd::AsFd;

use rustix::io::Errno;
use thiserror::Error;

use super::io::allocated_bytes;
use crate::store::disk::Op;
use crate::store::share::Share;
use crate::types::{ContentId, ContentKey, FileName};

/// Why a partial file cannot be used. The fault is this node's: no peer caused it and no other source helps.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PartialError {
    /// The file system is too full, or the user's disk quota is used up.
    #[error("{needed_bytes} bytes are needed and {free_bytes} are free: {errno}")]
    NoSpace {
        /// Bytes that the content still takes.
        needed_bytes: u64,
        /// Free bytes of the file system.
        free_bytes: u64,
        /// The error of the system.
        errno: Errno,
    },
    /// A limit on the size of one file, such as `ulimit -f`.
    #[error("a file of {needed_bytes} bytes may not be made here: {errno}")]
    TooLarge {
        /// Size of the content.
        needed_bytes: u64,
        /// The error of the system.
        errno: Errno,
    },
    /// There is another entry at the name, or a file in place of a directory above it.
    #[error("`{name}` is {what} here already: it is not replaced")]
    Exists {
        /// The final name.
        name: FileName,
        /// The kind of the entry.
        what: &'static str,
    },
    /// The user may not write there, or the file system is read-only.
    #[error("the share cannot be written to: {0}")]
    Unwritable(Errno),
    /// The directory of the partial files is not a directory, or another user's.
    #[error("`{0}` is not a directory of this user's: remove it")]
    PartialsDirectory(String),
    /// A directory has the name of a partial file or its record.
    #[error("a directory in `.nearpeer` has a name that begins with `{0}`: remove it")]
    DirectoryInTheWay(ContentId),
    /// Another program has changed the partial file.
    #[error("another program has removed or cut the partial file in `.nearpeer`: download it again")]
    Touched,
    /// Another download, perhaps of another process, uses the partial file.
    #[error("another download of this content is running")]
    InProgress,
    /// Another failure of the disk.
    #[error("cannot {op}: {errno}")]
    Disk {
        /// The operation.
        op: Op,
        /// The error of the system.
        errno: Errno,
    },
    /// The system does not say what is at the final name.
    #[error("cannot look at `{name}`: {why}")]
    Look {
        /// The final name.
        name: FileName,
        /// The error of the system.
        why: String,
    },
}

/// Makes an error of the system a [`PartialError`], whose message says what the user can do. `file` is the
/// partial file, if it is open.
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
