//! `Share`: the open handle of the one directory that a node shares.
//!
//! Holds the lock that keeps a second node out for as long as it lives. Everything in the share is reached
//! beneath this handle, so that a directory renamed or removed meanwhile gives an error and nothing is ever
//! made elsewhere.

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
use super::names::PARTS_DIR;
use super::openat;
use crate::types::{ContentId, FileName, path_text};

/// A directory that somebody has is tried again so often ...
const LOCK_TRIES: u32 = 20;
/// ... at this distance.
const LOCK_PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 2_000_000 };

/// An opened and locked share directory.
#[derive(Debug)]
pub struct Share {
    dir: OwnedFd,
    /// Its path as it was given, escaped: to show, and for nothing else.
    shown: String,
    disk: Arc<dyn Disk>,
    /// Name of the directory of the parts, and whether it must be this user's own.
    parts_dir: (String, bool),
    /// Contents whose part file is in use by a download of this process; no second one may write to it, not
    /// even one for the same id with another size, which a liar has published.
    pub(super) parts_in_use: Mutex<HashSet<ContentId>>,
}

/// Why a directory cannot be shared. Our side's fault. Paths are escaped.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ShareError {
    #[error("no such directory `{path}`: {why}")]
    NoSuchDirectory { path: String, why: String },
    #[error("`{path}` is in use by another node: stop it, or share another directory")]
    InUse { path: String },
    #[error("cannot share `{path}`: {why}")]
    Io { path: String, why: String },
}

/// A regular file of the share, open for reading, and its stamp as it was opened.
#[derive(Debug)]
pub struct OpenFile {
    pub file: File,
    pub stamp: FileStamp,
}

/// Tells whether a file is still the one that it was: equal stamps mean unchanged, unless the file was
/// changed within the clock's grain (see [`super::Hashed::racy`]). The times are in ns since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileStamp {
    pub dev: u64,
    pub ino: u64,
    pub size_bytes: u64,
    pub mtime_ns: i64,
    pub ctime_ns: i64,
}

/// What stands at a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathEntry {
    Nothing,
    File(FileStamp),
    /// Something that is never read and never replaced, and what it is.
    Other(&'static str),
}

impl Share {
    /// Opens and locks the directory at `path`, which alone may be a symbolic link. A directory that can only
    /// be read will do.
    ///
    /// # Errors
    /// [`ShareError`]: there is no directory, another node has it, or it cannot be read or locked.
    pub fn open(path: &Path, disk: Arc<dyn Disk>) -> Result<Share, ShareError> {
        Share::at(path, disk)?.locked()
    }

    fn at(path: &Path, disk: Arc<dyn Disk>) -> Result<Share, ShareError> {
        let shown = path_text(path);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Share::opened(rustix::fs::open(path, flags, Mode::empty()), shown, disk)
    }

    /// Opens the directory at `path` beneath this one; only directories lead there. It is not locked.
    ///
    /// # Errors
    /// As of [`Share::open`].
    pub(super) fn open_beneath(&self, path: &str) -> Result<Share, ShareError> {
        let shown = format!("{}/{path}", self.shown);
        Share::opened(openat::open_dir(self, path), shown, Arc::clone(&self.disk))
    }

    /// [`Share::open_beneath`]; what is missing on the way is made, durably.
    ///
    /// # Errors
    /// As of [`Share::open`].
    pub(super) fn make_beneath(&self, path: &str) -> Result<Share, ShareError> {
        let io = |errno: Errno| ShareError::Io {
            path: self.shown.clone(),
            why: format!("cannot make `{path}` in it: {errno}"),
        };
        let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
        for dir in ends.map(|end| &path[..end]) {
            let (parent, component) = dir.rsplit_once('/').unwrap_or((".", dir));
            let parent = openat::open_dir(self, parent).map_err(io)?;
            if openat::look(&parent, component).is_ok() {
                continue;
            }
            // What is hidden is nobody else's business.
            let permissions = if component.starts_with('.') { 0o700 } else { 0o777 };
            match self.disk.make_dir(parent.as_fd(), component, permissions) {
                Ok(()) => retry_on_intr(|| self.disk.sync_dir(parent.as_fd())).map_err(io)?,
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(io(errno)),
            }
        }
        self.open_beneath(path)
    }

