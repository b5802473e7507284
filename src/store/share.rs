//! `Share`: the open handle of a directory.
//!
//! The handle of a directory that a node shares has a lock that keeps other nodes out. Every file is opened
//! beneath the handle. So a renamed directory stays the share, and after its removal operations fail and
//! create no file elsewhere.

use std::collections::HashSet;
use std::fs::{File, Metadata};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::event::Timespec;
use rustix::fs::{Access, AtFlags, FlockOperation, Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};
use thiserror::Error;

use super::disk::Disk;
use super::names::PARTIALS_DIR;
use super::openat;
use crate::types::{ContentId, FileName, path_text};

/// Number of attempts to lock a directory.
const LOCK_TRIES: u32 = 20;
/// Pause between two of them.
const LOCK_PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 2_000_000 };

/// An open directory. Only [`Share::open`] and [`Share::locked`] return a locked one.
#[derive(Debug)]
pub struct Share {
    dir: OwnedFd,
    /// Its path as it was given, escaped. Only for messages.
    path_text: String,
    disk: Arc<dyn Disk>,
    /// Name of the directory of the partial files.
    partials_dir: String,
    /// The directory of the partial files must belong to this user.
    has_private_partials: bool,
    /// Contents whose partial file a download of this process uses. No other download may write to it. The
    /// key is the id alone: a dishonest peer may publish the same id with another size.
    pub(super) partials_in_use: Mutex<HashSet<ContentId>>,
}

/// Why a directory cannot be shared. The fault is this node's or its user's. Paths are escaped.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ShareError {
    /// There is no directory at the path.
    #[error("no such directory `{path}`: {why}")]
    NoSuchDirectory {
        /// The path.
        path: String,
        /// The error of the system.
        why: String,
    },
    /// Another node has locked it.
    #[error("`{path}` is in use by another node: stop it, or share another directory")]
    InUse {
        /// The path.
        path: String,
    },
    /// Another failure of the system.
    #[error("cannot share `{path}`: {why}")]
    Io {
        /// The path.
        path: String,
        /// The error.
        why: String,
    },
}

/// A regular file of the share, open for reading.
#[derive(Debug)]
pub struct OpenFile {
    /// The file.
    pub file: File,
    /// Its stamp when it was opened.
    pub stamp: FileStamp,
}

/// Identity and times of a file. Equal stamps mean that the file is unchanged, unless it was changed within
/// the clock's grain (see [`super::Hashed::racy`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileStamp {
    /// Device of the file system.
    pub dev: u64,
    /// Inode number.
    pub ino: u64,
    /// Length.
    pub size_bytes: u64,
    /// Time of the last change of its bytes, ns since 1970.
    pub mtime_ns: i64,
    /// Time of the last change of its inode, ns since 1970.
    pub ctime_ns: i64,
}

/// The entry at a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathEntry {
    /// There is no entry.
    Nothing,
    /// A regular file.
    File(FileStamp),
    /// Anything else, which is never read and never replaced: its kind, or where the name leads.
    Other(&'static str),
}

impl Share {
    /// Opens and locks the directory at `path`. The path itself may be a symbolic link. Permission to read
    /// the directory is enough.
    ///
    /// # Errors
    /// [`ShareError`]: there is no directory, another node has it, or it cannot be read or locked.
    pub fn open(path: &Path, disk: Arc<dyn Disk>) -> Result<Share, ShareError> {
        Share::at(path, disk)?.locked()
    }

