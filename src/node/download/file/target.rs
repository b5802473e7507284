//! Where a download is placed, under which name it is published, and which own file makes it unnecessary.

use std::io::ErrorKind;
use std::sync::Arc;

use crate::node::context::Context;
use crate::node::download::error::{disk_error, read_error};
use crate::node::error::{CommandError, DownloadError};
use crate::node::index::catalog::SharedFile;
use crate::rt::Stop;
use crate::store::{self, HashError, PathEntry, Share, ShareFolders, hash_file};
use crate::types::{FileEntry, FileName, FileOrigin};

/// The place of a download: the folder of its origin, and its name there.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) origin: FileOrigin,
    /// The name in the folder.
    pub(crate) name: FileName,
    folders: Arc<ShareFolders>,
    pub(crate) folder: Arc<Share>,
    /// The origin and name that the file is published with; `None`: it is not shared.
    pub(crate) shared_as: Option<(FileOrigin, FileName)>,
}

/// A folder in which a file of the target's name matters.
struct Rival {
    folder: Arc<Share>,
    /// The file would be placed in this folder.
    is_target: bool,
}

impl Target {
    /// The target of a download of this origin that was requested as `name`.
    ///
    /// # Errors
    /// [`DownloadError::Disk`] if its folder cannot be opened or created.
    pub(crate) fn new(
        folders: &Arc<ShareFolders>,
        origin: FileOrigin,
        name: &FileName,
    ) -> Result<Target, DownloadError> {
        let folder = folders
            .target(origin)
            .map_err(|error| DownloadError::Disk { name: name.clone(), why: error.to_string() })?;
        let name = folders.placed_as(origin, name).clone();
        let shared_as = folders.published(origin, &name);
        Ok(Target { origin, name, folders: Arc::clone(folders), folder, shared_as })
    }

    /// Finds the own file that makes a download of its content unnecessary: a file at the target, a file of
    /// that name which is published instead of it, or a replica that can be moved to the target.
    ///
    /// # Errors
    /// [`DownloadError::Disk`] if it cannot be read, [`CommandError::Cancelled`].
    pub(crate) fn find_own_file(
        &self,
        context: &Context,
        cancel: &Stop,
    ) -> Result<Option<Arc<SharedFile>>, DownloadError> {
        let mut is_on_disk = false;
        for rival in self.rivals() {
            is_on_disk |= matches!(self.entry_in(&rival.folder)?, PathEntry::File(_));
        }
        let Some((_, name)) = &self.shared_as else {
            return if is_on_disk { self.hash_target(cancel) } else { Ok(None) };
        };
        // A replica lies in none of the rivals of a download, so the catalog is asked too.
        if !is_on_disk && context.state.catalog.read().get(name).is_none() {
            return Ok(None);
        }
        let own = context.indexer.checked_file(name, cancel)?;
        Ok(own.filter(|own| (is_on_disk && self.is_in_place(own)) || self.can_take_over(own)))
    }

    /// Returns true if and only if the file need not be moved to be the requested file: its origin is that of
    /// the target, or one that is published before it.
    pub(crate) fn is_in_place(&self, own: &SharedFile) -> bool {
        let layout = self.folders.layout();
        layout.unmarked(own.origin) <= layout.unmarked(self.origin)
    }

    fn can_take_over(&self, own: &SharedFile) -> bool {
        (self.origin, own.origin) == (FileOrigin::Downloaded, FileOrigin::Replicated)
            && !self.folders.saves_apart(self.origin)
    }

    /// Moves the replica `own` to the target. It is a file of the user then, and stays shared.
    ///
    /// # Errors
    /// [`DownloadError::Disk`], [`DownloadError::NoSpace`] or [`DownloadError::Exists`] if the replica cannot
    /// be moved; [`CommandError::Cancelled`] if the node stops after the move.
    pub(crate) fn take_over(&self, context: &Context, own: &SharedFile) -> Result<(), DownloadError> {
        let replicas = self.folders.of(FileOrigin::Replicated);
        let replicas = replicas.ok_or_else(|| read_error(&self.name, &ErrorKind::NotFound.into()))?;
        let placed = store::take_over(&replicas, &self.folder, &self.name, own.entry.key(), &own.stamp)
            .map_err(|error| disk_error(&self.name, &error))?;
        let attributes = FileEntry::attributes_of(false);
        let file = SharedFile {
            entry: Arc::new(FileEntry { attributes, ..FileEntry::clone(&own.entry) }),
            origin: self.origin,
            manifest: Arc::clone(&own.manifest),
            stamp: placed.stamp,
            racy: own.racy,
            claimants: own.claimants.clone(),
        };
        context
            .notices
            .inform(format!("`{}` was kept here for others: it is a file of yours now", self.name));
        Ok(context.indexer.add_placed(file)?)
    }

    /// Refuses a download that could not be placed, before anything is fetched; `Partial::place` checks the
    /// target again. With `force` a file at the target may be replaced, and a downloaded file may be hidden
    /// by a file that is published instead of it. A replica is never in the way.
    ///
    /// # Errors
    /// [`DownloadError::Exists`] and [`DownloadError::Disk`].
    pub(crate) fn refuse_to_overwrite(&self, force: bool) -> Result<(), DownloadError> {
        for Rival { is_target, folder } in self.rivals() {
            let is_free = match self.entry_in(&folder)? {
                PathEntry::Nothing => true,
                PathEntry::File(_) => force && (is_target || self.origin != FileOrigin::Replicated),
                PathEntry::Other(_) => !is_target,
            };
            if !is_free {
                return Err(DownloadError::Exists { name: self.name.clone() });
            }
        }
        Ok(())
    }

    /// The folder of the target, and the folders whose files are published before those of the target.
    fn rivals(&self) -> Vec<Rival> {
        if self.folders.saves_apart(self.origin) {
            return vec![Rival { folder: Arc::clone(&self.folder), is_target: true }];
        }
        let target = self.folders.layout().unmarked(self.origin);
        let shared = self.folders.shared().into_iter().filter(|(origin, _)| *origin <= target);
        shared.map(|(origin, folder)| Rival { folder, is_target: origin == target }).collect()
    }

    fn entry_in(&self, folder: &Share) -> Result<PathEntry, DownloadError> {
        folder.path_entry(&self.name).map_err(|error| read_error(&self.name, &error))
    }

    /// Hashes the file at the target, which the catalog does not have. `None`: it changes while it is read,
    /// is too large or is a spoiled replica, so it cannot be the requested file.
    fn hash_target(&self, cancel: &Stop) -> Result<Option<Arc<SharedFile>>, DownloadError> {
        match hash_file(&self.folder, &self.name, cancel) {
            Ok(hashed) => Ok(Some(Arc::new(SharedFile::hashed(&self.name, self.origin, hashed)))),
            Err(HashError::Stopped) => Err(CommandError::Cancelled.into()),
            Err(HashError::Io(error)) => Err(read_error(&self.name, &error)),
            Err(HashError::Changing | HashError::TooLarge(_) | HashError::Spoiled) => Ok(None),
        }
    }
}
