//! Work that the indexer gives to the worker pool: look at a name, compute the MD5 of a whole file. The
//! result is an event for the indexer.

use std::io::ErrorKind;

use super::event::{Event, LookOutcome};
use crate::rt::Stop;
use crate::store::ShareFolders;
use crate::store::hash::{hash_file, whole_md5};
use crate::store::share::FileStamp;
use crate::types::{FileName, FileOrigin};

/// Work for a worker.
#[derive(Debug)]
pub(crate) enum Task {
    /// Hash the file under the name. With `known` the file is not hashed if it still has this origin and
    /// stamp.
    Look { name: FileName, known: Option<(FileOrigin, FileStamp)> },
    /// Compute the MD5 of a whole file of that origin, which had this stamp when it was placed.
    Md5 { name: FileName, origin: FileOrigin, stamp: FileStamp },
}

impl Task {
    /// Does the work.
    pub(crate) fn run(self, folders: &ShareFolders, stop: &Stop) -> Event {
        match self {
            Task::Look { name, known } => Event::Looked { outcome: look(folders, &name, known, stop), name },
            Task::Md5 { name, origin, stamp } => {
                let folder = folders.of(origin).ok_or_else(|| ErrorKind::NotFound.into());
                let opened = folder.and_then(|folder| folder.open_file(&name));
                match opened.and_then(|open| whole_md5(&open.file, stamp.size_bytes, stop)) {
                    Ok(md5) => Event::Md5 { name, stamp, md5 },
                    // The file cannot be read any more: the outcome says what is there now.
                    Err(_) => Event::Looked { outcome: look(folders, &name, None, stop), name },
                }
            }
        }
    }
}

fn look(
    folders: &ShareFolders,
    name: &FileName,
    known: Option<(FileOrigin, FileStamp)>,
    stop: &Stop,
) -> LookOutcome {
    let visible = match folders.visible(name) {
        Ok(visible) => visible,
        Err(error) => return LookOutcome::Failed(error.into()),
    };
    if known.is_some_and(|(origin, stamp)| {
        (folders.layout().unmarked(origin), stamp) == (visible.origin, visible.stamp)
    }) {
        return LookOutcome::Unchanged;
    }
    let hashed = hash_file(&visible.share, name, stop)
        .and_then(|hashed| Ok(LookOutcome::Hashed(folders.origin_of(visible.origin, &hashed)?, hashed)));
    hashed.unwrap_or_else(LookOutcome::Failed)
}