    fn at(path: &Path, disk: Arc<dyn Disk>) -> Result<Share, ShareError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Share::from_handle(rustix::fs::open(path, flags, Mode::empty()), path_text(path), disk)
    }

    /// Opens the directory at `path` beneath this one, through directories only. Does not lock it.
    ///
    /// # Errors
    /// Those of [`Share::open`] but `InUse`.
    pub(super) fn open_beneath(&self, path: &str) -> Result<Share, ShareError> {
        let path_text = format!("{}/{path}", self.path_text);
        Share::from_handle(openat::open_dir(self, path), path_text, Arc::clone(&self.disk))
    }

    /// As [`Share::open_beneath`], but creates missing directories durably.
    ///
    /// # Errors
    /// Those of [`Share::open`] but `InUse`.
    pub(super) fn make_beneath(&self, path: &str) -> Result<Share, ShareError> {
        let io = |errno: Errno| ShareError::Io {
            path: self.path_text.clone(),
            why: format!("cannot make `{path}` in it: {errno}"),
        };
        let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
        for dir in ends.map(|end| &path[..end]) {
            let (parent, component) = dir.rsplit_once('/').unwrap_or((".", dir));
            let parent = openat::open_dir(self, parent).map_err(io)?;
            if openat::look(&parent, component).is_ok() {
                continue;
            }
            // Other users get no access to hidden directories.
            let permissions = if component.starts_with('.') { 0o700 } else { 0o777 };
            match self.disk.make_dir(parent.as_fd(), component, permissions) {
                Ok(()) => retry_on_intr(|| self.disk.sync_dir(parent.as_fd())).map_err(io)?,
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(io(errno)),
            }
        }
        self.open_beneath(path)
    }

    /// Locks the directory against other nodes.
    ///
    /// # Errors
    /// [`ShareError::InUse`] and [`ShareError::Io`].
    pub(super) fn locked(self) -> Result<Share, ShareError> {
        // A starting guest has a lock for a moment, see [`Share::open_as_guest`]. It must not keep a node
        // out.
        for _ in 1..LOCK_TRIES {
            match rustix::fs::flock(&self.dir, FlockOperation::NonBlockingLockExclusive) {
                Err(Errno::WOULDBLOCK) => {}
                _ => break,
            }
            // A poll of nothing is a pause.
            rustix::event::poll(&mut [], Some(&LOCK_PAUSE)).ok();
        }
        self.lock(FlockOperation::NonBlockingLockExclusive)
    }

    fn lock(self, operation: FlockOperation) -> Result<Share, ShareError> {
        match rustix::fs::flock(&self.dir, operation) {
            Ok(()) => Ok(self),
            Err(Errno::WOULDBLOCK) => Err(ShareError::InUse { path: self.path_text }),
            Err(errno) => {
                Err(ShareError::Io { path: self.path_text, why: format!("cannot lock it: {errno}") })
            }
        }
    }

    fn from_handle(
        dir: rustix::io::Result<OwnedFd>,
        path_text: String,
        disk: Arc<dyn Disk>,
    ) -> Result<Share, ShareError> {
        match dir {
            Ok(dir) => Ok(Share {
                dir,
                path_text,
                disk,
                partials_dir: PARTIALS_DIR.to_owned(),
                has_private_partials: false,
                partials_in_use: Mutex::default(),
            }),
            Err(errno @ (Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NAMETOOLONG | Errno::INVAL)) => {
                Err(ShareError::NoSuchDirectory { path: path_text, why: errno.to_string() })
            }
            Err(errno) => Err(ShareError::Io { path: path_text, why: errno.to_string() }),
        }
    }

    /// Returns true if and only if `path` beneath this directory leads to `other`, without a link on the way.
    pub(super) fn has_beneath(&self, path: &str, other: &Share) -> bool {
        let found = openat::look(self, path).and_then(rustix::fs::fstat);
        let (Ok(found), Ok(other)) = (found, rustix::fs::fstat(&other.dir)) else { return false };
        (found.st_dev, found.st_ino) == (other.st_dev, other.st_ino)
    }

    /// Returns true if and only if this is the directory at `path`.
    pub(super) fn is_directory(&self, path: &Path) -> bool {
        let (Ok(own), Ok(other)) = (rustix::fs::fstat(&self.dir), rustix::fs::stat(path)) else {
            return false;
        };
        (own.st_dev, own.st_ino) == (other.st_dev, other.st_ino)
    }

    /// As [`Share::open`], but takes no lock and ignores the locks of other processes.
    ///
    /// # Errors
    /// [`ShareError`]: there is no directory, or it cannot be read.
    pub fn open_read_only(path: &Path, disk: Arc<dyn Disk>) -> Result<Share, ShareError> {
        Share::at(path, disk)
    }

    /// The same share, with partial files in a directory that has the id of this user in its name and must
    /// belong to this user. So other users, who may create files in the share, cannot put partial files into
    /// it.
    pub(super) fn with_private_partials(self) -> Share {
        let partials_dir = format!("{PARTIALS_DIR}-{}", rustix::process::geteuid().as_raw());
        Share { partials_dir, has_private_partials: true, ..self }
    }

    /// Name of the directory of the partial files.
    pub(super) fn partials_dir(&self) -> &str {
        &self.partials_dir
    }

    /// Returns true if and only if this share is allowed to use this directory for its partial files.
    pub(super) fn trusts(&self, partials_dir: &OwnedFd) -> bool {
        let is_own = |stat: rustix::fs::Stat| stat.st_uid == rustix::process::geteuid().as_raw();
        !self.has_private_partials || rustix::fs::fstat(partials_dir).is_ok_and(is_own)
    }

    /// As [`Share::open`], for a guest, which only lists and downloads: it keeps no other process out.
    /// Several guests may use the directory at once, and a node may begin to share it: each partial file has
    /// its own lock.
    ///
    /// # Errors
    /// [`ShareError`]; `InUse` if a node shares the directory now: then the caller can send its command to
    /// that node.
    pub fn open_as_guest(path: &Path, disk: Arc<dyn Disk>) -> Result<Share, ShareError> {
        // A shared lock is possible only while no node has the lock.
        let share = Share::at(path, disk)?.lock(FlockOperation::NonBlockingLockShared)?;
        share.lock(FlockOperation::Unlock)
    }

    /// Returns true if and only if files can be created in the root now. A share that is not writable only
    /// serves files.
    pub fn is_writable(&self) -> bool {
        let access = Access::WRITE_OK | Access::EXEC_OK;
        rustix::fs::accessat(&self.dir, ".", access, AtFlags::empty()).is_ok()
    }

    /// Opens a regular file for reading.
    ///
    /// # Errors
    /// The error of the system, such as `NotFound`; `InvalidInput` for an entry that is not a regular file
    /// or is behind a symbolic link.
    pub fn open_file(&self, name: &FileName) -> io::Result<OpenFile> {
        open_regular(&self.dir, name.as_str())
    }

    /// The entry at `name`, which is not opened.
    ///
    /// # Errors
    /// When the system does not report the entry, for instance without permission.
    pub fn path_entry(&self, name: &FileName) -> io::Result<PathEntry> {
        path_entry(&self.dir, name.as_str())
    }

    pub(super) fn disk(&self) -> &dyn Disk {
        self.disk.as_ref()
    }
}