    /// Keeps every other node out of it.
    ///
    /// # Errors
    /// [`ShareError::InUse`] and [`ShareError::Io`].
    pub(super) fn locked(self) -> Result<Share, ShareError> {
        // A visitor has it for a moment, see [`Share::open_as_guest`].
        for _ in 1..LOCK_TRIES {
            match rustix::fs::flock(&self.dir, FlockOperation::NonBlockingLockExclusive) {
                Err(Errno::WOULDBLOCK) => {}
                _ => break,
            }
            let _nothing_to_wait_for = rustix::event::poll(&mut [], Some(&LOCK_PAUSE));
        }
        self.locked_as(FlockOperation::NonBlockingLockExclusive)
    }

    fn locked_as(self, lock: FlockOperation) -> Result<Share, ShareError> {
        match rustix::fs::flock(&self.dir, lock) {
            Ok(()) => Ok(self),
            Err(Errno::WOULDBLOCK) => Err(ShareError::InUse { path: self.shown }),
            Err(errno) => Err(ShareError::Io { path: self.shown, why: format!("cannot lock it: {errno}") }),
        }
    }

    fn opened(
        dir: rustix::io::Result<OwnedFd>,
        shown: String,
        disk: Arc<dyn Disk>,
    ) -> Result<Share, ShareError> {
        match dir {
            Ok(dir) => {
                let parts_dir = (PARTS_DIR.to_owned(), false);
                Ok(Share { dir, shown, disk, parts_dir, parts_in_use: Mutex::default() })
            }
            Err(errno @ (Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NAMETOOLONG | Errno::INVAL)) => {
                Err(ShareError::NoSuchDirectory { path: shown, why: errno.to_string() })
            }
            Err(errno) => Err(ShareError::Io { path: shown, why: errno.to_string() }),
        }
    }

    /// Returns true if and only if `path` beneath this one leads to `other` and through no link.
    pub(super) fn has_beneath(&self, path: &str, other: &Share) -> bool {
        let found = openat::look(self, path).and_then(rustix::fs::fstat);
        let (Ok(found), Ok(other)) = (found, rustix::fs::fstat(&other.dir)) else { return false };
        (found.st_dev, found.st_ino) == (other.st_dev, other.st_ino)
    }

    /// Returns true if and only if it is the directory at `path`.
    pub(super) fn is_directory(&self, path: &Path) -> bool {
        let (Ok(own), Ok(other)) = (rustix::fs::fstat(&self.dir), rustix::fs::stat(path)) else {
            return false;
        };
        (own.st_dev, own.st_ino) == (other.st_dev, other.st_ino)
    }

    /// [`Share::open`] for who only reads: no lock is taken, and whoever has one does not matter.
    ///
    /// # Errors
    /// [`ShareError`]: there is no directory, or it cannot be read.
    pub fn open_read_only(path: &Path, disk: Arc<dyn Disk>) -> Result<Share, ShareError> {
        Share::at(path, disk)
    }

    /// The same with a directory of parts that no other user has: where anybody may make files, nobody can
    /// put anything into it.
    pub(super) fn with_private_parts(self) -> Share {
        let name = format!("{PARTS_DIR}-{}", rustix::process::geteuid().as_raw());
        Share { parts_dir: (name, true), ..self }
    }

    /// Name of the directory of the parts.
    pub(super) fn parts_dir(&self) -> &str {
        &self.parts_dir.0
    }

    /// Returns true if and only if parts may lie in that directory.
    pub(super) fn trusts(&self, parts_dir: &OwnedFd) -> bool {
        let is_own = |stat: rustix::fs::Stat| stat.st_uid == rustix::process::geteuid().as_raw();
        !self.parts_dir.1 || rustix::fs::fstat(parts_dir).is_ok_and(is_own)
    }

