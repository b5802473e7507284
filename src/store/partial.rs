//! `Partial`: a download in progress, and how it becomes a file of the share.
//!
//! It lives as `.nearpeer/<content id>.part` at the share's root. The final name holds nothing or the whole,
//! synced content: never a part of it, and never in place of another file unless that was asked for. One
//! download at a time has a content's part.

use std::fs::File;
use std::io;
use std::mem;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::io::{Errno, retry_on_intr};
use thiserror::Error;

use super::disk::{At, Op};
use super::hash::whole_md5;
use super::share::{FileStamp, Share, Standing, standing};
use super::{beneath, disk::Disk};
use crate::rt::Stop;
use crate::types::{ContentKey, FileName, Md5Digest};

/// Hidden, so that it is never shared, listed or a download's target.
const PARTS_DIR: &str = ".nearpeer";

/// A part file. It is removed when this is dropped, unless it was placed or kept.
#[derive(Debug)]
pub struct Partial {
    claim: Claim,
    parts_dir: OwnedFd,
    file: File,
    /// Set once a sync has failed. The system then holds the lost bytes for written and a second sync would
    /// succeed, so that nothing in this part can be trusted again.
    sync_failed: Option<Errno>,
    /// Placed or to be kept: no longer ours to remove.
    settled: bool,
}

/// A download that is a file of the share now, durably.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    pub stamp: FileStamp,
}

/// What went wrong on our side: no peer is to blame and no other source will help.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PartialError {
    /// The disk or the quota is too small.
    #[error("{needed_bytes} bytes are needed and {free_bytes} are free: {errno}")]
    NoSpace { needed_bytes: u64, free_bytes: u64, errno: Errno },
    /// A limit on the size of one file, such as `ulimit -f`.
    #[error("a file of {needed_bytes} bytes may not be made here: {errno}")]
    TooLarge { needed_bytes: u64, errno: Errno },
    /// What stands at the name or on the way to it.
    #[error("`{name}` is {what} here already: it is not replaced")]
    Exists { name: FileName, what: &'static str },
    #[error("the share cannot be written to: {0}")]
    Unwritable(Errno),
    #[error("`.nearpeer` in the share is not a directory: remove it")]
    PartsDirectory,
    #[error("another download of this content is running")]
    InProgress,
    #[error("cannot {op}: {errno}")]
    Disk { op: Op, errno: Errno },
    #[error("cannot look at `{name}`: {why}")]
    Look { name: FileName, why: String },
}

/// The right to a content's part file; given back when dropped.
#[derive(Debug)]
struct Claim {
    share: Arc<Share>,
    key: ContentKey,
}

/// Directories that a placement has made: each its parent's handle and its name, outermost first.
type Made<'a> = Vec<(OwnedFd, &'a str)>;

impl Claim {
    fn take(share: &Arc<Share>, key: ContentKey) -> Result<Claim, PartialError> {
        let is_free = share.parts_in_use.lock().insert(key);
        is_free.then(|| Claim { share: Arc::clone(share), key }).ok_or(PartialError::InProgress)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.share.parts_in_use.lock().remove(&self.key);
    }
}