impl AsFd for Share {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }
}

impl FileStamp {
    /// The present stamp of an open file.
    ///
    /// # Errors
    /// The error of the system.
    pub fn of(file: &File) -> io::Result<FileStamp> {
        file.metadata().map(|metadata| FileStamp::from_metadata(&metadata))
    }

    fn from_metadata(metadata: &Metadata) -> FileStamp {
        let ns = |seconds: i64, ns: i64| seconds.saturating_mul(1_000_000_000).saturating_add(ns);
        FileStamp {
            dev: metadata.dev(),
            ino: metadata.ino(),
            size_bytes: metadata.size(),
            mtime_ns: ns(metadata.mtime(), metadata.mtime_nsec()),
            ctime_ns: ns(metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// Opens the regular file at `path` beneath `dir`. Does not wait for FIFOs. The error for a link, a
/// directory or a device is `InvalidInput`.
pub(super) fn open_regular(dir: impl AsFd, path: &str) -> io::Result<OpenFile> {
    let not_regular = |what| io::Error::new(io::ErrorKind::InvalidInput, format!("is {what}, not a file"));
    let file = match openat::open(dir, path, OFlags::RDONLY, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::LOOP) => return Err(not_regular("a symbolic link")),
        Err(Errno::NXIO) => return Err(not_regular("a socket or device")),
        Err(errno) => return Err(errno.into()),
    };
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(not_regular(kind(&metadata)));
    }
    Ok(OpenFile { stamp: FileStamp::from_metadata(&metadata), file })
}

/// The entry at `path` beneath `dir`.
pub(super) fn path_entry(dir: impl AsFd, path: &str) -> io::Result<PathEntry> {
    let metadata = match openat::look(dir, path) {
        Ok(handle) => File::from(handle).metadata()?,
        Err(Errno::NOENT) => return Ok(PathEntry::Nothing),
        Err(Errno::LOOP) => return Ok(PathEntry::Other("behind a symbolic link")),
        Err(Errno::NOTDIR) => return Ok(PathEntry::Other("below something that is no directory")),
        Err(errno) => return Err(errno.into()),
    };
    Ok(if metadata.is_file() {
        PathEntry::File(FileStamp::from_metadata(&metadata))
    } else {
        PathEntry::Other(kind(&metadata))
    })
}

fn kind(metadata: &Metadata) -> &'static str {
    let kind = metadata.file_type();
    match () {
        () if kind.is_dir() => "a directory",
        () if kind.is_symlink() => "a symbolic link",
        () if kind.is_fifo() => "a fifo",
        () if kind.is_socket() => "a socket",
        () => "a device",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{RealDisk, fixture};
    use rustix::fs::{CWD, FileType, mknodat};
    use std::fs;
    use std::io::{ErrorKind, Read};
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::os::unix::net::UnixListener;

    fn name(text: &str) -> FileName {
        FileName::new(text).expect(text)
    }

    #[test]
    fn a_directory_is_shared_by_one_node_at_a_time() {
        let (dir, first) = fixture::share();
        let again = || Share::open(dir.path(), Arc::new(RealDisk));
        let in_use = ShareError::InUse { path: dir.path().display().to_string() };
        assert_eq!(again().expect_err("in use"), in_use);
        drop(first);
        drop(again().expect("free again"));
    }

    #[test]
    fn a_guest_does_not_keep_a_node_out() {
        let dir = tempfile::tempdir().expect("a directory");
        let guest = fs::File::open(dir.path()).expect("there");
        rustix::fs::flock(&guest, FlockOperation::NonBlockingLockShared).expect("free");
        // The guest holds its lock for a moment.
        let (_sends_nothing, moment) = crossbeam_channel::bounded::<()>(0);
        let holding = std::thread::spawn(move || {
            let _over = moment.recv_timeout(std::time::Duration::from_millis(5));
            drop(guest);
        });
        Share::open(dir.path(), Arc::new(RealDisk)).expect("free soon");
        holding.join().expect("no panic");
    }

    #[test]
    fn a_read_only_directory_is_shared() {
        let dir = tempfile::tempdir().expect("a directory");
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o555)).expect("permissions");
        let share = Share::open(dir.path(), Arc::new(RealDisk)).expect("opened and locked");
        // Root may write everywhere.
        assert_eq!(share.is_writable(), rustix::process::getuid().is_root());
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("permissions");
        assert!(share.is_writable());
    }

