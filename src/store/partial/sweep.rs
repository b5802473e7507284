//! Lists, quarantines and removes the partial files that downloads have left.
//!
//! A node sweeps when it starts, before its first download: it removes files that no download can use.
//! Partial files that another process uses stay, and so do files that cannot be examined.

use std::os::fd::{AsFd, OwnedFd};

use super::io::allocated_bytes;
use super::leftover::{LeftoverPart, left_overs, open_left_over};
use super::lock::Lock;
use super::record::{self, Record};
use crate::store::disk::At;
use crate::store::openat;
use crate::store::share::Share;
use crate::types::{ContentId, ContentKey, FileName};

/// The partial files that stay after a sweep, without those that another process uses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SweepReport {
    /// Their number.
    pub files: usize,
    /// Their disk space.
    pub allocated_bytes: u64,
}

/// The downloads that a restarted node resumes, in order of name. Quarantined and running downloads are not
/// among them.
pub fn resumable(share: &Share) -> Vec<(FileName, ContentKey)> {
    let Ok(dir) = openat::open_dir(share, share.partials_dir()) else { return Vec::new() };
    let ids = left_overs(&dir).into_keys();
    let records = ids.filter_map(|id| read_resumable(share, &dir, id));
    // One manifest at a time is in memory.
    let mut resumable: Vec<_> = records.map(|record| (record.name, record.key)).collect();
    resumable.sort();
    resumable
}

/// The record of the download of this content, if it is still [`resumable`].
pub fn resumable_record(share: &Share, key: ContentKey) -> Option<Record> {
    let dir = openat::open_dir(share, share.partials_dir()).ok()?;
    read_resumable(share, &dir, key.id).filter(|record| record.key == key)
}

fn read_resumable(share: &Share, dir: &OwnedFd, id: ContentId) -> Option<Record> {
    if share.partials_in_use.lock().contains(&id) {
        return None;
    }
    // Another process may run the download.
    let partial = open_left_over(share.disk(), dir, id).ok().flatten()?;
    if Lock::is_taken(&partial) {
        return None;
    }
    record::read_one(share.disk(), dir, id, LeftoverPart::Resumable).ok().flatten()
}

/// Quarantines the download of this content: a restarted node does not resume it.
pub fn quarantine(share: &Share, key: ContentKey) {
    let Ok(dir) = openat::open_dir(share, share.partials_dir()) else { return };
    let (resumable, quarantined) =
        (LeftoverPart::Resumable.name(key.id), LeftoverPart::Quarantined.name(key.id));
    let at = |name| At { dir: dir.as_fd(), name };
    // `NOENT`: there is no such record. After another error it stays resumable, and the next start tries the
    // download once more.
    let renamed = share.disk().rename(at(&resumable), at(&quarantined));
    renamed.and_then(|()| share.disk().sync_dir(dir.as_fd())).ok();
}

/// Removes partial files without a record, records without a partial file, and incomplete records. Reports
/// the files that stay.
pub fn sweep(share: &Share) -> SweepReport {
    let mut report = SweepReport::default();
    let Ok(dir) = openat::open_dir(share, share.partials_dir()) else { return report };
    let disk = share.disk();
    for (id, kinds) in left_overs(&dir) {
        let Ok(partial) = open_left_over(disk, &dir, id) else { continue };
        if partial.as_ref().is_some_and(Lock::is_taken) {
            continue;
        }
        // A file that cannot be removed is hidden, and the next start tries again.
        let remove = |kind: &LeftoverPart| {
            disk.unlink(At { dir: dir.as_fd(), name: &kind.name(id) }).ok();
        };
        kinds.iter().filter(|kind| **kind == LeftoverPart::Temporary).for_each(remove);
        let Ok(record) = record::read(disk, &dir, id) else { continue };
        match (record, partial) {
            (Some(_), Some(partial)) => {
                report.files += 1;
                report.allocated_bytes += allocated_bytes(&partial);
            }
            _ => kinds.iter().for_each(remove),
        }
    }
    report
}

/// Removes all partial files and their records, except those of running downloads.
pub fn remove_all(share: &Share) {
    let Ok(dir) = openat::open_dir(share, share.partials_dir()) else { return };
    for (id, kinds) in left_overs(&dir) {
        if open_left_over(share.disk(), &dir, id)
            .is_ok_and(|partial| !partial.as_ref().is_some_and(Lock::is_taken))
        {
            for kind in kinds {
                share.disk().unlink(At { dir: dir.as_fd(), name: &kind.name(id) }).ok();
            }
        }
    }
}

/// Removes the directory of the partial files if it is empty, so that a guest leaves no trace.
pub fn remove_empty_directory(share: &Share) {
    // `NOTEMPTY` is usual: a download may be resumed from its files.
    share.disk().remove_dir(At { dir: share.as_fd(), name: share.partials_dir() }).ok();
}
