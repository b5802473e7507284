//! What earlier downloads have left among the parts: which of them a restarted node goes on with, and what is
//! of no use to anybody.
//!
//! For the start of a node, before any download of its own; parts that another process works on are left
//! alone. Whatever cannot be looked at stays as it is.

use std::os::fd::{AsFd, OwnedFd};

use super::io::allocated_bytes;
use super::leftover::{LeftoverPart, left_overs, open_left_over};
use super::lock::Lock;
use super::record::{self, Record};
use crate::store::disk::At;
use crate::store::openat;
use crate::store::share::Share;
use crate::types::{ContentId, ContentKey, FileName};

/// The parts that stay.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    pub parts: usize,
    /// What they take on the disk.
    pub allocated_bytes: u64,
}

/// The downloads that a restarted node goes on with by itself, in order of name. Those set aside are not
/// among them, nor those that run.
pub fn unfinished(share: &Share) -> Vec<(FileName, ContentKey)> {
    let Ok(dir) = openat::open_dir(share, share.parts_dir()) else { return Vec::new() };
    let ids = left_overs(&dir).into_keys();
    let records = ids.filter_map(|id| read_wanted(share, &dir, id));
    // One piece list at a time is in memory.
    let mut unfinished: Vec<_> = records.map(|record| (record.name, record.key)).collect();
    unfinished.sort();
    unfinished
}

/// What the download of this content was asked for, if it is one of the [`unfinished`] still.
pub fn wanted(share: &Share, key: ContentKey) -> Option<Record> {
    let dir = openat::open_dir(share, share.parts_dir()).ok()?;
    read_wanted(share, &dir, key.id).filter(|record| record.key == key)
}

fn read_wanted(share: &Share, dir: &OwnedFd, id: ContentId) -> Option<Record> {
    if share.parts_in_use.lock().contains(&id) {
        return None;
    }
    // Another process may be at it.
    let part = open_left_over(share.disk(), dir, id).ok().flatten()?;
    if Lock::is_taken(&part) {
        return None;
    }
    record::read_one(share.disk(), dir, id, LeftoverPart::Wanted).ok().flatten()
}

/// Has a restarted node let the download of this content be, if it is one that it would go on with.
pub fn quarantine(share: &Share, key: ContentKey) {
    let Ok(dir) = openat::open_dir(share, share.parts_dir()) else { return };
    let (wanted, quarantine) = (LeftoverPart::Wanted.name(key.id), LeftoverPart::SetAside.name(key.id));
    let at = |name| At { dir: dir.as_fd(), name };
    // `NOENT`: it is not wanted. If anything else fails it stays wanted, which costs the next start a try.
    let renamed = share.disk().rename(at(&wanted), at(&quarantine));
    let _wanted = renamed.and_then(|()| share.disk().sync_dir(dir.as_fd()));
}

/// Removes parts without a record, records without a part, and what was being written when a program ended.
pub fn sweep(share: &Share) -> Swept {
    let mut swept = Swept::default();
    let Ok(dir) = openat::open_dir(share, share.parts_dir()) else { return swept };
    let disk = share.disk();
    for (id, kinds) in left_overs(&dir) {
        let Ok(part) = open_left_over(disk, &dir, id) else { continue };
        if part.as_ref().is_some_and(Lock::is_taken) {
            continue;
        }
        // What cannot be removed is hidden, and looked at again at the next start.
        let remove = |kind: &LeftoverPart| {
            let _stays = disk.unlink(At { dir: dir.as_fd(), name: &kind.name(id) });
        };
        kinds.iter().filter(|kind| **kind == LeftoverPart::Temporary).for_each(remove);
        let Ok(record) = record::read(disk, &dir, id) else { continue };
        match (record, part) {
            (Some(_), Some(part)) => {
                swept.parts += 1;
                swept.allocated_bytes += allocated_bytes(&part);
            }
            _ => kinds.iter().for_each(remove),
        }
    }
    swept
}

/// Removes all parts, with their records, that nobody works on.
pub fn clear_parts(share: &Share) {
    let Ok(dir) = openat::open_dir(share, share.parts_dir()) else { return };
    for (id, kinds) in left_overs(&dir) {
        if open_left_over(share.disk(), &dir, id).is_ok_and(|part| !part.as_ref().is_some_and(Lock::is_taken))
        {
            for kind in kinds {
                let _stays = share.disk().unlink(At { dir: dir.as_fd(), name: &kind.name(id) });
            }
        }
    }
}

/// Removes the directory of the parts if there is nothing in it, as who only visits leaves no trace.
pub fn leave_no_trace(share: &Share) {
    // `NOTEMPTY`, as a rule: somebody may go on with what is there.
    let _in_use = share.disk().remove_dir(At { dir: share.as_fd(), name: share.parts_dir() });
}
