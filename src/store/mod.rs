//! Files: the folders of a node, their files and digests, downloads in progress.
//!
//! This folder does not know peers or decisions. Every file is opened beneath the open handle of the share's
//! directory and never through a symbolic link. All changes of a download go through [`Disk`], so that tests
//! can inject every fault.

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
    Opened, Partial, PartialError, Placed, Record, SweepReport, quarantine, remove_all,
    remove_empty_directory, resumable, resumable_record, sweep, take_over,
};
pub use scan::{FoundFile, SkippedEntry, Unread, walk};
pub use share::{FileStamp, OpenFile, PathEntry, Share, ShareError};
pub use share_folders::{ShareFolders, Visible};
pub use usage::Usage;
pub use verify::{piece_digests, verify};
