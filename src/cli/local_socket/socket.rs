//! Where the socket is, and who may use it.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

/// The directory of the socket, in the share.
pub(super) const DIRECTORY: &str = ".nearpeer";
const SOCKET: &str = "node.sock";

/// Opens the directory of the socket. The path of the socket goes through its descriptor, so that the length
/// of the share's own path does not matter.
pub(super) fn socket_in(share: &Path) -> io::Result<(OwnedFd, PathBuf)> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let dir = rustix::fs::open(share.join(DIRECTORY), flags, Mode::empty())?;
    let path = PathBuf::from(format!("/proc/self/fd/{}/{SOCKET}", dir.as_raw_fd()));
    Ok((dir, path))
}

/// Returns true if and only if the other end is of the same user, or root.
pub(super) fn is_same_user(stream: &UnixStream) -> bool {
    rustix::net::sockopt::socket_peercred(stream)
        .is_ok_and(|peer| peer.uid.is_root() || peer.uid == rustix::process::geteuid())
}
