//! Where a download is placed, under which name it is published, and what is there already.

use std::io::ErrorKind;
use std::sync::Arc;

use crate::node::context::Context;
use crate::node::download::error::{disk_error, read_error};
use crate::node::error::{CommandError, DownloadError};
use crate::node::index::catalog::SharedFile;
use crate::rt::Stop;
use crate::store::{self, HashError, PathEntry, Share, ShareFolders, hash_file};
use crate::types::{FileEntry, FileName, FileOrigin};

/// A kind of file, a name, and the folder of that kind.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) kind: FileOrigin,
    /// The name in the folder.
    pub(crate) name: FileName,
    folders: Arc<ShareFolders>,
    pub(crate) folder: Arc<Share>,
    /// The kind and name that the file is published with; `None`: it is not shared.
    pub(crate) shared_as: Option<(FileOrigin, FileName)>,
}

impl Target {
    /// The target of a file of this kind.
    ///
    /// # Errors
    /// [`DownloadError::Disk`] if its folder cannot be made.
    pub(crate) fn of(
        folders: &Arc<ShareFolders>,
        kind: FileOrigin,
        name: &FileName,
    ) -> Result<Target, DownloadError> {
        let folder = folders
            .target(kind)
            .map_err(|error| DownloadError::Disk { name: name.clone(), why: error.to_string() })?;
        let name = folders.placed_as(kind, name).clone();
        let shared_as = folders.published(kind, &name);
        Ok(Target { kind, name, folders: Arc::clone(folders), folder, shared_as })
    }

    /// The own file of that name that makes a download of its content unnecessary: a file at the target, one
    /// that is published instead of it, or a replica that the target can take over.
    ///
    /// # Errors
    /// [`DownloadError::Disk`] if it cannot be read, [`CommandError::Cancelled`].
    pub(crate) fn own(
        &self,
        context: &Context,
        cancel: &Stop,
    ) -> Result<Option<Arc<SharedFile>>, DownloadError> {
        let mut is_here = false;
        for (_, folder) in self.rivals() {
            is_here |= matches!(self.standing_in(&folder)?, PathEntry::File(_));
        }
        let Some((_, name)) = &self.shared_as else {
            return if is_here { self.hashed(cancel) } else { Ok(None) };
        };
        // A file that was removed by another program stays in the catalog until the next scan.
        if !is_here && context.state.catalog.read().get(name).is_none() {
            return Ok(None);
        }
        let own = context.indexer.checked_file(name, cancel)?;
        Ok(own.filter(|own| is_here && self.is_in_place(own) || self.can_take_over(own)))
    }

    /// Returns true if and only if `own` needs no change to be the requested file.
    pub(crate) fn is_in_place(&self, own: &SharedFile) -> bool {
        let layout = self.folders.layout();
        layout.unmarked(own.kind) <= layout.unmarked(self.kind)
    }

    fn can_take_over(&self, own: &SharedFile) -> bool {
        (self.kind, own.kind) == (FileOrigin::Downloaded, FileOrigin::Replicated)
            && !self.folders.saves_apart(self.kind)
    }

    /// Moves the own replica to the target. It is a file of the user then, and stays shared.
    ///
    /// # Errors
    /// [`DownloadError`]; the replica is where it was.
    pub(crate) fn take_over(&self, context: &Context, own: &SharedFile) -> Result<(), DownloadError> {
        let replicas = self.folders.of(FileOrigin::Replicated);
        let replicas = replicas.ok_or_else(|| read_error(&self.name, &ErrorKind::NotFound.into()))?;
        let placed = store::take_over(&replicas, &self.folder, &self.name, own.entry.key(), &own.stamp)
            .map_err(|error| disk_error(&self.name, &error))?;
        let attributes = FileEntry::attributes_of(false);
        let file = SharedFile {
            entry: Arc::new(FileEntry { attributes, ..FileEntry::clone(&own.entry) }),
            kind: self.kind,
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

    /// Refuses a download that could not be placed, before anything is fetched; placing checks the target
    /// again. With `force` a file at the target may be replaced, and a downloaded file may be hidden by a
    /// file that is published instead of it. A replica is never in the way.
    ///
    /// # Errors
    /// [`DownloadError::Exists`] and [`DownloadError::Disk`].
    pub(crate) fn refuse_to_overwrite(&self, force: bool) -> Result<(), DownloadError> {
        for (is_target, folder) in self.rivals() {
            let is_free = match self.standing_in(&folder)? {
                PathEntry::Nothing => true,
                PathEntry::File(_) => force && (is_target || self.kind != FileOrigin::Replicated),
                PathEntry::Other(_) => !is_target,
            };
            if !is_free {
                return Err(DownloadError::Exists { name: self.name.clone() });
            }
        }
        Ok(())
    }

    /// The folders in which a file of this name is in the way, each with true if it is the target's.
    fn rivals(&self) -> Vec<(bool, Arc<Share>)> {
        if self.folders.saves_apart(self.kind) {
            return vec![(true, Arc::clone(&self.folder))];
        }
        let target = self.folders.layout().unmarked(self.kind);
        let shared = self.folders.shared().into_iter().filter(|(kind, _)| *kind <= target);
        shared.map(|(kind, folder)| (kind == target, folder)).collect()
    }

    fn standing_in(&self, folder: &Share) -> Result<PathEntry, DownloadError> {
        folder.path_entry(&self.name).map_err(|error| read_error(&self.name, &error))
    }

    /// The file at the target, which is in no catalog. `None`: it cannot be the requested file.
    fn hashed(&self, cancel: &Stop) -> Result<Option<Arc<SharedFile>>, DownloadError> {
        match hash_file(&self.folder, &self.name, cancel) {
            Ok(hashed) => Ok(Some(Arc::new(SharedFile::hashed(&self.name, self.kind, hashed)))),
            Err(HashError::Stopped) => Err(CommandError::Cancelled.into()),
            Err(HashError::Io(error)) => Err(read_error(&self.name, &error)),
            Err(HashError::Changing | HashError::TooLarge(_) | HashError::Spoiled) => Ok(None),
        }
    }
}
