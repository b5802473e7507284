//! Requests to the indexer thread from other threads.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, bounded, select};

use super::catalog::SharedFile;
use super::event::Event;
use crate::node::error::CommandError;
use crate::node::report::ScanSummary;
use crate::rt::Stop;
use crate::types::{ContentKey, FileEntry, FileName, Printable};

/// Events that may wait for the indexer. A sender waits when the queue is full; the indexer never waits.
const EVENTS_MAX: usize = 1024;

/// Sends events to the indexer thread. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct IndexerHandle(Sender<Event>);

impl IndexerHandle {
    /// A new queue: its sending side, and what the indexer receives from it.
    pub(crate) fn channel() -> (IndexerHandle, (Sender<Event>, Receiver<Event>)) {
        let (sender, receiver) = bounded(EVENTS_MAX);
        (IndexerHandle(sender.clone()), (sender, receiver))
    }

    /// Scans the share and waits for the end of the scan.
    ///
    /// # Errors
    /// [`CommandError::Share`], or [`CommandError::Cancelled`].
    pub(crate) fn rescan(&self, cancel: &Stop) -> Result<ScanSummary, CommandError> {
        let scanned = self.ask(Event::Rescan, cancel)?;
        scanned.map_err(|why| CommandError::Share(Printable(&why).to_string()))
    }

    /// The shared file called `name`, compared with the disk just now; `None` if there is none.
    ///
    /// # Errors
    /// [`CommandError::Cancelled`].
    pub(crate) fn checked_file(
        &self,
        name: &FileName,
        cancel: &Stop,
    ) -> Result<Option<Arc<SharedFile>>, CommandError> {
        self.ask(|reply| Event::Check { name: name.clone(), reply }, cancel)
    }

    /// Has the indexer compare a file with the catalog. Does not wait: the request is dropped while the queue
    /// is full, as the indexer is busy with such work then.
    pub(crate) fn look_again(&self, name: FileName) {
        let _indexer_is_busy = self.0.try_send(Event::LookAgain { name });
    }

    /// Publishes that some pieces of a content are here.
    pub(crate) fn set_partial(&self, entry: FileEntry) {
        let _indexer_has_ended = self.0.send(Event::Partial(entry));
    }

    /// Ends the publication of a partial content.
    pub(crate) fn end_partial(&self, content: ContentKey) {
        let _indexer_has_ended = self.0.send(Event::PartialEnded(content));
    }

    /// Adds a placed file to the catalog and waits until it is there. A cancelled command waits too, as the
    /// file is in place already.
    ///
    /// # Errors
    /// [`CommandError::Cancelled`] when the indexer has ended.
    pub(crate) fn add_placed(&self, file: SharedFile) -> Result<(), CommandError> {
        let (reply, answer) = bounded(1);
        self.0.send(Event::Placed { file, reply }).map_err(|_| CommandError::Cancelled)?;
        answer.recv().map_err(|_| CommandError::Cancelled)
    }

    fn ask<T>(&self, event: impl FnOnce(Sender<T>) -> Event, cancel: &Stop) -> Result<T, CommandError> {
        let (reply, answer) = bounded(1);
        select! {
            send(self.0, event(reply)) -> sent => sent.map_err(|_| CommandError::Cancelled)?,
            recv(cancel.receiver()) -> _ => return Err(CommandError::Cancelled),
        }
        select! {
            recv(answer) -> answer => answer.map_err(|_| CommandError::Cancelled),
            recv(cancel.receiver()) -> _ => Err(CommandError::Cancelled),
        }
    }
}
