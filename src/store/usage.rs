//! How much a folder takes: its files, the parts that downloads have left in it, and what is free beside
//! them.
//!
//! Counts what is there and keeps nothing. Files count with their size, as they would when copied; parts with
//! what they take on the disk.

use std::io;
use std::os::fd::AsFd;

use super::partial::sweep;
use super::scan::walk;
use super::share::Share;
use crate::rt::Stop;

/// What a folder takes, and what is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Of its files.
    pub used_bytes: u64,
    /// Of what downloads have left unfinished in it.
    pub parts_bytes: u64,
    /// On its file system, for this process.
    pub free_bytes: u64,
}

impl Usage {
    /// Of `folder`, while no download is placed there: parts that nobody can go on with are removed first.
    /// `folder` may be missing; what is free is asked of `base`, which lies on the same file system.
    ///
    /// # Errors
    /// When something cannot be read; `Interrupted` when `stop` was triggered.
    pub fn of(folder: Option<&Share>, base: &Share, stop: &Stop) -> io::Result<Usage> {
        let (mut used_bytes, mut parts_bytes) = (0u64, 0);
        if let Some(folder) = folder {
            parts_bytes = sweep(folder).allocated_bytes;
            let mut found = |file: super::FoundFile| {
                used_bytes = used_bytes.saturating_add(file.stamp.size_bytes);
            };
            walk(folder, stop, &mut found, &mut |_| {})?;
        }
        Ok(Usage { used_bytes, parts_bytes, free_bytes: base.disk().free_bytes(base.as_fd())? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Partial, fixture};
    use crate::types::{ContentId, ContentKey};
    use std::fs;

    #[test]
    fn files_and_parts_count() {
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
        // A part that nobody can go on with takes nothing, as it is removed.
        let key = ContentKey { size_bytes: 8, id: ContentId([1; 32]) };
        let part = Partial::open(&share, key).expect("a part").part;
        part.write_piece(0, &[1; 8]).expect("written");
        drop(part);
        assert_eq!(used(), 5);
        assert_eq!(Usage::of(Some(&share), &share, &stop).expect("told").parts_bytes, 0);
    }
}
