//! `ShareFolders`: the folders of a node's files: one share, or a share for each kind of file, and perhaps a
//! separate directory for downloads.
//!
//! Each folder is a [`Share`] with its own handle, lock and partial files. So a file is never read or placed
//! outside the folder of its kind, and a partial file is on the file system of its target. If several folders
//! have a file of one name, the first folder hides the others. A folder that is removed or replaced while the
//! node runs is opened again by the next scan, and created again by the next file placed in it.
//!
//! Invariant: no two folders are the same directory, except that in the flat layout local and downloaded
//! files share a folder.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;

use super::disk::Disk;
use super::hash::{HashError, Hashed};
use super::share::{FileStamp, Share, ShareError};
use super::xattr;
use crate::types::{FileName, FileOrigin, Layout, path_text};

/// The folders of one node.
#[derive(Debug)]
pub struct ShareFolders {
    layout: Layout,
    /// The directory that the user has named. Locked in every layout.
    base: Arc<Share>,
    /// The folder of each kind that exists, in the order of the kinds. In the flat layout the folder of
    /// replicas is created with the first replica.
    held: Mutex<[Option<Arc<Share>>; 3]>,
    saved: Option<Saved>,
    /// The folders are open for reading only: no file can be placed.
    is_read_only: bool,
}

/// A separate directory for downloads.
#[derive(Debug)]
struct Saved {
    share: Arc<Share>,
    /// Its path beneath the base, if it is there.
    beneath: Option<String>,
    /// The name that every download gets there.
    name: Option<FileName>,
}

/// The file that is published under a name.
#[derive(Debug)]
pub struct Visible {
    /// The kind of its folder, see [`Layout::unmarked`].
    pub kind: FileOrigin,
    /// Its folder.
    pub share: Arc<Share>,
    /// Its stamp.
    pub stamp: FileStamp,
}

impl ShareFolders {
    /// Opens and locks the directory at `path`, the folders of the layout in it, which are created if they
    /// are missing, and `save_dir`, if given. Both paths may be symbolic links, the folders must not.
    ///
    /// # Errors
    /// [`ShareError`]: there is no directory, another node has one, or one cannot be read, created or locked.
    pub fn open(
        path: &Path,
        layout: Layout,
        save_dir: Option<&Path>,
        disk: Arc<dyn Disk>,
    ) -> Result<ShareFolders, ShareError> {
        let base = Arc::new(Share::open(path, Arc::clone(&disk))?);
        let mut folders =
            ShareFolders { layout, base, held: Mutex::default(), saved: None, is_read_only: false };
        for kind in FileOrigin::ALL {
            match (layout, kind) {
                // An error is reported when the folder is needed.
                (Layout::Flat, FileOrigin::Replicated) => _ = folders.renewed(kind, false),
                _ => _ = folders.renewed(kind, true)?,
            }
        }
        folders.saved = save_dir.map(|dir| folders.open_saved(path, dir, disk)).transpose()?.flatten();
        Ok(folders)
    }

    /// The directory at `path` for a guest, which only lists and downloads, see [`Share::open_as_guest`].
    ///
    /// # Errors
    /// [`ShareError`]: there is no directory, a node shares it now, or it cannot be read.
    pub fn open_as_guest(path: &Path, disk: Arc<dyn Disk>) -> Result<ShareFolders, ShareError> {
        Ok(ShareFolders::of_guest(Share::open_as_guest(path, disk)?, None))
    }

    /// The directory at `path` for the download of a single file `name`. A node may share it at the same
    /// time.
    ///
    /// # Errors
    /// [`ShareError`]: there is no directory, or it cannot be read.
    pub fn open_single_file(
        path: &Path,
        name: FileName,
        disk: Arc<dyn Disk>,
    ) -> Result<ShareFolders, ShareError> {
        Ok(ShareFolders::of_guest(Share::open_read_only(path, disk)?.with_private_partials(), Some(name)))
    }

