//! The directory of the partial files in a share.

use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;

use crate::store::disk::Op;
use crate::store::openat;
use crate::store::share::Share;

/// Opens the directory of the partial files, and creates it if it is missing.
pub(in crate::store) fn open_partials_dir(share: &Share) -> Result<OwnedFd, (Op, Errno)> {
    match share.disk().make_dir(share.as_fd(), share.partials_dir(), 0o700) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err((Op::MakeDir, errno)),
    }
    let opened = openat::open_dir(share, share.partials_dir()).map_err(|errno| (Op::MakeDir, errno))?;
    // `NOTDIR` for a directory of another user: the message says what to do.
    if share.trusts(&opened) { Ok(opened) } else { Err((Op::MakeDir, Errno::NOTDIR)) }
}
