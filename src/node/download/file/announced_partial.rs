//! The partial file of a download together with its announcement. No early return loses the file.

use std::sync::Arc;

use super::disposition::Disposition;
use crate::store::{Partial, PartialError, Placed};
use crate::transfer::PartialAnnouncer;
use crate::types::FileName;

/// A partial file, and its announcement to other nodes. When it is dropped the file stays, and a restarted
/// node resumes the download. Every method that consumes the value first ends the announcement, except a
/// successful `place`: other nodes must not ask for pieces that are gone.
#[derive(Debug)]
pub(crate) struct AnnouncedPartial {
    /// `None` while the value is consumed.
    partial: Option<Arc<Partial>>,
    announcer: Option<PartialAnnouncer>,
}

impl AnnouncedPartial {
    pub(crate) fn new(partial: Partial, announcer: PartialAnnouncer) -> AnnouncedPartial {
        AnnouncedPartial { partial: Some(Arc::new(partial)), announcer: Some(announcer) }
    }

    /// The file, and what announces its pieces. A thread of the download keeps a clone of the file until the
    /// thread ends.
    pub(crate) fn file_and_announcer(&mut self) -> (&Arc<Partial>, &mut PartialAnnouncer) {
        let both = self.partial.as_ref().zip(self.announcer.as_mut());
        both.expect("only methods that consume the value take them out")
    }

    /// True while a thread of the download still uses the file.
    pub(crate) fn is_in_use(&self) -> bool {
        self.partial.as_ref().is_some_and(|partial| Arc::strong_count(partial) > 1)
    }

    /// Removes the file and its record. A file in use is quarantined instead: its thread may still read it.
    pub(crate) fn discard(mut self) {
        self.announcer = None;
        match self.partial.take().map(Arc::try_unwrap) {
            Some(Ok(partial)) => {
                // A file that cannot be removed is hidden, and reused by the next download of the content.
                let _left_behind = partial.discard();
            }
            Some(Err(in_use)) => in_use.quarantine_on_drop(),
            None => {}
        }
    }

    /// Leaves the file to the next download of the content. A restarted node does not resume it. For a file
    /// in use, the last thread that uses it does the work; a node that is killed before resumes it.
    pub(crate) fn quarantine(mut self) {
        self.announcer = None;
        if let Some(partial) = self.partial.take() {
            partial.quarantine_on_drop();
        }
    }

    /// Does with the file what `disposition` says.
    pub(crate) fn dispose(self, disposition: Disposition) {
        match disposition {
            Disposition::KeepResumable => drop(self),
            Disposition::Quarantine => self.quarantine(),
            Disposition::Discard => self.discard(),
        }
    }

    /// Makes the partial file the file `name` of its folder, durably. With `force` it replaces an ordinary
    /// file. The announcement continues until the caller drops the returned announcer: publish the file
    /// before.
    ///
    /// # Errors
    /// [`PartialError`]; the file is quarantined then.
    ///
    /// # Panics
    /// If the file is in use: a bug of the caller.
    pub(crate) fn place(
        mut self,
        name: &FileName,
        force: bool,
    ) -> Result<(Placed, Option<PartialAnnouncer>), PartialError> {
        let partial = self.partial.take().and_then(Arc::into_inner);
        let partial = partial.expect("the threads of the download have released the file");
        partial.mark();
        match partial.place(name, force) {
            Ok(placed) => Ok((placed, self.announcer.take())),
            Err((partial, error)) => {
                self.announcer = None;
                partial.quarantine();
                Err(error)
            }
        }
    }
}

impl Drop for AnnouncedPartial {
    fn drop(&mut self) {
        self.announcer = None;
        // A file in use is kept by the drop of its last user, unless the file is empty.
        if let Some(partial) = self.partial.take().and_then(Arc::into_inner) {
            partial.keep();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{self, RealDisk, Record, Share};
    use crate::transfer::PieceOffer;
    use crate::types::{ContentKey, FileEntry, Geometry, Manifest, PieceDigests};
    use std::fs::File;

    struct NoOffer;

    impl PieceOffer for NoOffer {
        fn begin(&self, _manifest: Arc<Manifest>, _file: Arc<File>) {}
        fn add(&self, _content: &ContentKey, _piece: u32) -> u32 {
            0
        }
        fn withhold_manifest(&self, _content: &ContentKey) {}
        fn publish(&self, _entry: FileEntry) {}
        fn end(&self, _content: &ContentKey) {}
    }

    #[test]
    fn a_restarted_node_does_not_resume_a_file_that_was_given_up_while_a_thread_used_it() {
        for give_up in [AnnouncedPartial::quarantine, AnnouncedPartial::discard] as [fn(_); 2] {
            let dir = tempfile::tempdir().expect("a directory");
            let share = Arc::new(Share::open(dir.path(), Arc::new(RealDisk)).expect("a share"));
            let digests = PieceDigests::of(&Geometry::of(3), 0, b"abc");
            let manifest = Arc::new(Manifest::of_hashed(3, vec![digests]));
            let (key, name) = (manifest.key(), FileName::new("a").expect("a name"));
            let partial = Partial::open(&share, key).expect("opened").partial;
            partial.write_piece(0, b"abc").expect("written");
            let record = Record { name, key, checksum: None, verify_whole: false, force: false, manifest };
            partial.write_record(&record).expect("written");
            let announcer = PartialAnnouncer::new(Arc::new(NoOffer), None, key, None);
            let mut announced = AnnouncedPartial::new(partial, announcer);
            let in_use = Arc::clone(announced.file_and_announcer().0);
            give_up(announced);
            drop(in_use);
            assert_eq!(store::resumable(&share), [], "its record is not resumable");
            let opened = Partial::open(&share, key).expect("opened");
            assert_eq!((opened.marked, opened.record), (vec![0], Some(record)), "the file is left");
        }
    }
}
