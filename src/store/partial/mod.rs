//! `Partial`: a download in progress, how it is gone on with, and how it becomes a file of the share.
//!
//! It lives as `.nearpeer/<content id>.part` at the share's root, with a record of what it was asked for
//! beside it (`record.rs`). The final name holds nothing or the whole, synced content: never a part of it,
//! and never in place of another file unless that was asked for. One download at a time has a content's part,
//! among all processes, and a part has one name: it is never written through another.
//!
//! Which pieces are there is not stored. The part is sparse and only verified pieces are written to it, hence
//! its holes are a bitmap, which the file system keeps and which cannot go stale: a piece of which all is
//! data is *marked*. That is a hint (a power cut can leave data that was never written, a crash half a
//! block), and so is a part's length: its user verifies the marked pieces again before they count.

mod place;
mod record;
mod sweep;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use rustix::fs::{AtFlags, FlockOperation, flock};
use rustix::io::{Errno, retry_on_intr};
use thiserror::Error;

use super::disk::{At, Disk, Op};
use super::hash::md5_of_reads;
use super::openat;
use super::share::{FileStamp, Share};
use crate::rt::Stop;
use crate::types::{ContentId, ContentKey, FileName, Geometry, Md5Digest};

pub use place::take_over;
pub use record::Record;
pub use sweep::{Swept, clear_parts, leave_no_trace, set_aside, sweep, unfinished, wanted};

/// Hidden, so that it is never shared, listed or a download's target.
pub(super) const PARTS_DIR: &str = ".nearpeer";
/// How often its making is tried, as others may remove it while it is empty.
const PARTS_DIR_TRIES: u32 = 8;
/// The unit in which the system counts what a file takes on the disk.
const BLOCK_BYTES: u64 = 512;

/// What a download begins with.
#[derive(Debug)]
pub struct Opened {
    pub part: Partial,
    /// Pieces that are probably there, in order: to be verified before they count.
    pub marked: Vec<u32>,
    /// What the earlier download was asked for, if it came so far and its record is sound.
    pub record: Option<Record>,
}

/// A part file. Dropped undecided it stays, as if the process had been killed, unless it is empty: neither a
/// panic nor an early return loses gigabytes.
#[derive(Debug)]
pub struct Partial {
    claim: Claim,
    _lock: Lock,
    parts_dir: OwnedFd,
    file: Arc<File>,
    /// Set once a sync has failed. The system then holds the lost bytes for written and a second sync would
    /// succeed, so that nothing in this part can be trusted again.
    sync_failed: Option<Errno>,
    /// What becomes of it is decided.
    settled: bool,
}

/// A download that is a file of the share now, durably.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    pub stamp: FileStamp,
}

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

/// The right to a content's part file in this process; given back when dropped.
#[derive(Debug)]
struct Claim {
    share: Arc<Share>,
    key: ContentKey,
}

/// The right to a part among all processes, as long as it lives: several may download into one directory.
#[derive(Debug)]
struct Lock(Arc<File>);

impl Lock {
    /// `None`: another process has the part, or has put it in place or removed it this very moment.
    fn take(file: File, dir: &OwnedFd, name: &str) -> rustix::io::Result<Option<Lock>> {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Ok(None),
            Err(errno) => return Err(errno),
        }
        let lock = Lock(Arc::new(file));
        // Between opening and locking it may have become a file of the share.
        Ok(leads_to(dir, name, &lock.0).then_some(lock))
    }

    /// Whether somebody else, another process as a rule, has the part.
    fn is_taken(file: &File) -> bool {
        let tried = flock(file, FlockOperation::NonBlockingLockShared);
        let _not_locked = tried.and_then(|()| flock(file, FlockOperation::Unlock));
        tried == Err(Errno::WOULDBLOCK)
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Who still reads the file, to send it, has the same lock.
        let _unlocked_when_closed = flock(&*self.0, FlockOperation::Unlock);
    }
}

/// The files that may be there of a content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LeftoverPart {
    Part,
    /// The record of a download that a restarted node goes on with.
    Wanted,
    /// The record of one that waits until it is asked for again.
    SetAside,
    /// A record as it is being written.
    Temporary,
}

impl LeftoverPart {
    const ALL: [LeftoverPart; 4] =
        [LeftoverPart::Part, LeftoverPart::Wanted, LeftoverPart::SetAside, LeftoverPart::Temporary];

