//! Placement: a partial file becomes a file of the share. It is synced, renamed in one step, and its
//! directories are synced, in this order.
//!
//! After any failure the final name holds what it held before, or the whole content. `take_over` moves a
//! complete file of another folder in the same way.

use std::io;
use std::mem;
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::{Errno, retry_on_intr};

use super::error::{self, PartialError};
use super::file::Partial;
use super::io::{leads_to, len_bytes};
use super::leftover::LeftoverPart;
use crate::store::disk::{At, Disk, Op};
use crate::store::openat;
use crate::store::share::{FileStamp, PathEntry, Share, open_regular, path_entry};
use crate::types::{ContentKey, FileName};

/// A download that is durably a file of the share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    /// Stamp of the file.
    pub stamp: FileStamp,
}

/// Directories that a placement has created: the handle of the parent and the name, outermost first.
type CreatedDirs<'a> = Vec<(OwnedFd, &'a str)>;

impl Partial {
    /// Makes the partial file the file `name`, and creates the directories above it. Only an ordinary file is
    /// replaced, and only with `force`.
    ///
    /// # Errors
    /// [`PartialError`] and the partial file, which the caller keeps or discards. The name and the
    /// directories are as before then, as far as the disk works, with one exception: if a file was replaced
    /// and then a directory could not be synced, the new content stays at the name.
    #[allow(clippy::result_large_err, reason = "once a download, and the caller needs the partial file back")]
    pub fn place(mut self, name: &FileName, force: bool) -> Result<Placed, (Partial, PartialError)> {
        let mut made = CreatedDirs::new();
        let placed = self.sync().and_then(|()| self.place_synced(name, force, &mut made));
        match placed {
            Ok(placed) => {
                self.settled = true;
                // A record that stays has no partial file: the next start of a node removes it.
                self.remove(&[LeftoverPart::Resumable, LeftoverPart::Quarantined]).ok();
                Ok(placed)
            }
            Err(error) => {
                remove_made(&self.claim.share, &made);
                Err((self, error))
            }
        }
    }

    fn place_synced<'a>(
        &self,
        name: &'a FileName,
        force: bool,
        made: &mut CreatedDirs<'a>,
    ) -> Result<Placed, PartialError> {
        let part_name = LeftoverPart::Partial.name(self.id());
        if !self.is_untouched(&part_name) {
            return Err(PartialError::Touched);
        }
        let placing =
            Placing { share: &self.claim.share, name, force, fault: &|op, errno| self.fault(op, errno) };
        placing.move_from(&self.partials_dir, &part_name, made)?;
        let stamp = FileStamp::of(&self.file)
            .map_err(|error| PartialError::Look { name: name.clone(), why: error.to_string() })?;
        Ok(Placed { stamp })
    }

    /// Returns true if and only if the name still leads to the file that was written, at its full length.
    /// Writes of other programs into it cannot be detected.
    fn is_untouched(&self, part_name: &str) -> bool {
        leads_to(&self.partials_dir, part_name, &self.file)
            && len_bytes(&self.file) == self.claim.key.size_bytes
    }
}

/// The placement of a synced file in a share.
struct Placing<'p, 'a> {
    share: &'p Share,
    name: &'a FileName,
    /// Whether an ordinary file at the name is replaced.
    force: bool,
    /// Makes an error of the system a [`PartialError`].
    fault: &'p dyn Fn(Op, Errno) -> PartialError,
}

