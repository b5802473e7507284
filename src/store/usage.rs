//! `Usage`: the size of a folder's files, the disk space of its partial files, and the free space.
//!
//! Each call counts again. A file counts with its size, even if it is sparse: a copy of it takes that space.
//! A partial file counts with the space that it takes on the disk.

use std::io;
use std::os::fd::AsFd;

use super::partial::sweep;
use super::scan::walk;
use super::share::Share;
use crate::rt::Stop;

/// The disk space of a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// The size of its files.
    pub used_bytes: u64,
    /// Disk space of its partial files.
    pub partial_bytes: u64,
    /// Free space of its file system for this process.
    pub free_bytes: u64,
}

impl Usage {
    /// The usage of `folder`; `None`: the folder does not exist yet. First removes partial files that cannot
    /// be resumed. The partial file of a running download does not count: call this while none runs. The free
    /// space is that of `base`, which must be on the same file system. Files that the walk skips do not
    /// count.
    ///
    /// # Errors
    /// When the folder itself cannot be read; `Interrupted` when `stop` was triggered.
    pub fn of(folder: Option<&Share>, base: &Share, stop: &Stop) -> io::Result<Usage> {
        let (mut used_bytes, mut partial_bytes) = (0u64, 0);
        if let Some(folder) = folder {
            partial_bytes = sweep(folder).allocated_bytes;
            let mut found = |file: super::FoundFile| {
                used_bytes = used_bytes.saturating_add(file.stamp.size_bytes);
            };
            walk(folder, stop, &mut found, &mut |_| {})?;
        }
        Ok(Usage { used_bytes, partial_bytes, free_bytes: base.disk().free_bytes(base.as_fd())? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Partial, fixture};
    use crate::types::{ContentId, ContentKey};
    use std::fs;

    #[test]
    fn files_and_partial_files_count() {
        let (dir, share) = fixture::share();
        let stop = Stop::new().expect("a descriptor");
        let used = || Usage::of(Some(&share), &share, &stop).expect("told").used_bytes;
        assert_eq!(used(), 0);
        fs::create_dir(dir.path().join("sub")).expect("made");
        fs::write(dir.path().join("a"), b"abc").expect("written");
        fs::write(dir.path().join("sub/b"), b"de").expect("written");
        assert_eq!(used(), 5);
        let usage = Usage::of(None, &share, &stop).expect("told");
        assert_eq!(usage.used_bytes, 0);
        assert!(usage.free_bytes > 0);
        // A partial file without a record is removed, so it takes no space.
        let key = ContentKey { size_bytes: 8, id: ContentId([1; 32]) };
        let partial = Partial::open(&share, key).expect("a partial file").partial;
        partial.write_piece(0, &[1; 8]).expect("written");
        drop(partial);
        assert_eq!(used(), 5);
        assert_eq!(Usage::of(Some(&share), &share, &stop).expect("told").partial_bytes, 0);
    }
}
