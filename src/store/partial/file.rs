//! `Partial`: the partial file of one download, from its opening to its end.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::{Errno, retry_on_intr};

use super::directory::open_partials_dir;
use super::error::{PartialError, fault};
use super::io::{allocated_bytes, len_bytes, read_exact, write_all};
use super::leftover::{LeftoverPart, open_left_over};
use super::lock::{Claim, Lock};
use super::record::{self, Record};
use super::sweep::quarantine;
use crate::rt::Stop;
use crate::store::disk::{At, Disk, Op};
use crate::store::hash::md5_of_reads;
use crate::store::share::Share;
use crate::types::{ContentId, ContentKey, Geometry, Md5Digest};

/// Number of attempts to open a partial file. Another process may remove the directory while it is empty.
const PARTIALS_DIR_TRIES: u32 = 8;

/// The partial file with which a download begins.
#[derive(Debug)]
pub struct Opened {
    /// The partial file.
    pub partial: Partial,
    /// Pieces that the file probably has, in order. They must be verified before they count.
    pub marked: Vec<u32>,
    /// The record of an earlier download, if there is a valid one.
    pub record: Option<Record>,
}

/// An open partial file. Its owner ends it with `keep`, `quarantine`, `discard` or `place`. If it is dropped
/// without one of them, as after a panic, the file stays unless it is empty or its sync has failed.
#[derive(Debug)]
pub struct Partial {
    pub(super) claim: Claim,
    /// Keeps other processes out until this value is dropped.
    _lock: Lock,
    pub(super) partials_dir: OwnedFd,
    pub(super) file: Arc<File>,
    /// Set when a sync has failed. The kernel may have lost bytes then, and a second sync would succeed all
    /// the same. So the bytes of this file cannot be trusted any more.
    pub(super) sync_failed: Option<Errno>,
    /// The owner has ended the file: a drop does nothing.
    pub(super) settled: bool,
    quarantine_on_drop: AtomicBool,
}

impl Partial {
    /// Opens the partial file that an earlier download of the content has left, or creates an empty one. It
    /// has the full length of the content; holes take no space.
    ///
    /// # Errors
    /// [`PartialError`]; an existing partial file stays then. The call checks the free space before it
    /// creates a file, so a size that a peer has invented costs nothing.
    pub fn open(share: &Arc<Share>, key: ContentKey) -> Result<Opened, PartialError> {
        let gone = PartialError::Disk { op: Op::Create, errno: Errno::NOENT };
        // Another process that ends may remove the directory of partial files while it is still empty.
        let mut opened = (1..PARTIALS_DIR_TRIES).map(|_| Partial::open_once(share, key));
        let opened = opened.find(|opened| opened.as_ref().err() != Some(&gone));
        opened.unwrap_or_else(|| Partial::open_once(share, key))
    }

    fn open_once(share: &Arc<Share>, key: ContentKey) -> Result<Opened, PartialError> {
        let claim = Claim::acquire(share, key)?;
        let disk = share.disk();
        let fault = |op| move |errno| fault(share, key, None, op, errno);
        let partials_dir = open_partials_dir(share).map_err(|(op, errno)| match errno {
            Errno::LOOP | Errno::NOTDIR => PartialError::PartialsDirectory(share.partials_dir().to_owned()),
            errno => fault(op)(errno),
        })?;
        let left_over =
            open_left_over(disk, &partials_dir, key.id).map_err(|(op, errno)| fault(op)(errno))?;
        let acquire = |file: File| {
            let lock = Lock::acquire(file, &partials_dir, &LeftoverPart::Partial.name(key.id))
                .map_err(fault(Op::Open))?;
            lock.ok_or(PartialError::InProgress)
        };
        // The lock comes before the first change: another process may use the file.
        let left_over = left_over.map(acquire).transpose()?;
        if let Some(Lock(file)) = left_over.as_ref().filter(|left| len_bytes(&left.0) > key.size_bytes) {
            disk.set_len(file, key.size_bytes).map_err(fault(Op::SetLen))?;
        }
        let needed_bytes =
            key.size_bytes.saturating_sub(left_over.as_ref().map_or(0, |left| allocated_bytes(&left.0)));
        let free_bytes = disk.free_bytes(partials_dir.as_fd()).map_err(fault(Op::FreeBytes))?;
        if needed_bytes > free_bytes {
            return Err(PartialError::NoSpace { needed_bytes, free_bytes, errno: Errno::NOSPC });
        }
        let is_new = left_over.is_none();
        let lock = match left_over {
            Some(locked) => locked,
            None => acquire(
                disk.create(partials_dir.as_fd(), &LeftoverPart::Partial.name(key.id))
                    .map_err(fault(Op::Create))?,
            )?,
        };
        let file = Arc::clone(&lock.0);
        let quarantine_on_drop = AtomicBool::new(false);
        let partial = Partial {
            claim,
            _lock: lock,
            partials_dir,
            file,
            sync_failed: None,
            settled: false,
            quarantine_on_drop,
        };
        if is_new || len_bytes(&partial.file) < key.size_bytes {
            disk.set_len(&partial.file, key.size_bytes).map_err(fault(Op::SetLen))?;
        }
        let (marked, record) = if is_new {
            (Vec::new(), None)
        } else {
            (partial.marked(), record::read(disk, &partial.partials_dir, key.id).ok().flatten())
        };
        // The name of a record has the id only: its content may have another size.
        Ok(Opened { partial, marked, record: record.filter(|record| record.key == key) })
    }

