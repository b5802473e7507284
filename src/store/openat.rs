//! The one way to open anything: beneath a directory handle, through no symbolic link.
//!
//! The kernel enforces it (openat2, Linux 5.6), so that a directory swapped for a link between two calls
//! cannot lead out either.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use rustix::io::{Result, retry_on_intr};

/// Opens `path` beneath `dir`. Never waits for the other end of a FIFO. `mode` counts where `flags` create a
/// file, less the umask.
pub(super) fn open(dir: impl AsFd, path: &str, flags: OFlags, mode: Mode) -> Result<OwnedFd> {
    let flags = flags | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NOCTTY;
    openat2_retried(dir, path, flags, mode)
}

/// A directory beneath `dir`, to read it, make entries in it or sync it.
pub(super) fn open_dir(dir: impl AsFd, path: &str) -> Result<OwnedFd> {
    open(dir, path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())
}

/// Whatever stands at `path`, a symbolic link too, to ask what it is and for nothing else.
pub(super) fn look(dir: impl AsFd, path: &str) -> Result<OwnedFd> {
    openat2_retried(dir, path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

fn openat2_retried(dir: impl AsFd, path: &str, flags: OFlags, mode: Mode) -> Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    retry_on_intr(|| openat2(&dir, path, flags, mode, resolve))
}
