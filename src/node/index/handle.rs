//! The handle through which other threads send events to the thread `indexer`.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, bounded, select};

use super::catalog::SharedFile;
use super::event::Event;
use crate::node::error::CommandError;
use crate::node::report::ScanSummary;
use crate::rt::Stop;
use crate::types::{ContentKey, FileEntry, FileName, Printable};

/// Events that may wait for the indexer. A sender waits while the queue is full; the indexer itself never
/// sends.
const EVENTS_MAX: usize = 1024;

/// Sends events to the indexer thread. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct IndexerHandle(Sender<Event>);

impl IndexerHandle {
    /// A new queue: the handle that sends, and both ends for the indexer, whose workers send too.
    pub(crate) fn channel() -> (IndexerHandle, (Sender<Event>, Receiver<Event>)) {
        let (sender, receiver) = bounded(EVENTS_MAX);
        (IndexerHandle(sender.clone()), (sender, receiver))
    }

    /// Scans the share and waits for the end of the scan.
    ///
    /// # Errors
    /// [`CommandError::Share`] if the share cannot be scanned; [`CommandError::Cancelled`], also when the
    /// indexer has ended.
    pub(crate) fn rescan(&self, cancel: &Stop) -> Result<ScanSummary, CommandError> {
        let scanned = self.ask(Event::Rescan, cancel)?;
        scanned.map_err(|why| CommandError::Share(Printable(&why).to_string()))
    }

    /// Compares the name with the disk, and returns the shared file called `name`; `None` if there is none.
    ///
    /// # Errors
    /// [`CommandError::Cancelled`], also when the indexer has ended.
    pub(crate) fn checked_file(
        &self,
        name: &FileName,
        cancel: &Stop,
    ) -> Result<Option<Arc<SharedFile>>, CommandError> {
        self.ask(|reply| Event::Check { name: name.clone(), reply }, cancel)
    }

    /// Requests that the indexer compares a file with the catalog. Does not wait: while the queue is full the
    /// request is dropped, and the next reader of the file or the next scan finds the change.
    pub(crate) fn look_again(&self, name: FileName) {
        self.0.try_send(Event::LookAgain { name }).ok();
    }

    /// Publishes a partial file with the present number of its pieces. Ignored when the indexer has ended.
    pub(crate) fn set_partial(&self, entry: FileEntry) {
        self.0.send(Event::Partial(entry)).ok();
    }

    /// Ends the publication of a partial file. Ignored when the indexer has ended.
    pub(crate) fn end_partial(&self, content: ContentKey) {
        self.0.send(Event::PartialEnded(content)).ok();
    }

    /// Adds a placed file to the catalog and waits until the indexer has done it. A cancel does not end this
    /// wait, as the file is in place already.
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
