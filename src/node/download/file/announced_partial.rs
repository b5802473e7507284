//! The partial file of a download, which outlives every early return.

use std::sync::Arc;

use super::disposition::Disposition;
use crate::store::{Partial, PartialError, Placed};
use crate::transfer::PartialAnnouncer;
use crate::types::FileName;

/// A partial file, and its announcement to other nodes. When it is dropped the file stays, and a restarted
/// node resumes the download. Every exit ends the announcement first: other nodes must not ask for pieces
/// that are gone.
#[derive(Debug)]
pub(crate) struct PartialFile {
    /// `None` once an exit was taken.
    part: Option<Arc<Partial>>,
    announcer: Option<PartialAnnouncer>,
}

impl PartialFile {
    pub(crate) fn new(part: Partial, announcer: PartialAnnouncer) -> PartialFile {
        PartialFile { part: Some(Arc::new(part)), announcer: Some(announcer) }
    }

    /// The file, and what announces its pieces. The threads of the download release the file when they end.
    pub(crate) fn parts(&mut self) -> (&Arc<Partial>, &mut PartialAnnouncer) {
        let parts = self.part.as_ref().zip(self.announcer.as_mut());
        parts.expect("an exit consumes the guard")
    }

    /// True while a thread of the download still uses the file.
    pub(crate) fn is_in_use(&self) -> bool {
        self.part.as_ref().is_some_and(|part| Arc::strong_count(part) > 1)
    }

    /// Removes the file and its record.
    pub(crate) fn discard(mut self) {
        if let Some(part) = self.take() {
            // A file that cannot be removed is hidden, and reused by the next download of the content.
            let _left_behind = part.discard();
        }
    }

    /// Leaves the file to the next download of the content. A restarted node does not resume it.
    pub(crate) fn quarantine(mut self) {
        if let Some(part) = self.take() {
            part.quarantine();
        }
    }

    /// Takes the exit that `disposition` names.
    pub(crate) fn dispose(self, disposition: Disposition) {
        match disposition {
            Disposition::Keep => drop(self),
            Disposition::Quarantine => self.quarantine(),
            Disposition::Discard => self.discard(),
        }
    }

    /// Makes the file the file `name` of its folder, durably. With `force` it replaces an ordinary file. The
    /// announcement continues until the announcer is dropped: publish the file before.
    ///
    /// # Errors
    /// [`PartialError`]; the file is quarantined then.
    pub(crate) fn place(
        mut self,
        name: &FileName,
        force: bool,
    ) -> Result<(Placed, Option<PartialAnnouncer>), PartialError> {
        let part = self.part.take().and_then(Arc::into_inner);
        let part = part.expect("the threads of the download have released the file");
        part.mark();
        match part.place(name, force) {
            Ok(placed) => Ok((placed, self.announcer.take())),
            Err((part, error)) => {
                self.announcer = None;
                part.quarantine();
                Err(error)
            }
        }
    }

    /// Ends the announcement; returns the file, unless a thread still uses it.
    fn take(&mut self) -> Option<Partial> {
        self.announcer = None;
        self.part.take().and_then(Arc::into_inner)
    }
}

impl Drop for PartialFile {
    fn drop(&mut self) {
        if let Some(part) = self.take() {
            part.keep();
        }
    }
}
