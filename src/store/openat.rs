//! Opens files and directories beneath a directory handle, and never through a symbolic link.
//!
//! The kernel enforces this (`openat2`, Linux 5.6), also if another program replaces a directory by a link
//! between two calls.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use rustix::io::{Result, retry_on_intr};

/// Opens `path` beneath `dir`. Does not wait for the other end of a FIFO. If `flags` create a file, it gets
/// `mode` less the umask.
pub(super) fn open(dir: impl AsFd, path: &str, flags: OFlags, mode: Mode) -> Result<OwnedFd> {
    let flags = flags | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NOCTTY;
    openat2_retried(dir, path, flags, mode)
}

/// Opens a directory beneath `dir`, to read it, create entries in it or sync it.
pub(super) fn open_dir(dir: impl AsFd, path: &str) -> Result<OwnedFd> {
    open(dir, path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())
}

/// Opens the entry at `path`, of any kind and also a symbolic link, only to find out what it is.
pub(super) fn look(dir: impl AsFd, path: &str) -> Result<OwnedFd> {
    openat2_retried(dir, path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

fn openat2_retried(dir: impl AsFd, path: &str, flags: OFlags, mode: Mode) -> Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    retry_on_intr(|| openat2(&dir, path, flags, mode, resolve))
}
