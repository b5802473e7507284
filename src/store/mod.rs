//! Files: the share, what is in it, its digests, downloads in progress.
//!
//! Mechanism alone; knows nothing of peers or decisions. Every file is reached beneath the open handle of the
//! share's directory and never through a symbolic link. What a download does to the disk goes through
//! [`Disk`], so that every fault can be played.

pub mod dataset;
pub mod disk;
#[cfg(test)]
mod fixture;
pub mod hash;
mod names;
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
    Opened, Partial, PartialError, Placed, Record, Swept, clear_parts, leave_no_trace, quarantine, sweep,
    take_over, unfinished, wanted,
};
pub use scan::{FoundFile, walk};
pub use share::{FileStamp, OpenFile, PathEntry, Share, ShareError};
pub use share_folders::{ShareFolders, Visible};
pub use usage::Usage;
pub use verify::{piece_digests, verify};