    /// The file's name among the parts.
    fn name(self, id: ContentId) -> String {
        match self {
            LeftoverPart::Part => format!("{id}.part"),
            LeftoverPart::Wanted => format!("{id}.resume"),
            LeftoverPart::SetAside => format!("{id}.kept"),
            LeftoverPart::Temporary => format!("{id}.tmp"),
        }
    }
}

impl Claim {
    fn take(share: &Arc<Share>, key: ContentKey) -> Result<Claim, PartialError> {
        let is_free = share.parts_in_use.lock().insert(key.id);
        is_free.then(|| Claim { share: Arc::clone(share), key }).ok_or(PartialError::InProgress)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.share.parts_in_use.lock().remove(&self.key.id);
    }
}

impl Partial {
    /// The part that an earlier download of the content has left, or an empty one, of the content's full
    /// length; holes take no space.
    ///
    /// # Errors
    /// [`PartialError`]. The free space is looked at before anything is made, so that a size which a peer has
    /// made up costs nothing; what an earlier download has left stays then.
    pub fn open(share: &Arc<Share>, key: ContentKey) -> Result<Opened, PartialError> {
        let gone = PartialError::Disk { op: Op::Create, errno: Errno::NOENT };
        // A visitor that leaves may have removed the directory of the parts in between.
        let mut opened = (1..PARTS_DIR_TRIES).map(|_| Partial::open_once(share, key));
        let opened = opened.find(|opened| opened.as_ref().err() != Some(&gone));
        opened.unwrap_or_else(|| Partial::open_once(share, key))
    }

    fn open_once(share: &Arc<Share>, key: ContentKey) -> Result<Opened, PartialError> {
        let claim = Claim::take(share, key)?;
        let disk = share.disk();
        let fault = |op| move |errno| fault(share, key, None, op, errno);
        let parts_dir = open_parts_dir(share).map_err(|(op, errno)| match errno {
            Errno::LOOP | Errno::NOTDIR => PartialError::PartsDirectory(share.parts_dir().to_owned()),
            errno => fault(op)(errno),
        })?;
        let left_over = open_left_over(disk, &parts_dir, key.id).map_err(|(op, errno)| fault(op)(errno))?;
        let lock = |file: File| {
            let lock =
                Lock::take(file, &parts_dir, &LeftoverPart::Part.name(key.id)).map_err(fault(Op::Open))?;
            lock.ok_or(PartialError::InProgress)
        };
        // Before anything is done to it.
        let left_over = left_over.map(lock).transpose()?;
        if let Some(Lock(file)) = left_over.as_ref().filter(|left| len_bytes(&left.0) > key.size_bytes) {
            disk.set_len(file, key.size_bytes).map_err(fault(Op::SetLen))?;
        }
        let needed_bytes =
            key.size_bytes.saturating_sub(left_over.as_ref().map_or(0, |left| allocated_bytes(&left.0)));
        let free_bytes = disk.free_bytes(parts_dir.as_fd()).map_err(fault(Op::FreeBytes))?;
        if needed_bytes > free_bytes {
            return Err(PartialError::NoSpace { needed_bytes, free_bytes, errno: Errno::NOSPC });
        }
        let is_new = left_over.is_none();
        let lock = match left_over {
            Some(locked) => locked,
            None => lock(
                disk.create(parts_dir.as_fd(), &LeftoverPart::Part.name(key.id))
                    .map_err(fault(Op::Create))?,
            )?,
        };
        let file = Arc::clone(&lock.0);
        let part = Partial { claim, _lock: lock, parts_dir, file, sync_failed: None, settled: false };
        if is_new || len_bytes(&part.file) < key.size_bytes {
            disk.set_len(&part.file, key.size_bytes).map_err(fault(Op::SetLen))?;
        }
        let (marked, record) = match is_new {
            true => (Vec::new(), None),
            false => (part.marked(), record::read(disk, &part.parts_dir, key.id).ok().flatten()),
        };
        Ok(Opened { part, marked, record: record.filter(|record| record.key == key) })
    }

    /// Writes a piece at its place. Pieces that do not overlap may be written from several threads.
    ///
    /// # Errors
    /// [`PartialError`]; some of the piece may then be written.
    ///
    /// # Panics
    /// If the piece ends beyond the content: the caller has not checked its length.
    pub fn write_piece(&self, offset: u64, bytes: &[u8]) -> Result<(), PartialError> {
        let end = offset.checked_add(bytes.len() as u64);
        assert!(end.is_some_and(|end| end <= self.claim.key.size_bytes), "a piece lies within its content");
        write_all(self.disk(), &self.file, offset, bytes).map_err(|errno| self.fault(Op::Write, errno))
    }

