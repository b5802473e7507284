//! Publishes the events of one download.

use std::time::Instant;

use crate::logic::progress::DownloadReporter;
use crate::proto::event::DownloadEvent;
use crate::rt::clock;
use crate::types::FileName;

/// The events of one download, and where they go.
pub(super) struct DownloadEvents<'a> {
    /// Makes the events.
    pub(super) reporter: DownloadReporter,
    /// Receives the events. It must not wait.
    pub(super) publish: &'a mut dyn FnMut(DownloadEvent),
}

impl DownloadEvents<'_> {
    /// For a download of `name`.
    pub(super) fn new<'a>(name: &FileName, publish: &'a mut dyn FnMut(DownloadEvent)) -> DownloadEvents<'a> {
        DownloadEvents { reporter: DownloadReporter::new(name.clone()), publish }
    }

    /// Publishes the event that `make` returns for the present time.
    pub(super) fn publish(&mut self, make: impl FnOnce(&mut DownloadReporter, Instant) -> DownloadEvent) {
        (self.publish)(make(&mut self.reporter, clock::now()));
    }
}
