//! How a part becomes a file of the share: synced, renamed in one step, its directories synced, in this
//! order.
//!
//! Whatever fails, the final name holds what it held, or the whole content. A whole file of another folder
//! gets its new name in the same way.

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
use crate::store::share::{FileStamp, PathEntry, Share, open_regular, standing};
use crate::types::{ContentKey, FileName};

/// A download that is a file of the share now, durably.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    pub stamp: FileStamp,
}

/// Directories that a placement has made: each its parent's handle and its name, outermost first.
type Made<'a> = Vec<(OwnedFd, &'a str)>;

impl Partial {
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
                // A record without its part is harmless: the next start sweeps it.
                let _swept_later = self.remove(&[LeftoverPart::Wanted, LeftoverPart::SetAside]);
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
        made: &mut Made<'a>,
    ) -> Result<Placed, PartialError> {
        let part_name = LeftoverPart::Part.name(self.id());
        if !self.is_untouched(&part_name) {
            return Err(PartialError::Touched);
        }
        let placing =
            Placing { share: &self.claim.share, name, force, fault: &|op, errno| self.fault(op, errno) };
        placing.take(&self.parts_dir, &part_name, made)?;
        let stamp = FileStamp::of(&self.file)
            .map_err(|error| PartialError::Look { name: name.clone(), why: error.to_string() })?;
        Ok(Placed { stamp })
    }

    /// Returns true if and only if the name of the part still leads to the file that was written, at its full
    /// length. What others write into it cannot be told.
    fn is_untouched(&self, part_name: &str) -> bool {
        leads_to(&self.parts_dir, part_name, &self.file) && len_bytes(&self.file) == self.claim.key.size_bytes
    }
}

/// How a file that is synced gets its name in a share.
struct Placing<'p, 'a> {
    share: &'p Share,
    name: &'a FileName,
    /// An ordinary file at the name is replaced.
    force: bool,
    /// What an error of the system means.
    fault: &'p dyn Fn(Op, Errno) -> PartialError,
}

impl<'a> Placing<'_, 'a> {
    /// Takes the file called `from_name` in `from_dir`; both directories are synced then.
    fn take(&self, from_dir: &OwnedFd, from_name: &str, made: &mut Made<'a>) -> Result<(), PartialError> {
        let &Placing { share, name, force, fault } = self;
        let disk = share.disk();
        let (parents, last) = split(name);
        let dir = self.open_parents(parents, made)?;
        let exists = |what| Err(PartialError::Exists { name: name.clone(), what });
        let replace = match standing(&dir, last) {
            Ok(PathEntry::Nothing) => false,
            Ok(PathEntry::File(_)) if force => true,
            Ok(PathEntry::File(_)) => return exists("a file"),
            Ok(PathEntry::Other(what)) => return exists(what),
            Err(error) => return Err(PartialError::Look { name: name.clone(), why: error.to_string() }),
        };
        let from = At { dir: from_dir.as_fd(), name: from_name };
        let target = At { dir: dir.as_fd(), name: last };
        let renamed = match replace {
            true => disk.rename(from, target).map_err(|errno| (Op::Rename, errno)),
            false => move_no_replace(disk, from, target),
        };
        match renamed {
            Ok(()) => {}
            // Has come to be since it was looked at.
            Err((_, Errno::EXIST | Errno::ISDIR | Errno::NOTEMPTY)) => return exists("something else"),
            Err((op, errno)) => return Err(fault(op, errno)),
        }
        let parents = made.iter().rev().map(|(parent, _)| parent);
        for synced in [&dir].into_iter().chain(parents).chain([from_dir]) {
            if let Err(errno) = retry_on_intr(|| disk.sync_dir(synced.as_fd())) {
                if !replace {
                    // If this fails too the file stays; it is whole, but might not outlive a power cut, and
                    // the caller hears of that.
                    let _stays = move_no_replace(disk, target, from);
                }
                return Err(fault(Op::SyncDir, errno));
            }
        }
        Ok(())
    }

    /// Opens the directory that is to hold `name`, making what is missing on the way.
    fn open_parents(&self, parents: Option<&'a str>, made: &mut Made<'a>) -> Result<OwnedFd, PartialError> {
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
                    let _in_use = self.share.disk().remove_dir(At { dir: dir.as_fd(), name: component });
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

/// The directories above a file, if there are any, and its own name.
fn split(name: &FileName) -> (Option<&str>, &str) {
    match name.as_str().rsplit_once('/') {
        Some((parents, last)) => (Some(parents), last),
        None => (None, name.as_str()),
    }
}

/// Removes directories that a placement has made and has no use for any more.
fn remove_made(share: &Share, made: &Made<'_>) {
    for (parent, name) in made.iter().rev() {
        // Fails where somebody has put something in it meanwhile: then it is no longer ours.
        let _in_use = share.disk().remove_dir(At { dir: parent.as_fd(), name });
    }
}

/// Makes the file `name` of `from`, which has this content as long as it has this stamp, a download in `to`:
/// marked, synced, and moved in one step.
///
/// # Errors
/// [`PartialError`]: the file is where it was, and nothing was replaced.
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
    let _not_kept = to.disk().mark(&file, key.id);
    retry_on_intr(|| to.disk().sync_file(&file)).map_err(|errno| fault(Op::SyncFile, errno))?;
    let mut made = Made::new();
    let placing = Placing { share: to, name, force: false, fault: &fault };
    if let Err(error) = placing.take(&dir, last, &mut made) {
        remove_made(to, &made);
        return Err(error);
    }
    FileStamp::of(&file).map(|stamp| Placed { stamp }).map_err(look)
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