    #[test]
    fn errors_name_the_path_that_is_no_directory() {
        let dir = tempfile::tempdir().expect("a directory");
        fs::write(dir.path().join("file"), b"").expect("written");
        for path in [dir.path().join("missing"), dir.path().join("file"), dir.path().join("esc\u{1b}[2J")] {
            let error = Share::open(&path, Arc::new(RealDisk)).expect_err("no directory");
            assert!(matches!(error, ShareError::NoSuchDirectory { .. }), "{error:?}");
            assert!(!error.to_string().contains('\u{1b}'));
        }
    }

    #[test]
    fn only_regular_files_beneath_the_share_are_opened() {
        let outside = tempfile::tempdir().expect("a directory");
        fs::write(outside.path().join("secret"), b"secret").expect("written");
        let (dir, share) = fixture::share();
        let path = |name: &str| dir.path().join(name);
        fs::create_dir(path("sub")).expect("made");
        fs::write(path("sub/file"), b"bytes").expect("written");
        symlink(outside.path(), path("out")).expect("linked");
        symlink(outside.path().join("secret"), path("link")).expect("linked");
        symlink("sub/file", path("inside")).expect("linked");
        symlink("nowhere", path("dangling")).expect("linked");
        mknodat(CWD, path("fifo"), FileType::Fifo, Mode::RWXU, 0).expect("made");
        let _listener = UnixListener::bind(path("socket")).expect("bound");

        let mut open = share.open_file(&name("sub/file")).expect("opened");
        let mut text = String::new();
        open.file.read_to_string(&mut text).expect("read");
        assert_eq!(text, "bytes");
        assert_eq!(open.stamp.size_bytes, 5);
        assert_eq!(share.path_entry(&name("sub/file")).expect("reported"), PathEntry::File(open.stamp));

        for (text, error, expected) in [
            ("missing", ErrorKind::NotFound, PathEntry::Nothing),
            ("missing/f", ErrorKind::NotFound, PathEntry::Nothing),
            ("sub", ErrorKind::InvalidInput, PathEntry::Other("a directory")),
            ("link", ErrorKind::InvalidInput, PathEntry::Other("a symbolic link")),
            ("inside", ErrorKind::InvalidInput, PathEntry::Other("a symbolic link")),
            ("dangling", ErrorKind::InvalidInput, PathEntry::Other("a symbolic link")),
            ("out/secret", ErrorKind::InvalidInput, PathEntry::Other("behind a symbolic link")),
            ("fifo", ErrorKind::InvalidInput, PathEntry::Other("a fifo")),
            ("socket", ErrorKind::InvalidInput, PathEntry::Other("a socket")),
            (
                "sub/file/f",
                ErrorKind::NotADirectory,
                PathEntry::Other("below something that is no directory"),
            ),
        ] {
            assert_eq!(share.open_file(&name(text)).expect_err(text).kind(), error, "{text}");
            assert_eq!(share.path_entry(&name(text)).expect(text), expected, "{text}");
        }
    }

    #[test]
    fn a_changed_file_has_another_stamp() {
        let (dir, share) = fixture::share();
        let stamp = || share.open_file(&name("f")).expect("opened").stamp;
        fs::write(dir.path().join("f"), b"bytes").expect("written");
        let before = stamp();
        assert_eq!(stamp(), before);
        fs::write(dir.path().join("g"), b"bytes").expect("written");
        fs::rename(dir.path().join("g"), dir.path().join("f")).expect("replaced");
        assert_ne!(stamp(), before);
    }

    #[test]
    fn the_handle_follows_a_renamed_directory() {
        let (dir, share) = fixture::share();
        let moved = tempfile::tempdir().expect("a directory");
        fs::write(dir.path().join("f"), b"bytes").expect("written");
        fs::rename(dir.path(), moved.path().join("share")).expect("moved");
        fs::create_dir(dir.path()).expect("another in its place");
        assert!(share.open_file(&name("f")).is_ok());
        fs::remove_dir_all(moved.path().join("share")).expect("removed");
        assert_eq!(share.open_file(&name("f")).expect_err("gone").kind(), ErrorKind::NotFound);
    }
}