    /// [`Share::open`] for who only looks around and downloads: nobody is kept out. Several may visit at
    /// once, and a node may begin to share the directory meanwhile, as each part has a lock of its own.
    ///
    /// # Errors
    /// [`ShareError`]; `InUse` if a node shares the directory now: it is to do the work.
    pub fn open_as_guest(path: &Path, disk: Arc<dyn Disk>) -> Result<Share, ShareError> {
        let share = Share::at(path, disk)?.locked_as(FlockOperation::NonBlockingLockShared)?;
        share.locked_as(FlockOperation::Unlock)
    }

    /// Returns true if and only if files can be made at the root now. A share that is not writable serves
    /// only.
    pub fn writable(&self) -> bool {
        let access = Access::WRITE_OK | Access::EXEC_OK;
        rustix::fs::accessat(&self.dir, ".", access, AtFlags::empty()).is_ok()
    }

    /// Opens a regular file for reading.
    ///
    /// # Errors
    /// `NotFound`, `PermissionDenied` and so on; `InvalidInput` for what is no regular file or stands behind
    /// a symbolic link.
    pub fn open_file(&self, name: &FileName) -> io::Result<OpenFile> {
        open_regular(&self.dir, name.as_str())
    }

    /// What stands at `name`, which is not opened.
    ///
    /// # Errors
    /// When it cannot be told, such as for lack of permission.
    pub fn standing(&self, name: &FileName) -> io::Result<PathEntry> {
        standing(&self.dir, name.as_str())
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
    /// The stamp of an open file as it is now.
    ///
    /// # Errors
    /// What the system says.
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

/// Opens the regular file at `path` beneath `dir`. Does not wait for FIFOs; links, directories and devices
/// are `InvalidInput`.
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

/// What stands at `path` beneath `dir`.
pub(super) fn standing(dir: impl AsFd, path: &str) -> io::Result<PathEntry> {
    let metadata = match openat::look(dir, path) {
        Ok(handle) => File::from(handle).metadata()?,
        Err(Errno::NOENT) => return Ok(PathEntry::Nothing),
        Err(Errno::LOOP) => return Ok(PathEntry::Other("behind a symbolic link")),
        Err(Errno::NOTDIR) => return Ok(PathEntry::Other("below something that is no directory")),
        Err(errno) => return Err(errno.into()),
    };
    Ok(match metadata.is_file() {
        true => PathEntry::File(FileStamp::from_metadata(&metadata)),
        false => PathEntry::Other(kind(&metadata)),
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
    fn a_directory_is_shared_by_one_at_a_time() {
        let (dir, first) = fixture::share();
        let again = || Share::open(dir.path(), Arc::new(RealDisk));
        let in_use = ShareError::InUse { path: dir.path().display().to_string() };
        assert_eq!(again().expect_err("in use"), in_use);
        drop(first);
        drop(again().expect("free again"));
    }

    #[test]
    fn a_visitor_keeps_no_node_out() {
        let dir = tempfile::tempdir().expect("a directory");
        let visitor = fs::File::open(dir.path()).expect("there");
        rustix::fs::flock(&visitor, FlockOperation::NonBlockingLockShared).expect("free");
        // It looks around for a moment.
        let (_nothing_comes, moment) = crossbeam_channel::bounded::<()>(0);
        let looking = std::thread::spawn(move || {
            let _over = moment.recv_timeout(std::time::Duration::from_millis(5));
            drop(visitor);
        });
        Share::open(dir.path(), Arc::new(RealDisk)).expect("free soon");
        looking.join().expect("no panic");
    }

    #[test]
    fn a_directory_that_can_only_be_read_is_shared() {
        let dir = tempfile::tempdir().expect("a directory");
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o555)).expect("permissions");
        let share = Share::open(dir.path(), Arc::new(RealDisk)).expect("opened and locked");
        // Permissions do not hold root back.
        assert_eq!(share.writable(), rustix::process::getuid().is_root());
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("permissions");
        assert!(share.writable());
    }

    #[test]
    fn what_is_no_directory_is_named() {
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
        assert_eq!(share.standing(&name("sub/file")).expect("told"), PathEntry::File(open.stamp));

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
            assert_eq!(share.standing(&name(text)).expect(text), expected, "{text}");
        }
    }

    #[test]
    fn a_stamp_tells_a_changed_file_from_an_unchanged_one() {
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
    fn the_handle_stays_with_the_directory_wherever_it_goes() {
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