    /// The folders of the directory at `path` for a caller that only reads: creates and locks nothing, and
    /// ignores nodes that share it. Without `layout` it is split if the three folders of the split layout
    /// exist.
    ///
    /// # Errors
    /// [`ShareError`]: there is no directory, or it cannot be read.
    pub fn open_read_only(
        path: &Path,
        layout: Option<Layout>,
        disk: Arc<dyn Disk>,
    ) -> Result<ShareFolders, ShareError> {
        let base = Arc::new(Share::open_read_only(path, disk)?);
        let folder_in = |layout: Layout, kind| match layout.folder(kind) {
            "." => Some(Arc::clone(&base)),
            folder => base.open_beneath(folder).ok().map(Arc::new),
        };
        let is_split = || FileOrigin::ALL.into_iter().all(|kind| folder_in(Layout::Split, kind).is_some());
        let layout = layout.unwrap_or_else(|| if is_split() { Layout::Split } else { Layout::Flat });
        let held = Mutex::new(FileOrigin::ALL.map(|kind| folder_in(layout, kind)));
        Ok(ShareFolders { layout, base, held, saved: None, is_read_only: true })
    }

    /// The kind of a file in the folder of `kind` when it was placed. Does not check whether it has changed
    /// since.
    pub fn kind_once(&self, kind: FileOrigin, share: &Share, name: &FileName) -> FileOrigin {
        let is_marked = share.open_file(name).is_ok_and(|open| xattr::of(&open.file).is_some());
        if is_marked { self.layout.marked(kind) } else { kind }
    }

    /// Folders that share no file: downloads are in a separate directory.
    fn of_guest(base: Share, name: Option<FileName>) -> ShareFolders {
        let base = Arc::new(base);
        let saved = Some(Saved { share: Arc::clone(&base), beneath: None, name });
        ShareFolders { layout: Layout::Flat, base, held: Mutex::default(), saved, is_read_only: false }
    }

    /// Opens the separate directory for downloads. `None` if it is the folder of downloads anyway.
    fn open_saved(&self, path: &Path, dir: &Path, disk: Arc<dyn Disk>) -> Result<Option<Saved>, ShareError> {
        let shown = || path_text(dir);
        let io = |error: io::Error| ShareError::Io { path: shown(), why: error.to_string() };
        let is_folder = |folder: &Arc<Share>| folder.is_directory(dir);
        if self.of(FileOrigin::Downloaded).as_ref().is_some_and(is_folder) {
            return Ok(None);
        }
        let own = FileOrigin::ALL.into_iter().filter_map(|kind| self.of(kind));
        if own.chain([Arc::clone(&self.base)]).any(|folder| is_folder(&folder)) {
            let why = "the share has it for other files: save downloads in another directory".into();
            return Err(ShareError::Io { path: shown(), why });
        }
        let share = Arc::new(Share::open(dir, disk)?);
        let (real, base) = (fs::canonicalize(dir).map_err(io)?, fs::canonicalize(path).map_err(io)?);
        let beneath = real.strip_prefix(base).ok().and_then(|beneath| beneath.to_str().map(str::to_owned));
        Ok(Some(Saved { share, beneath, name: None }))
    }

    /// The directory that the user has named.
    pub fn base(&self) -> &Arc<Share> {
        &self.base
    }

    /// The layout of the folders.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// The folders whose files are published, in order of precedence, each with the kind of its files without
    /// a mark.
    pub fn shared(&self) -> Vec<(FileOrigin, Arc<Share>)> {
        let kinds = FileOrigin::ALL.into_iter().filter(|kind| self.layout.unmarked(*kind) == *kind);
        kinds.filter_map(|kind| self.of(kind).map(|share| (kind, share))).collect()
    }

    /// The folder of published files of this kind; `None` if it does not exist yet.
    pub fn of(&self, kind: FileOrigin) -> Option<Arc<Share>> {
        self.held.lock()[kind as usize].clone()
    }

    /// Opens folders that were removed or replaced again. Returns the errors of folders that cannot be used;
    /// these are left out until they can be used.
    pub fn renew(&self) -> Vec<ShareError> {
        FileOrigin::ALL.into_iter().filter_map(|kind| self.renewed(kind, false).err()).collect()
    }

    /// Opens the folder of this kind as it is now. If it is missing, it is created or the result is `None`.
    fn renewed(&self, kind: FileOrigin, make: bool) -> Result<Option<Arc<Share>>, ShareError> {
        let renewed = self.reopened(kind, make);
        self.held.lock()[kind as usize] = renewed.as_ref().ok().cloned().flatten();
        renewed
    }

