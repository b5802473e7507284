//! `Disk`: all that a download does to the disk; the one trait for faults.
//!
//! Names are single components of an open directory, never paths. An implementation does one system call and
//! reports its error; what to do about it is decided above. `FaultyDisk` fails on command, for every test
//! that must see a full or broken disk.

use std::fmt::{self, Debug, Display};
use std::fs::File;
use std::ops::Range;
use std::os::fd::{BorrowedFd, OwnedFd};

use parking_lot::Mutex;
use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags, SeekFrom};
use rustix::io::{Errno, Result, retry_on_intr};

use super::{openat, xattr};
use crate::types::ContentId;

/// Kinds of disk operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Op {
    FreeBytes,
    MakeDir,
    Create,
    Open,
    SetLen,
    Write,
    Read,
    FindData,
    Mark,
    SyncFile,
    RenameNoReplace,
    Rename,
    Link,
    SyncDir,
    Unlink,
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

/// The operations. Each may be interrupted by a signal only where it says so.
///
/// # Errors
/// What the system says, unchanged.
pub trait Disk: Debug + Send + Sync {
    /// Bytes that this process may still take on the file system of `dir`.
    fn free_bytes(&self, dir: BorrowedFd<'_>) -> Result<u64>;
    /// Makes a directory of the given permissions less the umask; one that is there already is an error.
    fn make_dir(&self, parent: BorrowedFd<'_>, name: &str, permissions: u32) -> Result<()>;
    /// A new empty file for reading and writing, 0666 less the umask; one that is there already is an error.
    fn create(&self, dir: BorrowedFd<'_>, name: &str) -> Result<File>;
    /// What is there already, for reading and writing; never through a link (`LOOP`), never waiting for a
    /// FIFO.
    fn open(&self, at: At<'_>) -> Result<File>;
    /// Makes the file so long; what was never written reads as zeros and takes no space.
    fn set_len(&self, file: &File, len_bytes: u64) -> Result<()>;
    /// Writes some of `bytes` at `offset` and returns how many. May be interrupted.
    fn write_at(&self, file: &File, offset: u64, bytes: &[u8]) -> Result<usize>;
    /// Reads some of what is at `offset` and returns how much: 0 at the end of the file. May be interrupted.
    fn read_at(&self, file: &File, offset: u64, out: &mut [u8]) -> Result<usize>;
    /// The first bytes at or after `from` that are no hole, as far as the file system can tell: one that
    /// knows of no holes takes all for data, others are true to a block. `None`: only a hole is left. Moves
    /// the file's position.
    fn next_data(&self, file: &File, from: u64) -> Result<Option<Range<u64>>>;
    /// Marks the file as a download of `content`. Not every file system can (`OPNOTSUPP`).
    fn mark(&self, file: &File, content: ContentId) -> Result<()>;
    /// Returns when the file's bytes and length are on the device. After a failure they must be taken for
    /// lost.
    fn sync_file(&self, file: &File) -> Result<()>;
    /// Renames unless there is something of the new name. Not every file system can (`INVAL`).
    fn rename_no_replace(&self, from: At<'_>, to: At<'_>) -> Result<()>;
    /// Renames in one step over whatever file has the new name.
    fn rename(&self, from: At<'_>, to: At<'_>) -> Result<()>;
    /// Gives a file a second name unless there is something of that name.
    fn link(&self, from: At<'_>, to: At<'_>) -> Result<()>;
    /// Returns when the directory's entries are on the device.
    fn sync_dir(&self, dir: BorrowedFd<'_>) -> Result<()>;
    fn unlink(&self, at: At<'_>) -> Result<()>;
    /// Removes an empty directory.
    fn remove_dir(&self, at: At<'_>) -> Result<()>;
}

/// One component in an open directory.
#[derive(Debug, Clone, Copy)]
pub struct At<'a> {
    pub dir: BorrowedFd<'a>,
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

/// The system's disk with faults on command; it remembers every call. Calls of a kind are numbered from 1.
#[derive(Debug, Default)]
pub struct FaultyDisk {
    script: Mutex<Script>,
}

#[derive(Debug, Default)]
struct Script {
    faults: Vec<InjectedFault>,
    /// From this call on, of whatever kind, all fail.
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
    /// Fails at nothing yet.
    pub fn new() -> FaultyDisk {
        FaultyDisk::default()
    }

    /// Fails the `nth` call of a kind, and no other.
    pub fn fail(self, op: Op, nth: usize, errno: Errno) -> FaultyDisk {
        self.script.lock().faults.push(InjectedFault { op, first: nth, last: nth, errno });
        self
    }

    /// Fails the `nth` call of a kind and all after it.
    pub fn fail_from(self, op: Op, nth: usize, errno: Errno) -> FaultyDisk {
        self.script.lock().faults.push(InjectedFault { op, first: nth, last: usize::MAX, errno });
        self
    }

    /// Fails the `nth` call of all and everything after it: what is on the disk then is what a program leaves
    /// that is killed there.
    pub fn fail_everything_from(self, nth: usize, errno: Errno) -> FaultyDisk {
        self.script.lock().dead_from = Some((nth, errno));
        self
    }

    /// Each read gives at most so many bytes.
    pub fn short_reads(self, max_bytes: usize) -> FaultyDisk {
        self.script.lock().read_max_bytes = Some(max_bytes);
        self
    }

    /// Each write takes at most so many bytes.
    pub fn short_writes(self, max_bytes: usize) -> FaultyDisk {
        self.script.lock().write_max_bytes = Some(max_bytes);
        self
    }

    /// Says that so much space is free, whatever is.
    pub fn claim_free_bytes(self, free_bytes: u64) -> FaultyDisk {
        self.script.lock().free_bytes = Some(free_bytes);
        self
    }

    /// All calls so far, failed ones too, in order.
    pub fn calls(&self) -> Vec<Op> {
        self.script.lock().calls.clone()
    }

    /// Number of calls of a kind so far.
    pub fn count(&self, op: Op) -> usize {
        self.script.lock().calls.iter().filter(|call| **call == op).count()
    }

    /// Notes the call and returns its fault, if it is to have one.
    fn called(&self, op: Op) -> Result<()> {
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
        self.called(Op::FreeBytes)?;
        let claimed = self.script.lock().free_bytes;
        claimed.map_or_else(|| RealDisk.free_bytes(dir), Ok)
    }

    fn make_dir(&self, parent: BorrowedFd<'_>, name: &str, permissions: u32) -> Result<()> {
        self.called(Op::MakeDir)?;
        RealDisk.make_dir(parent, name, permissions)
    }

    fn create(&self, dir: BorrowedFd<'_>, name: &str) -> Result<File> {
        self.called(Op::Create)?;
        RealDisk.create(dir, name)
    }

    fn open(&self, at: At<'_>) -> Result<File> {
        self.called(Op::Open)?;
        RealDisk.open(at)
    }

    fn set_len(&self, file: &File, len_bytes: u64) -> Result<()> {
        self.called(Op::SetLen)?;
        RealDisk.set_len(file, len_bytes)
    }

    fn write_at(&self, file: &File, offset: u64, bytes: &[u8]) -> Result<usize> {
        self.called(Op::Write)?;
        let max_bytes = self.script.lock().write_max_bytes.unwrap_or(usize::MAX);
        RealDisk.write_at(file, offset, &bytes[..bytes.len().min(max_bytes)])
    }

    fn read_at(&self, file: &File, offset: u64, out: &mut [u8]) -> Result<usize> {
        self.called(Op::Read)?;
        let max_bytes = self.script.lock().read_max_bytes.unwrap_or(usize::MAX).min(out.len());
        RealDisk.read_at(file, offset, &mut out[..max_bytes])
    }

    fn next_data(&self, file: &File, from: u64) -> Result<Option<Range<u64>>> {
        self.called(Op::FindData)?;
        RealDisk.next_data(file, from)
    }

    fn mark(&self, file: &File, content: ContentId) -> Result<()> {
        self.called(Op::Mark)?;
        RealDisk.mark(file, content)
    }

    fn sync_file(&self, file: &File) -> Result<()> {
        self.called(Op::SyncFile)?;
        RealDisk.sync_file(file)
    }

    fn rename_no_replace(&self, from: At<'_>, to: At<'_>) -> Result<()> {
        self.called(Op::RenameNoReplace)?;
        RealDisk.rename_no_replace(from, to)
    }

    fn rename(&self, from: At<'_>, to: At<'_>) -> Result<()> {
        self.called(Op::Rename)?;
        RealDisk.rename(from, to)
    }

    fn link(&self, from: At<'_>, to: At<'_>) -> Result<()> {
        self.called(Op::Link)?;
        RealDisk.link(from, to)
    }

    fn sync_dir(&self, dir: BorrowedFd<'_>) -> Result<()> {
        self.called(Op::SyncDir)?;
        RealDisk.sync_dir(dir)
    }

    fn unlink(&self, at: At<'_>) -> Result<()> {
        self.called(Op::Unlink)?;
        RealDisk.unlink(at)
    }

    fn remove_dir(&self, at: At<'_>) -> Result<()> {
        self.called(Op::RemoveDir)?;
        RealDisk.remove_dir(at)
    }
}
