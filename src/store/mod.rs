//! Files: the share, what is in it, its digests, downloads in progress.
//!
//! Mechanism alone; knows nothing of peers or decisions. Every file is reached beneath the open handle of the
//! share's directory and never through a symbolic link. What a download does to the disk goes through
//! [`Disk`], so that every fault can be played.

pub mod dataset;
pub mod disk;
pub mod hash;
mod openat;
pub mod partial;
pub mod scan;
pub mod share;
pub mod share_folders;
pub mod usage;
pub mod verify;
mod xattr;

pub use dataset::{Dataset, DatasetError, Generated, generate};
pub use disk::{Disk, FaultyDisk, Op, RealDisk};
pub use hash::{HashError, Hashed, hash_file, is_shortage, whole_md5};
pub use partial::{
    Opened, Partial, PartialError, Placed, Record, Swept, clear_parts, leave_no_trace, set_aside, sweep,
    take_over, unfinished, wanted,
};
pub use scan::{FoundFile, walk};
pub use share::{FileStamp, OpenFile, PathEntry, Share, ShareError};
pub use share_folders::{ShareFolders, Visible};
pub use usage::Usage;
pub use verify::{piece_digests, verify};

/// The error of a long piece of work that a [`crate::rt::Stop`] has ended; its kind is `Interrupted`. The
/// system's own interruptions are retried where they occur, so that nothing else has this kind.
fn stopped() -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::Interrupted, "stopped")
}

#[cfg(test)]
mod fixture {
    use super::{Disk, RealDisk, Share};
    use std::sync::Arc;
    use tempfile::TempDir;

    /// An empty share.
    pub(super) fn share() -> (TempDir, Arc<Share>) {
        share_on(Arc::new(RealDisk))
    }

    /// An empty share on a disk of one's choice.
    pub(super) fn share_on(disk: Arc<dyn Disk>) -> (TempDir, Arc<Share>) {
        let dir = tempfile::tempdir().expect("a directory");
        let share = Share::open(dir.path(), disk).expect("a share");
        (dir, Arc::new(share))
    }
}
