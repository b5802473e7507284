//! The rights to a partial file: one download at a time, in this process and among all processes.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::error::PartialError;
use super::io::leads_to;
use crate::store::share::Share;
use crate::types::ContentKey;

/// The right to a content's part file in this process; given back when dropped.
#[derive(Debug)]
pub(super) struct Claim {
    pub(super) share: Arc<Share>,
    pub(super) key: ContentKey,
}

/// The right to a part among all processes, as long as it lives: several may download into one directory.
#[derive(Debug)]
pub(super) struct Lock(pub(super) Arc<File>);

impl Lock {
    /// `None`: another process has the part, or has put it in place or removed it this very moment.
    pub(super) fn take(file: File, dir: &OwnedFd, name: &str) -> rustix::io::Result<Option<Lock>> {
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
    pub(super) fn is_taken(file: &File) -> bool {
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

impl Claim {
    pub(super) fn take(share: &Arc<Share>, key: ContentKey) -> Result<Claim, PartialError> {
        let is_free = share.parts_in_use.lock().insert(key.id);
        is_free.then(|| Claim { share: Arc::clone(share), key }).ok_or(PartialError::InProgress)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.share.parts_in_use.lock().remove(&self.key.id);
    }
}