impl Partial {
    /// An empty part of the content's full length, which takes no space yet. A part left by an earlier
    /// download is removed.
    ///
    /// # Errors
    /// [`PartialError`]. The free space is looked at before anything is made, so that a size which a peer has
    /// made up costs nothing.
    pub fn create(share: &Arc<Share>, key: ContentKey) -> Result<Partial, PartialError> {
        let claim = Claim::take(share, key)?;
        let disk = share.disk();
        let fault = |op| move |errno| fault(share, key, op, errno);
        let parts_dir = open_parts_dir(share).map_err(|(op, errno)| match errno {
            Errno::LOOP | Errno::NOTDIR => PartialError::PartsDirectory,
            errno => fault(op)(errno),
        })?;
        let name = part_name(key);
        match disk.unlink(At { dir: parts_dir.as_fd(), name: &name }) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(fault(Op::Unlink)(errno)),
        }
        let free_bytes = disk.free_bytes(parts_dir.as_fd()).map_err(fault(Op::FreeBytes))?;
        if key.size_bytes > free_bytes {
            return Err(PartialError::NoSpace {
                needed_bytes: key.size_bytes,
                free_bytes,
                errno: Errno::NOSPC,
            });
        }
        let file = disk.create(parts_dir.as_fd(), &name).map_err(fault(Op::Create))?;
        let part = Partial { claim, parts_dir, file, sync_failed: None, settled: false };
        disk.set_len(&part.file, key.size_bytes).map_err(fault(Op::SetLen))?;
        Ok(part)
    }

    /// Writes a piece at its place. Pieces that do not overlap may be written from several threads.
    ///
    /// # Errors
    /// [`PartialError`]; some of the piece may then be written.
    ///
    /// # Panics
    /// If the piece ends beyond the content: the caller has not checked its length.
    pub fn write_piece(&self, offset: u64, bytes: &[u8]) -> Result<(), PartialError> {
        let end = offset.checked_add(bytes.len() as u64);
        assert!(end.is_some_and(|end| end <= self.claim.key.size_bytes), "a piece lies within its content");
        let (mut offset, mut left) = (offset, bytes);
        while !left.is_empty() {
            let written = retry_on_intr(|| self.disk().write_at(&self.file, offset, left))
                .and_then(|written| if written == 0 { Err(Errno::IO) } else { Ok(written) })
                .map_err(|errno| self.fault(Op::Write, errno))?;
            offset += written as u64;
            left = &left[written..];
        }
        Ok(())
    }

    /// MD5 of the whole content, read back.
    ///
    /// # Errors
    /// What the system says; `Interrupted` when `stop` was triggered.
    pub fn whole_md5(&self, stop: &Stop) -> io::Result<Md5Digest> {
        whole_md5(&self.file, self.claim.key.size_bytes, stop)
    }

    /// Makes the part the file `name`, with the directories above it: synced, renamed in one step,
    /// directories synced. Only an ordinary file is ever replaced, and that only with `force`.
    ///
    /// # Errors
    /// [`PartialError`] and the part, to keep or to discard. Directories made for it are gone again, and the
    /// name is as it was; only where a file was replaced and its directory could not be synced then, the new
    /// content stays at the name.
    #[allow(clippy::result_large_err, reason = "once a download, and the part must come back")]
    pub fn place(mut self, name: &FileName, force: bool) -> Result<Placed, (Partial, PartialError)> {
        let mut made = Made::new();
        let placed = self.sync().and_then(|()| self.place_synced(name, force, &mut made));
        match placed {
            Ok(placed) => {
                self.settled = true;
                Ok(placed)
            }
            Err(error) => {
                for (parent, name) in made.iter().rev() {
                    // Fails where somebody has put something in it meanwhile: then it is no longer ours.
                    let _in_use = self.disk().remove_dir(At { dir: parent.as_fd(), name });
                }
                Err((self, error))
            }
        }
    }

    /// Leaves the part where it is, for a later download of the content. One whose sync has failed is removed
    /// instead.
    pub fn keep(mut self) {
        self.settled = self.sync_failed.is_none();
    }

    /// Removes the part.
    ///
    /// # Errors
    /// [`PartialError`]; the part may then still be there.
    pub fn discard(mut self) -> Result<(), PartialError> {
        self.settled = true;
        self.remove().map_err(|errno| self.fault(Op::Unlink, errno))
    }

    fn sync(&mut self) -> Result<(), PartialError> {
        if self.sync_failed.is_none() {
            self.sync_failed = retry_on_intr(|| self.disk().sync_file(&self.file)).err();
        }
        self.sync_failed.map_or(Ok(()), |errno| Err(self.fault(Op::SyncFile, errno)))
    }

    fn place_synced<'a>(
        &self,
        name: &'a FileName,
        force: bool,
        made: &mut Made<'a>,
    ) -> Result<Placed, PartialError> {
        let (parents, last) = match name.as_str().rsplit_once('/') {
            Some((parents, last)) => (Some(parents), last),
            None => (None, name.as_str()),
        };
        let dir = self.open_parents(name, parents, made)?;
        let exists = |what| Err(PartialError::Exists { name: name.clone(), what });
        let replace = match standing(&dir, last) {
            Ok(Standing::Nothing) => false,
            Ok(Standing::File(_)) if force => true,
            Ok(Standing::File(_)) => return exists("a file"),
            Ok(Standing::Other(what)) => return exists(what),
            Err(error) => return Err(PartialError::Look { name: name.clone(), why: error.to_string() }),
        };
        let part_name = part_name(self.claim.key);
        let part = At { dir: self.parts_dir.as_fd(), name: &part_name };
        let target = At { dir: dir.as_fd(), name: last };
        let renamed = match replace {
            true => self.disk().rename(part, target).map_err(|errno| (Op::Rename, errno)),
            false => move_no_replace(self.disk(), part, target),
        };
        match renamed {
            Ok(()) => {}
            // Has come to be since it was looked at.
            Err((_, Errno::EXIST | Errno::ISDIR | Errno::NOTEMPTY)) => return exists("something else"),
            Err((op, errno)) => return Err(self.fault(op, errno)),
        }
        let parents = made.iter().rev().map(|(parent, _)| parent);
        for synced in [&dir].into_iter().chain(parents).chain([&self.parts_dir]) {
            if let Err(errno) = retry_on_intr(|| self.disk().sync_dir(synced.as_fd())) {
                if !replace {
                    // If this fails too the file stays; it is whole, but might not outlive a power cut, and
                    // the caller hears of that.
                    let _stays = move_no_replace(self.disk(), target, part);
                }
                return Err(self.fault(Op::SyncDir, errno));
            }
        }
        let stamp = FileStamp::of(&self.file)
            .map_err(|error| PartialError::Look { name: name.clone(), why: error.to_string() })?;
        Ok(Placed { stamp })
    }

    /// Opens the directory that is to hold `name`, making what is missing on the way.
    fn open_parents<'a>(
        &self,
        name: &FileName,
        parents: Option<&'a str>,
        made: &mut Made<'a>,
    ) -> Result<OwnedFd, PartialError> {
        let failed = |op| {
            move |errno| match errno {
                Errno::LOOP | Errno::NOTDIR => {
                    PartialError::Exists { name: name.clone(), what: "below something that is no directory" }
                }
                errno => self.fault(op, errno),
            }
        };
        let mut dir = beneath::open_dir(&self.claim.share, ".").map_err(failed(Op::MakeDir))?;
        for component in parents.into_iter().flat_map(|parents| parents.split('/')) {
            let mut is_new = false;
            let mut next = beneath::open_dir(&dir, component);
            if next.as_ref().is_err_and(|errno| *errno == Errno::NOENT) {
                is_new = match self.disk().make_dir(dir.as_fd(), component, 0o777) {
                    Ok(()) => true,
                    Err(Errno::EXIST) => false,
                    Err(errno) => return Err(failed(Op::MakeDir)(errno)),
                };
                next = beneath::open_dir(&dir, component);
                if is_new && next.is_err() {
                    let _in_use = self.disk().remove_dir(At { dir: dir.as_fd(), name: component });
                }
            }
            let parent = mem::replace(&mut dir, next.map_err(failed(Op::MakeDir))?);
            if is_new {
                made.push((parent, component));
            }
        }
        Ok(dir)
    }

    fn remove(&self) -> rustix::io::Result<()> {
        match self.disk().unlink(At { dir: self.parts_dir.as_fd(), name: &part_name(self.claim.key) }) {
            Err(Errno::NOENT) => Ok(()),
            removed => removed,
        }
    }

    fn disk(&self) -> &dyn Disk {
        self.claim.share.disk()
    }

    fn fault(&self, op: Op, errno: Errno) -> PartialError {
        fault(&self.claim.share, self.claim.key, op, errno)
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.settled {
            // Nobody is left to tell; the next download of this content removes it or fails with the reason.
            let _left_behind = self.remove();
        }
    }
}