impl<'a> Placing<'_, 'a> {
    /// Moves the file `from_name` of `from_dir` to the name, and syncs both directories.
    fn move_from(
        &self,
        from_dir: &OwnedFd,
        from_name: &str,
        made: &mut CreatedDirs<'a>,
    ) -> Result<(), PartialError> {
        let &Placing { share, name, force, fault } = self;
        let disk = share.disk();
        let (parents, last) = split(name);
        let dir = self.open_parents(parents, made)?;
        let exists = |what| Err(PartialError::Exists { name: name.clone(), what });
        let replace = match path_entry(&dir, last) {
            Ok(PathEntry::Nothing) => false,
            Ok(PathEntry::File(_)) if force => true,
            Ok(PathEntry::File(_)) => return exists("a file"),
            Ok(PathEntry::Other(what)) => return exists(what),
            Err(error) => return Err(PartialError::Look { name: name.clone(), why: error.to_string() }),
        };
        let from = At { dir: from_dir.as_fd(), name: from_name };
        let target = At { dir: dir.as_fd(), name: last };
        let renamed = if replace {
            disk.rename(from, target).map_err(|errno| (Op::Rename, errno))
        } else {
            move_no_replace(disk, from, target)
        };
        match renamed {
            Ok(()) => {}
            // The entry was created after the check above.
            Err((_, Errno::EXIST | Errno::ISDIR | Errno::NOTEMPTY)) => return exists("something else"),
            Err((op, errno)) => return Err(fault(op, errno)),
        }
        let parents = made.iter().rev().map(|(parent, _)| parent);
        for synced in [&dir].into_iter().chain(parents).chain([from_dir]) {
            if let Err(errno) = retry_on_intr(|| disk.sync_dir(synced.as_fd())) {
                if !replace {
                    // If this fails too, the file stays at its name. It is complete, but might not survive a
                    // power failure, and the caller gets the error.
                    move_no_replace(disk, target, from).ok();
                }
                return Err(fault(Op::SyncDir, errno));
            }
        }
        Ok(())
    }

    /// Opens the directory of `name`, and creates missing directories on the way.
    fn open_parents(
        &self,
        parents: Option<&'a str>,
        made: &mut CreatedDirs<'a>,
    ) -> Result<OwnedFd, PartialError> {
        let failed = |op| {
            move |errno| match errno {
                Errno::LOOP | Errno::NOTDIR => PartialError::Exists {
                    name: self.name.clone(),
                    what: "below something that is no directory",
                },
                errno => (self.fault)(op, errno),
            }
        };
        let mut dir = openat::open_dir(self.share, ".").map_err(failed(Op::MakeDir))?;
        for component in parents.into_iter().flat_map(|parents| parents.split('/')) {
            let mut is_new = false;
            let mut next = openat::open_dir(&dir, component);
            if next.as_ref().is_err_and(|errno| *errno == Errno::NOENT) {
                is_new = match self.share.disk().make_dir(dir.as_fd(), component, 0o777) {
                    Ok(()) => true,
                    Err(Errno::EXIST) => false,
                    Err(errno) => return Err(failed(Op::MakeDir)(errno)),
                };
                next = openat::open_dir(&dir, component);
                if is_new && next.is_err() {
                    // It is not in `made` yet.
                    self.share.disk().remove_dir(At { dir: dir.as_fd(), name: component }).ok();
                }
            }
            let parent = mem::replace(&mut dir, next.map_err(failed(Op::MakeDir))?);
            if is_new {
                made.push((parent, component));
            }
        }
        Ok(dir)
    }
}

/// The directories above a file, if there are any, and the last component of its name.
fn split(name: &FileName) -> (Option<&str>, &str) {
    match name.as_str().rsplit_once('/') {
        Some((parents, last)) => (Some(parents), last),
        None => (None, name.as_str()),
    }
}

/// Removes the directories that a failed placement has created.
fn remove_made(share: &Share, made: &CreatedDirs<'_>) {
    for (parent, name) in made.iter().rev() {
        // This fails if another program has created an entry in it. Then the directory stays.
        share.disk().remove_dir(At { dir: parent.as_fd(), name }).ok();
    }
}

/// Moves the complete file `name` from the folder `from` to the folder `to`, as if it were downloaded: marks
/// it, syncs it and renames it in one step. `stamp` is that of the file when it had content `key`.
///
/// # Errors
/// [`PartialError`]; the file stays in `from` if the disk lets it be moved back, and no file was replaced.
pub fn take_over(
    from: &Share,
    to: &Share,
    name: &FileName,
    key: ContentKey,
    stamp: &FileStamp,
) -> Result<Placed, PartialError> {
    let fault = |op, errno| error::fault(to, key, None, op, errno);
    let (parents, last) = split(name);
    let dir = openat::open_dir(from, parents.unwrap_or(".")).map_err(|errno| fault(Op::Open, errno))?;
    let look = |error: io::Error| PartialError::Look { name: name.clone(), why: error.to_string() };
    let open = open_regular(&dir, last).map_err(look)?;
    if open.stamp != *stamp {
        return Err(look(io::Error::other("it has changed")));
    }
    let file = open.file;
    // Not every file system supports marks.
    to.disk().mark(&file, key.id).ok();
    retry_on_intr(|| to.disk().sync_file(&file)).map_err(|errno| fault(Op::SyncFile, errno))?;
    let mut made = CreatedDirs::new();
    let placing = Placing { share: to, name, force: false, fault: &fault };
    if let Err(error) = placing.move_from(&dir, last, &mut made) {
        remove_made(to, &made);
        return Err(error);
    }
    FileStamp::of(&file).map(|stamp| Placed { stamp }).map_err(look)
}

/// Renames without replacing. If the file system does not support that, gives the file its second name and
/// removes the first.
fn move_no_replace(disk: &dyn Disk, from: At<'_>, to: At<'_>) -> Result<(), (Op, Errno)> {
    match disk.rename_no_replace(from, to) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            disk.link(from, to).map_err(|errno| (Op::Link, errno))?;
            disk.unlink(from).map_err(|errno| {
                // The file shall have its old name only. If this fails, it has both.
                disk.unlink(to).ok();
                (Op::Unlink, errno)
            })
        }
        renamed => renamed.map_err(|errno| (Op::RenameNoReplace, errno)),
    }
}
