//! `Partial`: a download in progress, and how it becomes a file of the share.
//!
//! It lives as `.nearpeer/<content id>.part` at the share's root. The final name holds nothing or the whole, synced content: never a
//! part of it, and never in place of another file unless that was asked for. One download at a time has a content's part.

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
    /// Set once a sync has failed. The system then holds the lost bytes for written and a second sync would succeed, so that nothing in
    /// this part can be trusted again.
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
    /// The disk, the quota or the largest file that may be made is too small.
    #[error("{needed_bytes} bytes are needed and {free_bytes} are free: {errno}")]
    NoSpace { needed_bytes: u64, free_bytes: u64, errno: Errno },
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
    /// An empty part of the content's full length, which takes no space yet. A part left by an earlier download is removed.
    ///
    /// # Errors
    /// [`PartialError`]. The free space is looked at before anything is made, so that a size which a peer has made up costs nothing.
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

    /// Makes the part the file `name`, with the directories above it: synced, renamed in one step, directories synced. Only an ordinary
    /// file is ever replaced, and that only with `force`.
    ///
    /// # Errors
    /// [`PartialError`] and the part, to keep or to discard. Directories made for it are gone again, and the name is as it was; only where
    /// a file was replaced and its directory could not be synced then, the new content stays at the name.
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

    /// Leaves the part where it is, for a later download of the content. One whose sync has failed is removed instead.
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
                    // If this fails too the file stays; it is whole, but might not outlive a power cut, and the caller hears of that.
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
        Errno::NOSPC | Errno::DQUOT | Errno::FBIG => {
            let free_bytes = share.disk().free_bytes(share.as_fd()).unwrap_or(0);
            PartialError::NoSpace { needed_bytes: key.size_bytes, free_bytes, errno }
        }
        Errno::ROFS | Errno::ACCESS | Errno::PERM => PartialError::Unwritable(errno),
        errno => PartialError::Disk { op, errno },
    }
}
