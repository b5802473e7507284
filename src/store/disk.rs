//! `Disk`: the disk operations of downloads, as a trait in which tests inject faults.
//!
//! A name is a single component in an open directory, never a path. An operation returns the error of the
//! system unchanged; the caller decides what to do. `FaultyDisk` fails on command, for tests of full or
//! broken disks.

use std::fmt::{self, Debug, Display};
use std::fs::File;
use std::ops::Range;
use std::os::fd::{BorrowedFd, OwnedFd};

use parking_lot::Mutex;
use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags, SeekFrom};
use rustix::io::{Errno, Result, retry_on_intr};

use super::{openat, xattr};
use crate::types::ContentId;

/// Kinds of disk operations. `Display` gives the words that follow "cannot" in a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Op {
    /// Reads the free space.
    FreeBytes,
    /// Creates a directory.
    MakeDir,
    /// Creates a file.
    Create,
    /// Opens a file.
    Open,
    /// Sets the length of a file.
    SetLen,
    /// Writes bytes.
    Write,
    /// Reads bytes.
    Read,
    /// Looks for the next range of data.
    FindData,
    /// Marks a file as downloaded.
    Mark,
    /// Syncs a file.
    SyncFile,
    /// Renames a file unless the new name exists.
    RenameNoReplace,
    /// Renames a file, and replaces a file of the new name.
    Rename,
    /// Gives a file a second name.
    Link,
    /// Syncs a directory.
    SyncDir,
    /// Removes a file.
    Unlink,
    /// Removes a directory.
    RemoveDir,
}

impl Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Op::FreeBytes => "ask for free space",
            Op::MakeDir => "make a directory",
            Op::Create => "create a file",
            Op::Open => "open a file",
            Op::SetLen => "set the length",
            Op::Write => "write",
            Op::Read => "read",
            Op::FindData => "look for data",
            Op::Mark => "mark the file",
            Op::SyncFile => "sync the file",
            Op::RenameNoReplace | Op::Rename => "rename",
            Op::Link => "link",
            Op::SyncDir => "sync the directory",
            Op::Unlink => "remove a file",
            Op::RemoveDir => "remove a directory",
        })
    }
}