    /// Fills `out` with what is at `offset`.
    ///
    /// # Errors
    /// What the system says; `UnexpectedEof` beyond the end.
    pub fn read_piece(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        read_exact(self.disk(), &self.file, offset, out)
    }

    /// The open part, for reading: also once it is in its place, or gone.
    pub fn file(&self) -> Arc<File> {
        Arc::clone(&self.file)
    }

    /// Notes what this download was asked for and the piece list, durably, in place of what an earlier one
    /// was asked for. From here on a restarted node goes on with it.
    ///
    /// # Errors
    /// [`PartialError`]; the earlier record then still holds, or the new one does.
    ///
    /// # Panics
    /// If the record is that of another content.
    pub fn remember(&self, record: &Record) -> Result<(), PartialError> {
        let keys = [record.key, record.manifest.key()];
        assert_eq!(keys, [self.claim.key; 2], "a record lies beside its own part");
        record::write(self.disk(), &self.parts_dir, record).map_err(|(op, errno)| self.fault(op, errno))
    }

    /// Marks it as downloaded, for when it is in its place; as far as the file system keeps such marks.
    pub fn mark(&self) {
        let _not_kept = self.disk().mark(&self.file, self.id());
    }

    /// MD5 of the whole content, read back.
    ///
    /// # Errors
    /// What the system says; `Interrupted` when `stop` was triggered.
    pub fn whole_md5(&self, stop: &Stop) -> io::Result<Md5Digest> {
        md5_of_reads(self.claim.key.size_bytes, stop, |offset, out| self.read_piece(offset, out))
    }

    /// Leaves part and record as they are: a restarted node goes on with the download. A part whose sync has
    /// failed is removed.
    pub fn keep(mut self) {
        self.settled = true;
        self.remove_distrusted();
    }

    /// Leaves part and record to the next download of the content; a restarted node lets them be. A part that
    /// is empty or whose sync has failed is removed.
    pub fn set_aside(mut self) {
        self.settled = true;
        if self.remove_distrusted() || self.remove_empty() {
            return;
        }
        set_aside(&self.claim.share, self.claim.key);
    }

    /// Removes part and record.
    ///
    /// # Errors
    /// [`PartialError`]; something may then still be there.
    pub fn discard(mut self) -> Result<(), PartialError> {
        self.settled = true;
        self.remove(&LeftoverPart::ALL).map_err(|errno| self.fault(Op::Unlink, errno))
    }

    fn sync(&mut self) -> Result<(), PartialError> {
        if self.sync_failed.is_none() {
            self.sync_failed = retry_on_intr(|| self.disk().sync_file(&self.file)).err();
        }
        self.sync_failed.map_or(Ok(()), |errno| Err(self.fault(Op::SyncFile, errno)))
    }

    /// Pieces of which all is data; all pieces where that cannot be told.
    fn marked(&self) -> Vec<u32> {
        let geometry = Geometry::of(self.claim.key.size_bytes);
        let ends_by = |index, end| geometry.range(index).is_some_and(|range| range.end <= end);
        let mut marked = Vec::new();
        let mut from = 0;
        loop {
            match self.disk().next_data(&self.file, from) {
                Ok(None) => return marked,
                Ok(Some(data)) if data.end > from => {
                    let first = data.start.div_ceil(geometry.piece_len_bytes());
                    let whole = (first..=u64::from(u32::MAX)).map(|index| index as u32);
                    marked.extend(whole.take_while(|index| ends_by(*index, data.end)));
                    from = data.end;
                }
                Ok(Some(_)) | Err(_) => return (0..geometry.count().unwrap_or(0)).collect(),
            }
        }
    }

    /// Removes a part whose sync has failed, and tells whether that was so. Where it cannot be removed it is
    /// emptied.
    fn remove_distrusted(&self) -> bool {
        let is_distrusted = self.sync_failed.is_some();
        if is_distrusted && self.remove(&LeftoverPart::ALL).is_err() {
            let _nobody_is_left_to_tell = self.disk().set_len(&self.file, 0);
        }
        is_distrusted
    }

