//! `ShareFolders`: the folders of a node's files, one for each origin, or one for several origins (see
//! [`Layout`]). There may be a separate directory for downloads.
//!
//! Each folder is a [`Share`] with its own handle and partial files. So a file is never read or placed
//! outside the folder of its origin, and a partial file is on the file system of its target. If several
//! folders have a file of one name, the file of the first folder is published. If a folder is removed or
//! replaced while the node runs, the next scan opens it again, and the next file that is placed in it
//! creates it again.
//!
//! Invariant: no two folders are the same directory, except that in the flat layout local and downloaded
//! files share a folder.

use std::collections::BTreeMap;
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
    /// The folder of each origin, if it exists. In the flat layout the folder of replicas is created with the
    /// first replica.
    held: Mutex<BTreeMap<FileOrigin, Arc<Share>>>,
    save_dir: Option<SaveDir>,
    /// The folders are open for reading only: no file can be placed.
    is_read_only: bool,
}

/// A separate directory for downloads.
#[derive(Debug)]
struct SaveDir {
    share: Arc<Share>,
    /// Its path beneath the base, if it is beneath the base.
    beneath: Option<String>,
    /// The name that every download gets there; `None`: its own.
    name: Option<FileName>,
}

/// The file that is published under a name.
#[derive(Debug)]
pub struct Visible {
    /// The origin of its folder, see [`Layout::unmarked`].
    pub origin: FileOrigin,
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
            ShareFolders { layout, base, held: Mutex::default(), save_dir: None, is_read_only: false };
        for origin in FileOrigin::ALL {
            match (layout, origin) {
                // Most nodes keep no replicas. An error is reported when the folder is needed.
                (Layout::Flat, FileOrigin::Replicated) => _ = folders.renew_folder(origin, false),
                _ => _ = folders.renew_folder(origin, true)?,
            }
        }
        folders.save_dir = save_dir.map(|dir| folders.open_save_dir(path, dir, disk)).transpose()?.flatten();
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
        let folder_in = |layout: Layout, origin| match layout.folder(origin) {
            "." => Some(Arc::clone(&base)),
            folder => base.open_beneath(folder).ok().map(Arc::new),
        };
        let is_split =
            || FileOrigin::ALL.into_iter().all(|origin| folder_in(Layout::Split, origin).is_some());
        let layout = layout.unwrap_or_else(|| if is_split() { Layout::Split } else { Layout::Flat });
        let folders =
            FileOrigin::ALL.into_iter().filter_map(|origin| Some((origin, folder_in(layout, origin)?)));
        let held = Mutex::new(folders.collect());
        Ok(ShareFolders { layout, base, held, save_dir: None, is_read_only: true })
    }

    /// The origin that a file in the folder of `origin` had when it was placed. The file may have changed
    /// since.
    pub fn origin_when_placed(&self, origin: FileOrigin, share: &Share, name: &FileName) -> FileOrigin {
        let is_marked = share.open_file(name).is_ok_and(|open| xattr::of(&open.file).is_some());
        if is_marked { self.layout.marked(origin) } else { origin }
    }

    /// The folders of a guest, which shares no file: `base` is its separate directory for downloads.
    fn of_guest(base: Share, name: Option<FileName>) -> ShareFolders {
        let base = Arc::new(base);
        let save_dir = Some(SaveDir { share: Arc::clone(&base), beneath: None, name });
        ShareFolders { layout: Layout::Flat, base, held: Mutex::default(), save_dir, is_read_only: false }
    }

    /// Opens the separate directory for downloads. `None` if it is the folder of downloads anyway.
    fn open_save_dir(
        &self,
        path: &Path,
        dir: &Path,
        disk: Arc<dyn Disk>,
    ) -> Result<Option<SaveDir>, ShareError> {
        let escaped = || path_text(dir);
        let io = |error: io::Error| ShareError::Io { path: escaped(), why: error.to_string() };
        let is_folder = |folder: &Arc<Share>| folder.is_directory(dir);
        if self.of(FileOrigin::Downloaded).as_ref().is_some_and(is_folder) {
            return Ok(None);
        }
        let folders = FileOrigin::ALL.into_iter().filter_map(|origin| self.of(origin));
        if folders.chain([Arc::clone(&self.base)]).any(|folder| is_folder(&folder)) {
            let why = "the share has it for other files: save downloads in another directory".into();
            return Err(ShareError::Io { path: escaped(), why });
        }
        let share = Arc::new(Share::open(dir, disk)?);
        let (real, base) = (fs::canonicalize(dir).map_err(io)?, fs::canonicalize(path).map_err(io)?);
        let beneath = real.strip_prefix(base).ok().and_then(|beneath| beneath.to_str().map(str::to_owned));
        Ok(Some(SaveDir { share, beneath, name: None }))
    }

    /// The directory that the user has named.
    pub fn base(&self) -> &Arc<Share> {
        &self.base
    }

    /// The layout of the folders.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// The folders whose files are published, in order of precedence, each with the origin of its unmarked
    /// files.
    pub fn shared(&self) -> Vec<(FileOrigin, Arc<Share>)> {
        // A folder of two origins is listed once.
        let origins = FileOrigin::ALL.into_iter().filter(|origin| self.layout.unmarked(*origin) == *origin);
        origins.filter_map(|origin| self.of(origin).map(|share| (origin, share))).collect()
    }

    /// The folder of published files of this origin; `None` if it does not exist yet.
    pub fn of(&self, origin: FileOrigin) -> Option<Arc<Share>> {
        self.held.lock().get(&origin).cloned()
    }

    /// Opens folders again that were removed or replaced. Returns the errors of folders that cannot be used;
    /// these are left out until they can be used.
    pub fn renew(&self) -> Vec<ShareError> {
        FileOrigin::ALL.into_iter().filter_map(|origin| self.renew_folder(origin, false).err()).collect()
    }

    /// Opens the folder of this origin as it is now. If it is missing, it is created (`create`), or the
    /// result is `None`.
    fn renew_folder(&self, origin: FileOrigin, create: bool) -> Result<Option<Arc<Share>>, ShareError> {
        let opened = self.reopen(origin, create);
        let mut held = self.held.lock();
        match &opened {
            Ok(Some(folder)) => _ = held.insert(origin, Arc::clone(folder)),
            Ok(None) | Err(_) => _ = held.remove(&origin),
        }
        opened
    }

    fn reopen(&self, origin: FileOrigin, create: bool) -> Result<Option<Arc<Share>>, ShareError> {
        let path = self.layout.folder(origin);
        if path == "." {
            return Ok(Some(Arc::clone(&self.base)));
        }
        let held = self.of(origin).filter(|share| self.base.has_beneath(path, share));
        if held.is_some() {
            return Ok(held);
        }
        let opened = match if create { self.base.make_beneath(path) } else { self.base.open_beneath(path) } {
            Err(ShareError::NoSuchDirectory { .. }) if !create => return Ok(None),
            opened => opened?,
        };
        Ok(Some(Arc::new(match self.layout {
            // No lock is needed: no other node uses `.nearpeer` while this node has locked the base.
            Layout::Flat => opened,
            Layout::Split => opened.locked()?,
        })))
    }

    /// The folder in which fetched files of this origin are placed. Creates it if it is missing.
    ///
    /// # Errors
    /// [`ShareError`]: it cannot be created or locked, or is open for reading only.
    pub fn target(&self, origin: FileOrigin) -> Result<Arc<Share>, ShareError> {
        if self.is_read_only {
            let path = self.layout.folder(origin).to_owned();
            return Err(ShareError::Io { path, why: "it is open for reading only".into() });
        }
        match &self.save_dir {
            Some(save_dir) if origin == FileOrigin::Downloaded => Ok(Arc::clone(&save_dir.share)),
            _ => {
                let folder = self.renew_folder(origin, true)?;
                Ok(folder.unwrap_or_else(|| Arc::clone(&self.base)))
            }
        }
    }

    /// The folder in which downloads are placed, as it was last opened.
    pub fn downloads(&self) -> Arc<Share> {
        let save_dir = self.save_dir.as_ref().map(|save_dir| Arc::clone(&save_dir.share));
        save_dir.or_else(|| self.of(FileOrigin::Downloaded)).unwrap_or_else(|| Arc::clone(&self.base))
    }

    /// The existing folders in which fetched files are placed: those with partial files.
    pub fn targets(&self) -> Vec<Arc<Share>> {
        [Some(self.downloads()), self.of(FileOrigin::Replicated)].into_iter().flatten().collect()
    }

    /// Returns true if and only if files of this origin are placed in a separate directory, as downloads of a
    /// guest are.
    pub fn saves_apart(&self, origin: FileOrigin) -> bool {
        origin == FileOrigin::Downloaded && self.save_dir.is_some()
    }

    /// The name in the target folder of a file that is fetched as `name`.
    pub fn placed_as<'a>(&'a self, origin: FileOrigin, name: &'a FileName) -> &'a FileName {
        let save_dir = self.save_dir.as_ref().filter(|_| origin == FileOrigin::Downloaded);
        save_dir.and_then(|save_dir| save_dir.name.as_ref()).unwrap_or(name)
    }

    /// The origin and the name under which a file is published that is placed as `name` in the target of its
    /// origin; `None` if it is not published.
    pub fn published(&self, origin: FileOrigin, name: &FileName) -> Option<(FileOrigin, FileName)> {
        match self.save_dir.as_ref().filter(|_| origin == FileOrigin::Downloaded) {
            None => Some((origin, name.clone())),
            Some(save_dir) => {
                let beneath = save_dir.beneath.as_ref()?;
                let (folder, name) = self.layout.published(&format!("{beneath}/{}", name.as_str()))?;
                Some((self.layout.marked(folder), name))
            }
        }
    }

    /// The file that is published under `name`: that of the first folder that has one.
    ///
    /// # Errors
    /// As [`Share::open_file`]. If a folder has an entry that cannot be read, the later folders are not
    /// searched: their file is not the one that is published.
    pub fn visible(&self, name: &FileName) -> io::Result<Visible> {
        let mut absent = io::Error::from(ErrorKind::NotFound);
        for (origin, share) in self.shared() {
            match share.open_file(name) {
                Ok(open) => return Ok(Visible { origin, share, stamp: open.stamp }),
                Err(error) if is_absence(&error) => absent = error,
                Err(error) => return Err(error),
            }
        }
        Err(absent)
    }

    /// The origin of a file that was hashed in the folder of `origin`.
    ///
    /// # Errors
    /// [`HashError::Spoiled`] if it is a replica whose content has changed: it must not be published.
    pub fn origin_of(&self, origin: FileOrigin, hashed: &Hashed) -> Result<FileOrigin, HashError> {
        match hashed.mark {
            Some(mark) if mark == hashed.manifest.key().id => Ok(self.layout.marked(origin)),
            Some(_) if origin == FileOrigin::Replicated => Err(HashError::Spoiled),
            _ => Ok(origin),
        }
    }
}

/// Returns true if and only if the folder has no regular file at the name.
fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::InvalidInput)
}

#[cfg(test)]
mod tests;
