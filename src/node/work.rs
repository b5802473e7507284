//! What the core has the worker pool do: look at a file, compute a whole-file MD5. Runs on a worker; its result is an event for the core.

use super::core::Event;
use crate::rt::Stop;
use crate::store::hash::{HashError, Hashed, hash_file, whole_md5};
use crate::store::share::{FileStamp, Share};
use crate::types::FileName;

/// Work for the pool.
#[derive(Debug)]
pub(super) enum Task {
    /// Hash the file, unless it looks like `known`.
    Look { name: FileName, known: Option<FileStamp> },
    /// Compute the MD5 of the whole file that had this stamp.
    Md5 { name: FileName, stamp: FileStamp },
}

/// What a worker found at a name.
#[derive(Debug)]
pub(super) enum Look {
    AsKnown,
    Hashed(Hashed),
    Failed(HashError),
}

impl Task {
    /// Does the work.
    pub(super) fn run(self, share: &Share, stop: &Stop) -> Event {
        match self {
            Task::Look { name, known } => Event::Looked { outcome: look(share, &name, known, stop), name },
            Task::Md5 { name, stamp } => {
                let opened = share.open_file(&name);
                match opened.and_then(|open| whole_md5(&open.file, stamp.size_bytes, stop)) {
                    Ok(md5) => Event::Md5 { name, stamp, md5 },
                    // It cannot be read any more: find out what it is now.
                    Err(_) => Event::Looked { outcome: look(share, &name, None, stop), name },
                }
            }
        }
    }
}

fn look(share: &Share, name: &FileName, known: Option<FileStamp>, stop: &Stop) -> Look {
    if known.is_some() && share.open_file(name).is_ok_and(|open| Some(open.stamp) == known) {
        return Look::AsKnown;
    }
    match hash_file(share, name, stop) {
        Ok(hashed) => Look::Hashed(hashed),
        Err(error) => Look::Failed(error),
    }
}