    /// Removes a part to which nothing was written, and tells whether that was so.
    fn remove_empty(&self) -> bool {
        let is_empty = matches!(self.disk().next_data(&self.file, 0), Ok(None));
        if is_empty {
            let _swept_later = self.remove(&LeftoverPart::ALL);
        }
        is_empty
    }

    /// Removes files of this content, as far as they are there: all are tried, and the first error is
    /// returned.
    fn remove(&self, kinds: &[LeftoverPart]) -> rustix::io::Result<()> {
        let remove = |kind: &LeftoverPart| match self
            .disk()
            .unlink(At { dir: self.parts_dir.as_fd(), name: &kind.name(self.id()) })
        {
            Err(Errno::NOENT) => Ok(()),
            removed => removed,
        };
        kinds.iter().map(remove).fold(Ok(()), rustix::io::Result::and)
    }

    fn id(&self) -> ContentId {
        self.claim.key.id
    }

    fn disk(&self) -> &dyn Disk {
        self.claim.share.disk()
    }

    fn fault(&self, op: Op, errno: Errno) -> PartialError {
        fault(&self.claim.share, self.claim.key, Some(&self.file), op, errno)
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.settled && !self.remove_distrusted() {
            self.remove_empty();
        }
    }
}

/// Opens the directory of the parts, which is made if it is missing.
pub(super) fn open_parts_dir(share: &Share) -> Result<OwnedFd, (Op, Errno)> {
    match share.disk().make_dir(share.as_fd(), share.parts_dir(), 0o700) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err((Op::MakeDir, errno)),
    }
    let opened = openat::open_dir(share, share.parts_dir()).map_err(|errno| (Op::MakeDir, errno))?;
    // Another user's is as bad as none.
    if share.trusts(&opened) { Ok(opened) } else { Err((Op::MakeDir, Errno::NOTDIR)) }
}

/// Opens what is there of the content's part. What is no ordinary file of this one name is removed: it was
/// not made by a download, or the part was linked to its final name, and writing to it would change that
/// file.
fn open_left_over(disk: &dyn Disk, dir: &OwnedFd, id: ContentId) -> Result<Option<File>, (Op, Errno)> {
    let name = LeftoverPart::Part.name(id);
    let at = At { dir: dir.as_fd(), name: &name };
    match disk.open(at) {
        Ok(file) if file.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.nlink() == 1) => {
            return Ok(Some(file));
        }
        Ok(_) | Err(Errno::LOOP | Errno::NXIO | Errno::ISDIR) => {}
        Err(Errno::NOENT) => return Ok(None),
        Err(errno) => return Err((Op::Open, errno)),
    }
    disk.unlink(at).map_err(|errno| (Op::Unlink, errno))?;
    Ok(None)
}

/// Returns true if and only if `name` leads to `file`.
fn leads_to(dir: &OwnedFd, name: &str, file: &File) -> bool {
    let named = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW);
    let (Ok(named), Ok(opened)) = (named, rustix::fs::fstat(file)) else { return false };
    (named.st_dev, named.st_ino) == (opened.st_dev, opened.st_ino)
}

/// Length of an open file; 0 where the system does not tell.
fn len_bytes(file: &File) -> u64 {
    file.metadata().map_or(0, |metadata| metadata.len())
}

/// What an open file takes on the disk; 0 where the system does not tell.
fn allocated_bytes(file: &File) -> u64 {
    file.metadata().map_or(0, |metadata| metadata.blocks().saturating_mul(BLOCK_BYTES))
}

pub(super) fn write_all(disk: &dyn Disk, file: &File, offset: u64, bytes: &[u8]) -> rustix::io::Result<()> {
    let (mut offset, mut left) = (offset, bytes);
    while !left.is_empty() {
        let written = retry_on_intr(|| disk.write_at(file, offset, left))?;
        if written == 0 {
            return Err(Errno::IO);
        }
        offset += written as u64;
        left = &left[written..];
    }
    Ok(())
}

fn read_exact(disk: &dyn Disk, file: &File, offset: u64, out: &mut [u8]) -> io::Result<()> {
    let (mut offset, mut left) = (offset, out);
    while !left.is_empty() {
        let read = retry_on_intr(|| disk.read_at(file, offset, left))?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        offset += read as u64;
        left = &mut left[read..];
    }
    Ok(())
}

/// Sorts an error of the system by what its reader can do about it. `file` is the part, if there is one yet.
fn fault(share: &Share, key: ContentKey, file: Option<&File>, op: Op, errno: Errno) -> PartialError {
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