fn part_name(key: ContentKey) -> String {
    format!("{}.part", key.id)
}

/// Opens the directory of the parts, which is made if it is missing.
fn open_parts_dir(share: &Share) -> Result<OwnedFd, (Op, Errno)> {
    match share.disk().make_dir(share.as_fd(), PARTS_DIR, 0o700) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err((Op::MakeDir, errno)),
    }
    beneath::open_dir(share, PARTS_DIR).map_err(|errno| (Op::MakeDir, errno))
}

/// Renames without replacing; by link and unlink where the file system has no such renaming.
fn move_no_replace(disk: &dyn Disk, from: At<'_>, to: At<'_>) -> Result<(), (Op, Errno)> {
    match disk.rename_no_replace(from, to) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            disk.link(from, to).map_err(|errno| (Op::Link, errno))?;
            disk.unlink(from).map_err(|errno| {
                let _stays = disk.unlink(to);
                (Op::Unlink, errno)
            })
        }
        renamed => renamed.map_err(|errno| (Op::RenameNoReplace, errno)),
    }
}

/// Sorts an error of the system by what its reader can do about it.
fn fault(share: &Share, key: ContentKey, op: Op, errno: Errno) -> PartialError {
    match errno {
        Errno::FBIG => PartialError::TooLarge { needed_bytes: key.size_bytes, errno },
        Errno::NOSPC | Errno::DQUOT => {
            let free_bytes = share.disk().free_bytes(share.as_fd()).unwrap_or(0);
            PartialError::NoSpace { needed_bytes: key.size_bytes, free_bytes, errno }
        }
        Errno::ROFS | Errno::ACCESS | Errno::PERM => PartialError::Unwritable(errno),
        errno => PartialError::Disk { op, errno },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{FaultyDisk, RealDisk, fixture};
    use crate::types::ContentId;
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    use std::collections::BTreeMap;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::Path;
    use tempfile::TempDir;

    const BYTES: &[u8] = b"hello";

    fn key() -> ContentKey {
        ContentKey { size_bytes: BYTES.len() as u64, id: ContentId(*blake3::hash(BYTES).as_bytes()) }
    }

    fn name(text: &str) -> FileName {
        FileName::new(text).expect(text)
    }

    fn faulty(disk: FaultyDisk) -> (TempDir, Arc<Share>, Arc<FaultyDisk>) {
        let disk = Arc::new(disk);
        let (dir, share) = fixture::share_on(disk.clone());
        (dir, share, disk)
    }

    /// A part with all its bytes.
    fn written(share: &Arc<Share>) -> Result<Partial, PartialError> {
        let part = Partial::create(share, key())?;
        part.write_piece(3, &BYTES[3..])?;
        part.write_piece(0, &BYTES[..3])?;
        Ok(part)
    }

    /// A whole download; what cannot be placed is discarded.
    fn download(share: &Arc<Share>, target: &str, force: bool) -> Result<Placed, PartialError> {
        written(share)?.place(&name(target), force).map_err(|(part, error)| {
            part.discard().expect("removed");
            error
        })
    }

    /// All that is below a directory but the directory of the parts itself: path, and content or kind.
    fn tree(root: &Path) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        let mut pending = vec![root.to_owned()];
        while let Some(dir) = pending.pop() {
            for entry in fs::read_dir(dir).expect("read") {
                let entry = entry.expect("read");
                let path = entry.path();
                let kind = entry.file_type().expect("its type");
                let shown = path.strip_prefix(root).expect("below").display().to_string();
                if kind.is_file() {
                    found.insert(shown, String::from_utf8(fs::read(&path).expect("read")).expect("text"));
                } else if shown != PARTS_DIR {
                    found.insert(shown, format!("{kind:?}"));
                }
                if kind.is_dir() {
                    pending.push(path);
                }
            }
        }
        found
    }

    #[test]
    fn a_download_becomes_a_file_by_steps_that_survive_a_power_cut() {
        let (dir, share, disk) = faulty(FaultyDisk::new());
        let placed = download(&share, "a/b/f", false).expect("placed");
        use Op::*;
        assert_eq!(
            disk.calls(),
            [
                vec![MakeDir, Unlink, FreeBytes, Create, SetLen, Write, Write],
                vec![SyncFile, MakeDir, MakeDir, RenameNoReplace],
                // b, which has the file; a, which has b; the root, which has a; and the directory that had
                // the part.
                vec![SyncDir, SyncDir, SyncDir, SyncDir],
            ]
            .concat()
        );
        assert_eq!(fs::read(dir.path().join("a/b/f")).expect("read"), BYTES);
        assert_eq!(share.open_file(&name("a/b/f")).expect("opened").stamp, placed.stamp);
        assert_eq!(fs::read_dir(dir.path().join(PARTS_DIR)).expect("read").count(), 0);

        let mode =
            |name: &str| fs::metadata(dir.path().join(name)).expect("its mode").permissions().mode() & 0o7777;
        fs::write(dir.path().join("ordinary"), b"").expect("written");
        fs::create_dir(dir.path().join("ordinary-dir")).expect("made");
        assert_eq!(mode("a/b/f"), mode("ordinary"));
        assert_eq!(mode("a/b"), mode("ordinary-dir"));
        assert_eq!(mode(PARTS_DIR) & 0o077, 0);
    }

    #[test]
    fn an_empty_file_is_placed_too() {
        let (dir, share) = fixture::share();
        let key = ContentKey { size_bytes: 0, id: ContentId(*blake3::hash(b"").as_bytes()) };
        let part = Partial::create(&share, key).expect("created");
        part.write_piece(0, b"").expect("nothing to write");
        part.place(&name("empty"), false).expect("placed");
        assert_eq!(tree(dir.path()), BTreeMap::from([("empty".to_owned(), String::new())]));
    }

    #[test]
    fn a_file_is_replaced_with_force_and_not_without() {
        let (dir, share) = fixture::share();
        fs::write(dir.path().join("f"), b"old").expect("written");
        let (part, error) = written(&share).expect("written").place(&name("f"), false).expect_err("exists");
        assert_eq!(error, PartialError::Exists { name: name("f"), what: "a file" });
        assert_eq!(fs::read(dir.path().join("f")).expect("read"), b"old");
        part.place(&name("f"), true).expect("the same part can be placed with force");
        assert_eq!(fs::read(dir.path().join("f")).expect("read"), BYTES);
    }

    #[test]
    fn what_is_no_file_is_never_replaced_and_no_link_followed() {
        let outside = tempfile::tempdir().expect("a directory");
        fs::write(outside.path().join("victim"), b"victim").expect("written");
        let (dir, share) = fixture::share();
        let path = |name: &str| dir.path().join(name);
        fs::create_dir(path("dir")).expect("made");
        fs::write(path("file"), b"file").expect("written");
        symlink(outside.path().join("victim"), path("link")).expect("linked");
        symlink(outside.path(), path("out")).expect("linked");
        symlink("dir", path("in")).expect("linked");
        symlink(outside.path().join("new"), path("dangling")).expect("linked");
        mknodat(CWD, path("fifo"), FileType::Fifo, Mode::RWXU, 0).expect("made");
        let (before, before_outside) = (tree(dir.path()), tree(outside.path()));
        for target in [
            "dir",
            "link",
            "dangling",
            "fifo",
            "out/f",
            "out/victim",
            "out/new/f",
            "in/f",
            "file/f",
            "fifo/f",
        ] {
            for force in [false, true] {
                let error = download(&share, target, force).expect_err(target);
                assert!(matches!(error, PartialError::Exists { .. }), "{target}: {error:?}");
                assert_eq!(tree(dir.path()), before, "{target}");
                assert_eq!(tree(outside.path()), before_outside, "{target}");
            }
        }
    }

    #[test]
    fn a_parts_directory_that_is_none_is_refused() {
        let outside = tempfile::tempdir().expect("a directory");
        let (dir, share) = fixture::share();
        symlink(outside.path(), dir.path().join(PARTS_DIR)).expect("linked");
        assert_eq!(Partial::create(&share, key()).expect_err("a link"), PartialError::PartsDirectory);
        assert!(tree(outside.path()).is_empty());
        fs::remove_file(dir.path().join(PARTS_DIR)).expect("removed");
        fs::write(dir.path().join(PARTS_DIR), b"").expect("written");
        assert_eq!(Partial::create(&share, key()).expect_err("a file"), PartialError::PartsDirectory);
    }

    #[test]
    fn a_left_over_part_is_used_anew_and_never_written_through_another_name() {
        let (dir, share) = fixture::share();
        let part_path = dir.path().join(PARTS_DIR).join(part_name(key()));
        let part = Partial::create(&share, key()).expect("created");
        part.write_piece(0, BYTES).expect("written");
        part.keep();
        assert_eq!(fs::read(&part_path).expect("kept"), BYTES);
        fs::hard_link(&part_path, dir.path().join("other")).expect("linked");
        let part = Partial::create(&share, key()).expect("created anew");
        assert_eq!(fs::read(&part_path).expect("read"), [0; 5]);
        drop(part);
        assert_eq!(tree(dir.path()), BTreeMap::from([("other".to_owned(), "hello".to_owned())]));
    }

    #[test]
    fn a_content_is_downloaded_once_at_a_time() {
        let (_dir, share) = fixture::share();
        let first = Partial::create(&share, key()).expect("created");
        assert_eq!(Partial::create(&share, key()).expect_err("in use"), PartialError::InProgress);
        first.write_piece(0, BYTES).expect("the first one is left alone");
        first.place(&name("f"), false).expect("placed");
        Partial::create(&share, key()).expect("free again");
    }

    #[test]
    fn a_size_beyond_the_disk_is_refused_before_anything_is_made() {
        let exbibyte = ContentKey { size_bytes: 1 << 60, ..key() };
        let (dir, share, disk) = faulty(FaultyDisk::new());
        let error = Partial::create(&share, exbibyte).expect_err("no disk is so large");
        assert!(
            matches!(error, PartialError::NoSpace { needed_bytes, .. } if needed_bytes == 1 << 60),
            "{error:?}"
        );
        assert_eq!((disk.count(Op::Create), tree(dir.path()).len()), (0, 0));

        for (free_bytes, fits) in [(4, false), (5, true)] {
            let (_dir, share, _disk) = faulty(FaultyDisk::new().claim_free_bytes(free_bytes));
            assert_eq!(Partial::create(&share, key()).is_ok(), fits, "{free_bytes} bytes free");
        }
    }

    #[test]
    fn a_full_disk_at_any_write_is_told_and_leaves_nothing() {
        for errno in [Errno::NOSPC, Errno::DQUOT, Errno::FBIG] {
            for nth in 1..=BYTES.len() {
                let script =
                    FaultyDisk::new().short_writes(1).fail_from(Op::Write, nth, errno).claim_free_bytes(7);
                let (dir, share, disk) = faulty(script);
                let error = download(&share, "f", false).expect_err("full");
                let expected = match errno {
                    Errno::FBIG => PartialError::TooLarge { needed_bytes: 5, errno },
                    errno => PartialError::NoSpace { needed_bytes: 5, free_bytes: 7, errno },
                };
                assert_eq!(error, expected);
                assert_eq!((disk.count(Op::Write), tree(dir.path()).len()), (nth, 0));
            }
        }
    }

    #[test]
    fn short_and_interrupted_writes_lose_nothing() {
        let (dir, share, disk) = faulty(
            FaultyDisk::new().short_writes(1).fail(Op::Write, 2, Errno::INTR).fail(Op::Write, 5, Errno::INTR),
        );
        let stop = Stop::new().expect("a descriptor");
        let part = written(&share).expect("written");
        assert_eq!(disk.count(Op::Write), BYTES.len() + 2);
        assert_eq!(part.whole_md5(&stop).expect("read").to_string(), "5d41402abc4b2a76b9719d911017c592");
        part.place(&name("f"), false).expect("placed");
        assert_eq!(fs::read(dir.path().join("f")).expect("read"), BYTES);
    }

    #[test]
    fn a_disk_that_takes_nothing_is_an_error_and_no_endless_loop() {
        let (_dir, share, _disk) = faulty(FaultyDisk::new().short_writes(0));
        assert_eq!(
            download(&share, "f", false).expect_err("nothing is written"),
            PartialError::Disk { op: Op::Write, errno: Errno::IO }
        );
    }

    /// Downloads to `a/b/f`, with a file `old` there and force, or without; each call of the disk that is
    /// made then fails once. Whatever fails, it is told, nothing is left behind, and the file is as it was
    /// (or new and whole, where `new_stays` says so).
    fn check_every_fault(replace: bool, script: fn() -> FaultyDisk, new_stays: fn(Op) -> bool) {
        let prepare = |dir: &TempDir| {
            if replace {
                fs::create_dir_all(dir.path().join("a/b")).expect("made");
                fs::write(dir.path().join("a/b/f"), b"old").expect("written");
            }
        };
        let (dir, share, disk) = faulty(script());
        prepare(&dir);
        download(&share, "a/b/f", replace).expect("placed");
        let calls = disk.calls();
        for (index, op) in calls.iter().copied().enumerate() {
            let nth = calls[..=index].iter().filter(|call| **call == op).count();
            if op == Op::RenameNoReplace && calls.contains(&Op::Link) {
                continue; // That call fails already: it is why there is a link.
            }
            let (dir, share, _disk) = faulty(script().fail(op, nth, Errno::IO));
            prepare(&dir);
            let mut expected = tree(dir.path());
            let result = download(&share, "a/b/f", replace);
            assert_eq!(result, Err(PartialError::Disk { op, errno: Errno::IO }), "call {index}, {op:?}");
            if new_stays(op) {
                expected.insert("a/b/f".to_owned(), "hello".to_owned());
            }
            assert_eq!(tree(dir.path()), expected, "call {index}, {op:?}");
        }
    }

    #[test]
    fn after_any_fault_everything_is_as_before() {
        check_every_fault(false, FaultyDisk::new, |_| false);
    }

    #[test]
    fn after_any_fault_a_file_to_be_replaced_is_old_or_new_and_whole() {
        check_every_fault(true, FaultyDisk::new, |op| op == Op::SyncDir);
    }

    #[test]
    fn without_renaming_that_does_not_replace_it_is_done_by_link() {
        let script = || FaultyDisk::new().fail_from(Op::RenameNoReplace, 1, Errno::INVAL);
        check_every_fault(false, script, |_| false);
        let (dir, share, disk) = faulty(script());
        download(&share, "f", false).expect("placed");
        assert_eq!(tree(dir.path()), BTreeMap::from([("f".to_owned(), "hello".to_owned())]));
        assert_eq!((disk.count(Op::Link), disk.count(Op::Rename)), (1, 0));
    }

    #[test]
    fn a_file_that_came_to_be_meanwhile_is_not_replaced() {
        let (_dir, share, _disk) = faulty(FaultyDisk::new().fail(Op::RenameNoReplace, 1, Errno::EXIST));
        let error = download(&share, "f", false).expect_err("exists");
        assert!(matches!(error, PartialError::Exists { .. }), "{error:?}");
    }

    #[test]
    fn a_part_whose_sync_failed_is_never_placed_and_never_kept() {
        let (dir, share, disk) = faulty(FaultyDisk::new().fail(Op::SyncFile, 1, Errno::IO));
        let failed = PartialError::Disk { op: Op::SyncFile, errno: Errno::IO };
        let (part, error) =
            written(&share).expect("written").place(&name("f"), false).expect_err("not synced");
        assert_eq!(error, failed);
        let (part, error) = part.place(&name("f"), false).expect_err("still not");
        assert_eq!((error, disk.count(Op::SyncFile)), (failed, 1));
        part.keep();
        assert!(tree(dir.path()).is_empty());
    }

    #[test]
    fn a_share_that_cannot_be_written_to_says_so() {
        for (op, errno) in
            [(Op::MakeDir, Errno::ROFS), (Op::MakeDir, Errno::ACCESS), (Op::Create, Errno::PERM)]
        {
            let (dir, share, _disk) = faulty(FaultyDisk::new().fail_from(op, 1, errno));
            assert_eq!(
                download(&share, "f", false).expect_err("unwritable"),
                PartialError::Unwritable(errno)
            );
            assert!(tree(dir.path()).is_empty());
        }
    }

    #[test]
    fn a_share_removed_meanwhile_is_an_error_and_nothing_is_made_elsewhere() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("share");
        fs::create_dir(&path).expect("made");
        let share = Arc::new(Share::open(&path, Arc::new(RealDisk)).expect("a share"));
        fs::remove_dir(&path).expect("removed");
        fs::create_dir(&path).expect("another in its place");
        let error = download(&share, "f", false).expect_err("gone");
        assert!(matches!(error, PartialError::Disk { errno: Errno::NOENT, .. }), "{error:?}");
        assert!(tree(&path).is_empty() && !path.join(PARTS_DIR).exists());
    }
}
