//! `Claim` and `Lock`: one download at a time uses a partial file, in this process (claim) and among all
//! processes (lock).

use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::error::PartialError;
use super::io::leads_to;
use crate::store::share::Share;
use crate::types::ContentKey;

/// The right to a content's partial file in this process; given back when dropped.
#[derive(Debug)]
pub(super) struct Claim {
    pub(super) share: Arc<Share>,
    pub(super) key: ContentKey,
}

/// The right to a partial file among all processes: several may download into one directory. Given back when
/// dropped.
#[derive(Debug)]
pub(super) struct Lock(pub(super) Arc<File>);

impl Lock {
    /// Locks `file`, which was opened as `name` in `dir`. `None`: another process has the lock, or has just
    /// placed or removed the file.
    pub(super) fn acquire(file: File, dir: &OwnedFd, name: &str) -> rustix::io::Result<Option<Lock>> {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Ok(None),
            Err(errno) => return Err(errno),
        }
        let lock = Lock(Arc::new(file));
        // Between opening and locking, the file may have become a file of the share.
        Ok(leads_to(dir, name, &lock.0).then_some(lock))
    }

    /// Returns true if and only if another download, usually of another process, has locked the file.
    pub(super) fn is_taken(file: &File) -> bool {
        let attempt = flock(file, FlockOperation::NonBlockingLockShared);
        attempt.and_then(|()| flock(file, FlockOperation::Unlock)).ok();
        attempt == Err(Errno::WOULDBLOCK)
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // An upload that still reads the file has the same open file, so a close alone does not unlock it.
        flock(&*self.0, FlockOperation::Unlock).ok();
    }
}

impl Claim {
    /// Claims the partial file of `key`.
    ///
    /// # Errors
    /// [`PartialError::InProgress`] if another download of this process has claimed it.
    pub(super) fn acquire(share: &Arc<Share>, key: ContentKey) -> Result<Claim, PartialError> {
        let is_free = share.partials_in_use.lock().insert(key.id);
        is_free.then(|| Claim { share: Arc::clone(share), key }).ok_or(PartialError::InProgress)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.share.partials_in_use.lock().remove(&self.key.id);
    }
}