/// Disk operations. Only those that say so may return `INTR`, when a signal has interrupted them.
///
/// # Errors
/// The error of the system, unchanged.
pub trait Disk: Debug + Send + Sync {
    /// Free bytes for this process on the file system of `dir`.
    fn free_bytes(&self, dir: BorrowedFd<'_>) -> Result<u64>;
    /// Creates a directory with the given permissions less the umask. It is an error if the name exists.
    fn make_dir(&self, parent: BorrowedFd<'_>, name: &str, permissions: u32) -> Result<()>;
    /// Creates an empty file for reading and writing, with permissions 0666 less the umask. It is an error if
    /// the name exists.
    fn create(&self, dir: BorrowedFd<'_>, name: &str) -> Result<File>;
    /// Opens an existing file for reading and writing. Never follows a link (`LOOP`) and never waits for a
    /// FIFO.
    fn open(&self, at: At<'_>) -> Result<File>;
    /// Sets the length of the file. Bytes that were never written read as zeros and take no space.
    fn set_len(&self, file: &File, len_bytes: u64) -> Result<()>;
    /// Writes some of `bytes` at `offset`; returns how many. May be interrupted.
    fn write_at(&self, file: &File, offset: u64, bytes: &[u8]) -> Result<usize>;
    /// Reads some bytes at `offset`; returns how many: 0 at the end of the file. May be interrupted.
    fn read_at(&self, file: &File, offset: u64, out: &mut [u8]) -> Result<usize>;
    /// The first range of data at or after `from`; `None` if only a hole follows. A file system without holes
    /// reports all as data; others are exact to a block. Moves the file's position.
    fn next_data(&self, file: &File, from: u64) -> Result<Option<Range<u64>>>;
    /// Marks the file as a download of `content`. Not every file system supports marks (`OPNOTSUPP`).
    fn mark(&self, file: &File, content: ContentId) -> Result<()>;
    /// Returns when the bytes and length of the file are on the device. After a failure they count as lost.
    fn sync_file(&self, file: &File) -> Result<()>;
    /// Renames unless the new name exists (`EXIST`). Not every file system supports this (`INVAL`).
    fn rename_no_replace(&self, from: At<'_>, to: At<'_>) -> Result<()>;
    /// Renames in one step, and replaces a file of the new name.
    fn rename(&self, from: At<'_>, to: At<'_>) -> Result<()>;
    /// Gives a file a second name unless that name exists.
    fn link(&self, from: At<'_>, to: At<'_>) -> Result<()>;
    /// Returns when the directory's entries are on the device.
    fn sync_dir(&self, dir: BorrowedFd<'_>) -> Result<()>;
    /// Removes a file.
    fn unlink(&self, at: At<'_>) -> Result<()>;
    /// Removes an empty directory.
    fn remove_dir(&self, at: At<'_>) -> Result<()>;
}

/// A name in an open directory: where a file is or shall be.
#[derive(Debug, Clone, Copy)]
pub struct At<'a> {
    /// The directory.
    pub dir: BorrowedFd<'a>,
    /// One component.
    pub name: &'a str,
}

/// The system's disk.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn free_bytes(&self, dir: BorrowedFd<'_>) -> Result<u64> {
        let stat = retry_on_intr(|| rustix::fs::fstatvfs(dir))?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    fn make_dir(&self, parent: BorrowedFd<'_>, name: &str, permissions: u32) -> Result<()> {
        rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(permissions))
    }

    fn create(&self, dir: BorrowedFd<'_>, name: &str) -> Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
        openat::open(dir, name, flags, Mode::from_raw_mode(0o666)).map(OwnedFd::into)
    }

    fn open(&self, at: At<'_>) -> Result<File> {
        openat::open(at.dir, at.name, OFlags::RDWR, Mode::empty()).map(OwnedFd::into)
    }

    fn set_len(&self, file: &File, len_bytes: u64) -> Result<()> {
        retry_on_intr(|| rustix::fs::ftruncate(file, len_bytes))
    }

    fn write_at(&self, file: &File, offset: u64, bytes: &[u8]) -> Result<usize> {
        rustix::io::pwrite(file, bytes, offset)
    }

    fn read_at(&self, file: &File, offset: u64, out: &mut [u8]) -> Result<usize> {
        rustix::io::pread(file, out, offset)
    }

    fn next_data(&self, file: &File, from: u64) -> Result<Option<Range<u64>>> {
        match rustix::fs::seek(file, SeekFrom::Data(from)) {
            Ok(start) => Ok(Some(start..rustix::fs::seek(file, SeekFrom::Hole(start))?)),
            Err(Errno::NXIO) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    fn mark(&self, file: &File, content: ContentId) -> Result<()> {
        xattr::write(file, content)
    }

    fn sync_file(&self, file: &File) -> Result<()> {
        retry_on_intr(|| rustix::fs::fsync(file))
    }

    fn rename_no_replace(&self, from: At<'_>, to: At<'_>) -> Result<()> {
        rustix::fs::renameat_with(from.dir, from.name, to.dir, to.name, RenameFlags::NOREPLACE)
    }

    fn rename(&self, from: At<'_>, to: At<'_>) -> Result<()> {
        rustix::fs::renameat(from.dir, from.name, to.dir, to.name)
    }

    fn link(&self, from: At<'_>, to: At<'_>) -> Result<()> {
        rustix::fs::linkat(from.dir, from.name, to.dir, to.name, AtFlags::empty())
    }

    fn sync_dir(&self, dir: BorrowedFd<'_>) -> Result<()> {
        retry_on_intr(|| rustix::fs::fsync(dir))
    }

    fn unlink(&self, at: At<'_>) -> Result<()> {
        rustix::fs::unlinkat(at.dir, at.name, AtFlags::empty())
    }

    fn remove_dir(&self, at: At<'_>) -> Result<()> {
        rustix::fs::unlinkat(at.dir, at.name, AtFlags::REMOVEDIR)
    }
}

/// The system's disk with injected faults. It records every call. Calls of a kind are numbered from 1.
#[derive(Debug, Default)]
pub struct FaultyDisk {
    script: Mutex<Script>,
}

#[derive(Debug, Default)]
struct Script {
    faults: Vec<InjectedFault>,
    /// From this call on, counted over all kinds, every call fails.
    dead_from: Option<(usize, Errno)>,
    write_max_bytes: Option<usize>,
    read_max_bytes: Option<usize>,
    free_bytes: Option<u64>,
    calls: Vec<Op>,
}

#[derive(Debug)]
struct InjectedFault {
    op: Op,
    first: usize,
    last: usize,
    errno: Errno,
}

impl FaultyDisk {
    /// A disk without faults.
    pub fn new() -> FaultyDisk {
        FaultyDisk::default()
    }

    /// Fails only the `nth` call of a kind.
    pub fn fail(self, op: Op, nth: usize, errno: Errno) -> FaultyDisk {
        self.script.lock().faults.push(InjectedFault { op, first: nth, last: nth, errno });
        self
    }

    /// Fails the `nth` call of a kind and all later ones.
    pub fn fail_from(self, op: Op, nth: usize, errno: Errno) -> FaultyDisk {
        self.script.lock().faults.push(InjectedFault { op, first: nth, last: usize::MAX, errno });
        self
    }

    /// Fails the `nth` call, counted over all kinds, and every later one: the disk then is as if the program
    /// had been killed at this call.
    pub fn fail_everything_from(self, nth: usize, errno: Errno) -> FaultyDisk {
        self.script.lock().dead_from = Some((nth, errno));
        self
    }

    /// Each read gives at most `max_bytes` bytes.
    pub fn short_reads(self, max_bytes: usize) -> FaultyDisk {
        self.script.lock().read_max_bytes = Some(max_bytes);
        self
    }

    /// Each write takes at most `max_bytes` bytes.
    pub fn short_writes(self, max_bytes: usize) -> FaultyDisk {
        self.script.lock().write_max_bytes = Some(max_bytes);
        self
    }

    /// Reports `free_bytes` of free space.
    pub fn claim_free_bytes(self, free_bytes: u64) -> FaultyDisk {
        self.script.lock().free_bytes = Some(free_bytes);
        self
    }

    /// All calls so far in order, failed ones too.
    pub fn calls(&self) -> Vec<Op> {
        self.script.lock().calls.clone()
    }

    /// Number of calls of a kind so far.
    pub fn count(&self, op: Op) -> usize {
        self.script.lock().calls.iter().filter(|call| **call == op).count()
    }

    /// Records the call and returns its fault, if there is one.
    fn record_call(&self, op: Op) -> Result<()> {
        let mut script = self.script.lock();
        script.calls.push(op);
        if let Some((_, errno)) = script.dead_from.filter(|(from, _)| script.calls.len() >= *from) {
            return Err(errno);
        }
        let nth = script.calls.iter().filter(|call| **call == op).count();
        let fault = script.faults.iter().find(|f| f.op == op && (f.first..=f.last).contains(&nth));
        fault.map_or(Ok(()), |fault| Err(fault.errno))
    }
}

impl Disk for FaultyDisk {
    fn free_bytes(&self, dir: BorrowedFd<'_>) -> Result<u64> {
        self.record_call(Op::FreeBytes)?;
        let claimed = self.script.lock().free_bytes;
        claimed.map_or_else(|| RealDisk.free_bytes(dir), Ok)
    }

    fn make_dir(&self, parent: BorrowedFd<'_>, name: &str, permissions: u32) -> Result<()> {
        self.record_call(Op::MakeDir)?;
        RealDisk.make_dir(parent, name, permissions)
    }

    fn create(&self, dir: BorrowedFd<'_>, name: &str) -> Result<File> {
        self.record_call(Op::Create)?;
        RealDisk.create(dir, name)
    }

    fn open(&self, at: At<'_>) -> Result<File> {
        self.record_call(Op::Open)?;
        RealDisk.open(at)
    }

    fn set_len(&self, file: &File, len_bytes: u64) -> Result<()> {
        self.record_call(Op::SetLen)?;
        RealDisk.set_len(file, len_bytes)
    }

    fn write_at(&self, file: &File, offset: u64, bytes: &[u8]) -> Result<usize> {
        self.record_call(Op::Write)?;
        let max_bytes = self.script.lock().write_max_bytes.unwrap_or(usize::MAX);
        RealDisk.write_at(file, offset, &bytes[..bytes.len().min(max_bytes)])
    }

    fn read_at(&self, file: &File, offset: u64, out: &mut [u8]) -> Result<usize> {
        self.record_call(Op::Read)?;
        let max_bytes = self.script.lock().read_max_bytes.unwrap_or(usize::MAX).min(out.len());
        RealDisk.read_at(file, offset, &mut out[..max_bytes])
    }

    fn next_data(&self, file: &File, from: u64) -> Result<Option<Range<u64>>> {
        self.record_call(Op::FindData)?;
        RealDisk.next_data(file, from)
    }

    fn mark(&self, file: &File, content: ContentId) -> Result<()> {
        self.record_call(Op::Mark)?;
        RealDisk.mark(file, content)
    }

    fn sync_file(&self, file: &File) -> Result<()> {
        self.record_call(Op::SyncFile)?;
        RealDisk.sync_file(file)
    }

    fn rename_no_replace(&self, from: At<'_>, to: At<'_>) -> Result<()> {
        self.record_call(Op::RenameNoReplace)?;
        RealDisk.rename_no_replace(from, to)
    }

    fn rename(&self, from: At<'_>, to: At<'_>) -> Result<()> {
        self.record_call(Op::Rename)?;
        RealDisk.rename(from, to)
    }

    fn link(&self, from: At<'_>, to: At<'_>) -> Result<()> {
        self.record_call(Op::Link)?;
        RealDisk.link(from, to)
    }

    fn sync_dir(&self, dir: BorrowedFd<'_>) -> Result<()> {
        self.record_call(Op::SyncDir)?;
        RealDisk.sync_dir(dir)
    }

    fn unlink(&self, at: At<'_>) -> Result<()> {
        self.record_call(Op::Unlink)?;
        RealDisk.unlink(at)
    }

    fn remove_dir(&self, at: At<'_>) -> Result<()> {
        self.record_call(Op::RemoveDir)?;
        RealDisk.remove_dir(at)
    }
}