    fn reopened(&self, kind: FileOrigin, make: bool) -> Result<Option<Arc<Share>>, ShareError> {
        let path = self.layout.folder(kind);
        if path == "." {
            return Ok(Some(Arc::clone(&self.base)));
        }
        let held = self.of(kind).filter(|share| self.base.has_beneath(path, share));
        if held.is_some() {
            return Ok(held);
        }
        let opened = match if make { self.base.make_beneath(path) } else { self.base.open_beneath(path) } {
            Err(ShareError::NoSuchDirectory { .. }) if !make => return Ok(None),
            opened => opened?,
        };
        Ok(Some(Arc::new(match self.layout {
            // No lock is needed: no other node uses `.nearpeer` while this node has locked the base.
            Layout::Flat => opened,
            Layout::Split => opened.locked()?,
        })))
    }

    /// The folder in which fetched files of this kind are placed. Creates it if it is missing.
    ///
    /// # Errors
    /// [`ShareError`]: it cannot be created or locked, or is open for reading only.
    pub fn target(&self, kind: FileOrigin) -> Result<Arc<Share>, ShareError> {
        if self.is_read_only {
            let path = self.layout.folder(kind).to_owned();
            return Err(ShareError::Io { path, why: "it is open for reading only".into() });
        }
        match &self.saved {
            Some(saved) if kind == FileOrigin::Downloaded => Ok(Arc::clone(&saved.share)),
            _ => self.renewed(kind, true).map(|folder| folder.unwrap_or_else(|| Arc::clone(&self.base))),
        }
    }

    /// The folder of downloads, as it was last opened.
    pub fn downloads(&self) -> Arc<Share> {
        let saved = self.saved.as_ref().map(|saved| Arc::clone(&saved.share));
        saved.or_else(|| self.of(FileOrigin::Downloaded)).unwrap_or_else(|| Arc::clone(&self.base))
    }

    /// The existing folders in which fetched files are placed: those with partial files.
    pub fn targets(&self) -> Vec<Arc<Share>> {
        [Some(self.downloads()), self.of(FileOrigin::Replicated)].into_iter().flatten().collect()
    }

    /// Whether files of this kind are placed in a separate directory that is no shared folder, as downloads
    /// of a guest are.
    pub fn saves_apart(&self, kind: FileOrigin) -> bool {
        kind == FileOrigin::Downloaded && self.saved.is_some()
    }

    /// The name in the target folder of a file that is fetched as `name`.
    pub fn placed_as<'a>(&'a self, kind: FileOrigin, name: &'a FileName) -> &'a FileName {
        let saved = self.saved.as_ref().filter(|_| kind == FileOrigin::Downloaded);
        saved.and_then(|saved| saved.name.as_ref()).unwrap_or(name)
    }

    /// The kind and name under which a file is published that is placed as `name` in the target of its kind;
    /// `None` if it is not published.
    pub fn published(&self, kind: FileOrigin, name: &FileName) -> Option<(FileOrigin, FileName)> {
        match self.saved.as_ref().filter(|_| kind == FileOrigin::Downloaded) {
            None => Some((kind, name.clone())),
            Some(saved) => {
                let beneath = saved.beneath.as_ref()?;
                let (folder, name) = self.layout.published(&format!("{beneath}/{}", name.as_str()))?;
                Some((self.layout.marked(folder), name))
            }
        }
    }

    /// The file that is published under `name`: that of the first folder which has one.
    ///
    /// # Errors
    /// As of [`Share::open_file`]. An error of an earlier folder hides the file of a later one, except if the
    /// earlier folder has no file.
    pub fn visible(&self, name: &FileName) -> io::Result<Visible> {
        let mut absent = io::Error::from(ErrorKind::NotFound);
        for (kind, share) in self.shared() {
            match share.open_file(name) {
                Ok(open) => return Ok(Visible { kind, share, stamp: open.stamp }),
                Err(error) if is_absence(&error) => absent = error,
                Err(error) => return Err(error),
            }
        }
        Err(absent)
    }

    /// The kind of a file that was hashed in the folder of `kind`.
    ///
    /// # Errors
    /// [`HashError::Spoiled`] if it is a replica whose content has changed: it must not be published.
    pub fn kind_of(&self, kind: FileOrigin, hashed: &Hashed) -> Result<FileOrigin, HashError> {
        match hashed.mark {
            Some(mark) if mark == hashed.manifest.key().id => Ok(self.layout.marked(kind)),
            Some(_) if kind == FileOrigin::Replicated => Err(HashError::Spoiled),
            _ => Ok(kind),
        }
    }
}

fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::InvalidInput)
}

#[cfg(test)]
mod tests;
