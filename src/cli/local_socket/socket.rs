//! The place of the socket, and the users that may connect.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

/// The directory of the socket, in the share.
pub(super) const DIRECTORY: &str = ".nearpeer";
const SOCKET: &str = "node.sock";

/// Opens the directory of the socket. The path of the socket goes through the descriptor of that directory,
/// because the path of a socket is at most 107 bytes long. It is valid while the descriptor is open.
pub(super) fn socket_in(share: &Path) -> io::Result<(OwnedFd, PathBuf)> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let dir = rustix::fs::open(share.join(DIRECTORY), flags, Mode::empty())?;
    let path = PathBuf::from(format!("/proc/self/fd/{}/{SOCKET}", dir.as_raw_fd()));
    Ok((dir, path))
}

/// Returns true if and only if the program at the other end runs as the same user or as root.
pub(super) fn is_trusted_user(stream: &UnixStream) -> bool {
    rustix::net::sockopt::socket_peercred(stream)
        .is_ok_and(|peer| peer.uid.is_root() || peer.uid == rustix::process::geteuid())
}