    /// Writes a piece at `offset`. Several threads may write pieces that do not overlap.
    ///
    /// # Errors
    /// [`PartialError`]; a part of the piece may be written then.
    ///
    /// # Panics
    /// If the piece ends beyond the content: a bug of the caller, which must check its length.
    pub fn write_piece(&self, offset: u64, bytes: &[u8]) -> Result<(), PartialError> {
        let end = offset.checked_add(bytes.len() as u64);
        assert!(end.is_some_and(|end| end <= self.claim.key.size_bytes), "a piece lies within its content");
        write_all(self.disk(), &self.file, offset, bytes).map_err(|errno| self.fault(Op::Write, errno))
    }

    /// Fills `out` with the bytes at `offset`.
    ///
    /// # Errors
    /// The error of the system; `UnexpectedEof` beyond the end.
    pub fn read_piece(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        read_exact(self.disk(), &self.file, offset, out)
    }

    /// The open file, for reading. It can still be read after it was placed or removed.
    pub fn file(&self) -> Arc<File> {
        Arc::clone(&self.file)
    }

    /// Writes the record of this download durably, in place of an earlier one. From now on a restarted node
    /// resumes the download.
    ///
    /// # Errors
    /// [`PartialError`]; the earlier or the new record is in place then.
    ///
    /// # Panics
    /// If the record is that of another content: a bug.
    pub fn write_record(&self, record: &Record) -> Result<(), PartialError> {
        let keys = [record.key, record.manifest.key()];
        assert_eq!(keys, [self.claim.key; 2], "a record is of the same content as its partial file");
        record::write(self.disk(), &self.partials_dir, record).map_err(|(op, errno)| self.fault(op, errno))
    }

    /// Records in an extended attribute that the file is a download, if the file system has such attributes.
    pub fn mark(&self) {
        self.disk().mark(&self.file, self.id()).ok();
    }

    /// MD5 of the whole content, read from the file.
    ///
    /// # Errors
    /// The error of the system; `Interrupted` when `stop` was triggered.
    pub fn whole_md5(&self, stop: &Stop) -> io::Result<Md5Digest> {
        md5_of_reads(self.claim.key.size_bytes, stop, |offset, out| self.read_piece(offset, out))
    }

    /// Keeps the file and its record: a restarted node resumes the download. A file whose sync has failed is
    /// removed.
    pub fn keep(mut self) {
        self.settled = true;
        self.remove_distrusted();
    }

    /// Keeps the file and its record for the next request for the content; a restarted node does not resume
    /// the download. A file that is empty or whose sync has failed is removed.
    pub fn quarantine(self) {
        self.quarantine_on_drop();
    }

    /// [`Partial::quarantine`] as soon as the value is dropped: for a file that other threads still use.
    pub fn quarantine_on_drop(&self) {
        self.quarantine_on_drop.store(true, Ordering::Relaxed);
    }

    /// Removes the file and its record.
    ///
    /// # Errors
    /// [`PartialError`]; files may be left then.
    pub fn discard(mut self) -> Result<(), PartialError> {
        self.settled = true;
        self.remove(&LeftoverPart::ALL).map_err(|errno| self.fault(Op::Unlink, errno))
    }

    /// Makes the bytes of the file durable. After a failure it never succeeds.
    pub(super) fn sync(&mut self) -> Result<(), PartialError> {
        if self.sync_failed.is_none() {
            self.sync_failed = retry_on_intr(|| self.disk().sync_file(&self.file)).err();
        }
        self.sync_failed.map_or(Ok(()), |errno| Err(self.fault(Op::SyncFile, errno)))
    }

    /// Pieces without a hole; all pieces if the file system does not report holes.
    fn marked(&self) -> Vec<u32> {
        let geometry = Geometry::of(self.claim.key.size_bytes);
        let ends_by = |index, end| geometry.range(index).is_some_and(|range| range.end <= end);
        let mut marked = Vec::new();
        let mut from = 0;
        loop {
            match self.disk().next_data(&self.file, from) {
                Ok(None) => return marked,
                // `end > from`: each range must be a step forward, or this loop would not end.
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

    /// Removes the file if its sync has failed, or empties it if it cannot be removed. Returns whether the
    /// sync has failed.
    fn remove_distrusted(&self) -> bool {
        let is_distrusted = self.sync_failed.is_some();
        if is_distrusted && self.remove(&LeftoverPart::ALL).is_err() {
            // There is nothing to do if this fails too: marked pieces are verified again.
            self.disk().set_len(&self.file, 0).ok();
        }
        is_distrusted
    }

    /// Removes the file if it has no data; returns whether it has none.
    fn remove_empty(&self) -> bool {
        let is_empty = matches!(self.disk().next_data(&self.file, 0), Ok(None));
        if is_empty {
            // The next start of a node removes what stays after an error.
            self.remove(&LeftoverPart::ALL).ok();
        }
        is_empty
    }

    /// Removes those files of this content that exist. Tries all of them and returns the first error.
    pub(super) fn remove(&self, kinds: &[LeftoverPart]) -> rustix::io::Result<()> {
        let remove = |kind: &LeftoverPart| match self
            .disk()
            .unlink(At { dir: self.partials_dir.as_fd(), name: &kind.name(self.id()) })
        {
            Err(Errno::NOENT) => Ok(()),
            removed => removed,
        };
        kinds.iter().map(remove).fold(Ok(()), rustix::io::Result::and)
    }

    pub(super) fn id(&self) -> ContentId {
        self.claim.key.id
    }

    pub(super) fn disk(&self) -> &dyn Disk {
        self.claim.share.disk()
    }

    pub(super) fn fault(&self, op: Op, errno: Errno) -> PartialError {
        fault(&self.claim.share, self.claim.key, Some(&self.file), op, errno)
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if self.settled || self.remove_distrusted() || self.remove_empty() {
            return;
        }
        if *self.quarantine_on_drop.get_mut() {
            quarantine(&self.claim.share, self.claim.key);
        }
    }
}
