//! How a part becomes a file of the share: synced, renamed in one step, its directories synced, in this order.
//!
//! Whatever fails, the final name holds what it held, or the whole content.

use std::mem;
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::{Errno, retry_on_intr};

use super::{Left, Partial, PartialError, Placed, leads_to, len_bytes};
use crate::store::beneath;
use crate::store::disk::{At, Disk, Op};
use crate::store::share::{FileStamp, Standing, standing};
use crate::types::FileName;

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
                let _swept_later = self.remove(&[Left::Wanted, Left::SetAside]);
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
        let part_name = Left::Part.name(self.id());
        let part = At { dir: self.parts_dir.as_fd(), name: &part_name };
        if !self.is_untouched(&part_name) {
            return Err(PartialError::Touched);
        }
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

    /// Returns true if and only if the name of the part still leads to the file that was written, at its full length. What others write
    /// into it cannot be told.
    fn is_untouched(&self, part_name: &str) -> bool {
        leads_to(&self.parts_dir, part_name, &self.file) && len_bytes(&self.file) == self.claim.key.size_bytes
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
