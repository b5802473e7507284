//! Reads and writes open files through a [`Disk`], and asks for their length and disk space.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;

use rustix::fs::AtFlags;
use rustix::io::{Errno, retry_on_intr};

use crate::store::disk::Disk;

/// The unit in which the system counts what a file takes on the disk.
const BLOCK_BYTES: u64 = 512;

/// Returns true if and only if `name` in `dir` is the open `file`.
pub(super) fn leads_to(dir: &OwnedFd, name: &str, file: &File) -> bool {
    let named = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW);
    let (Ok(named), Ok(opened)) = (named, rustix::fs::fstat(file)) else { return false };
    (named.st_dev, named.st_ino) == (opened.st_dev, opened.st_ino)
}

/// Length of an open file; 0 if the system does not report it.
pub(super) fn len_bytes(file: &File) -> u64 {
    file.metadata().map_or(0, |metadata| metadata.len())
}

/// Disk space of an open file; 0 if the system does not report it.
pub(super) fn allocated_bytes(file: &File) -> u64 {
    file.metadata().map_or(0, |metadata| metadata.blocks().saturating_mul(BLOCK_BYTES))
}

/// Writes all of `bytes` at `offset`.
pub(in crate::store) fn write_all(
    disk: &dyn Disk,
    file: &File,
    offset: u64,
    bytes: &[u8],
) -> rustix::io::Result<()> {
    let (mut offset, mut left) = (offset, bytes);
    while !left.is_empty() {
        let written = retry_on_intr(|| disk.write_at(file, offset, left))?;
        // Without this a disk that takes no byte would keep the loop running.
        if written == 0 {
            return Err(Errno::IO);
        }
        offset += written as u64;
        left = &left[written..];
    }
    Ok(())
}

/// Fills `out` with the bytes at `offset`; `UnexpectedEof` beyond the end.
pub(super) fn read_exact(disk: &dyn Disk, file: &File, offset: u64, out: &mut [u8]) -> io::Result<()> {
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
