//! Makes the events of a download, and adds to them what follows from earlier events, such as the rate.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::reducer::DownloadProgress;
use crate::proto::event::DownloadEvent;
use crate::types::{ContentKey, FileName, Ranked};

/// Makes the events of the download of one file, one method for each kind. The caller publishes them.
#[derive(Debug)]
pub struct DownloadReporter {
    name: FileName,
    progress: DownloadProgress,
}

impl DownloadReporter {
    /// A reporter for a download of `name` that has no event yet.
    pub fn new(name: FileName) -> DownloadReporter {
        DownloadReporter { name, progress: DownloadProgress::default() }
    }

    fn apply(&mut self, event: DownloadEvent, now: Instant) -> DownloadEvent {
        self.progress.apply(&event, now);
        event
    }

    /// The event that the sources of `content` are ranked, best first.
    pub fn ranked(&mut self, content: ContentKey, ranking: Vec<Ranked>, now: Instant) -> DownloadEvent {
        let ContentKey { size_bytes, id: b3 } = content;
        self.apply(DownloadEvent::Ranked { name: self.name.clone(), b3, ranking, size_bytes }, now)
    }

    /// The event that the download chose `content`, which `holders` live nodes have whole. `others`: the
    /// number of other contents with the name.
    pub fn chose(&self, content: ContentKey, holders: usize, others: usize) -> DownloadEvent {
        let ContentKey { size_bytes, id: b3 } = content;
        let (holders, others) = (holders as u64, others as u64);
        DownloadEvent::Chose { name: self.name.clone(), b3, holders, others, size_bytes }
    }

    /// The event that the download waits for other downloads.
    pub fn waiting(&self) -> DownloadEvent {
        DownloadEvent::Waiting { name: self.name.clone() }
    }

    /// The event that an earlier download has left `marked_bytes`.
    pub fn resumed(&mut self, marked_bytes: u64, now: Instant) -> DownloadEvent {
        self.apply(DownloadEvent::Resumed { name: self.name.clone(), marked_bytes }, now)
    }

    /// The event that the download now fetches from the source at `addr` too.
    pub fn source(&mut self, addr: SocketAddr, now: Instant) -> DownloadEvent {
        let event = self.apply(DownloadEvent::Source { name: self.name.clone(), addr, sources: 0 }, now);
        self.with_sources(event)
    }

    /// The event that the download has left the source at `addr`. Without `why` the source has no fault.
    pub fn left(&mut self, addr: SocketAddr, why: Option<String>, now: Instant) -> DownloadEvent {
        let event = self.apply(DownloadEvent::Left { name: self.name.clone(), addr, sources: 0, why }, now);
        self.with_sources(event)
    }

    /// The event with the number of sources after it.
    fn with_sources(&self, mut event: DownloadEvent) -> DownloadEvent {
        if let DownloadEvent::Source { sources, .. } | DownloadEvent::Left { sources, .. } = &mut event {
            *sources = self.progress.sources() as u64;
        }
        event
    }

    /// The event that `done_bytes` of `total_bytes` are verified and written. `fetched_bytes` of them came
    /// from sources in this run.
    pub fn bytes(
        &mut self,
        done_bytes: u64,
        total_bytes: u64,
        fetched_bytes: u64,
        now: Instant,
    ) -> DownloadEvent {
        self.progress.apply_bytes(done_bytes, total_bytes, fetched_bytes, now);
        self.progress.bytes_event(self.name.clone(), now)
    }

    /// The event that all sources have failed. Retry `round` of `of` begins after `pause`.
    pub fn retry(&self, round: u32, of: u32, pause: Duration) -> DownloadEvent {
        let pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        DownloadEvent::Retry { name: self.name.clone(), of, pause_ms, round }
    }

    /// The event that the download hashes the whole file.
    pub fn hashing(&self) -> DownloadEvent {
        DownloadEvent::Hashing { name: self.name.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::event::Event;
    use crate::rt::clock;
    use crate::types::ContentId;

    #[test]
    fn events_have_the_number_of_sources_in_use() {
        let addr = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let (mut reporter, now) = (DownloadReporter::new(FileName::new("a").expect("a name")), clock::now());
        let sources = |event| match event {
            DownloadEvent::Source { sources, .. }
            | DownloadEvent::Left { sources, .. }
            | DownloadEvent::Bytes { sources, .. } => sources,
            other => panic!("{other:?}"),
        };
        assert_eq!(sources(reporter.source(addr(1), now)), 1);
        assert_eq!(sources(reporter.source(addr(2), now)), 2);
        assert_eq!(sources(reporter.left(addr(1), None, now)), 1);
        assert_eq!(sources(reporter.bytes(1, 2, 1, now)), 1);
    }

    #[test]
    fn each_event_has_the_name_and_fits_the_schema() {
        let name = FileName::new("a.bin").expect("a name");
        let content = ContentKey { size_bytes: 7, id: ContentId([0xcd; 32]) };
        let (addr, now) = (SocketAddr::from(([127, 0, 0, 1], 5002)), clock::now());
        let mut reporter = DownloadReporter::new(name.clone());
        for event in [
            reporter.ranked(content, vec![], now),
            reporter.chose(content, 3, 1),
            reporter.resumed(5, now),
            reporter.source(addr, now),
            reporter.left(addr, Some("closed".into()), now),
            reporter.retry(1, 4, Duration::from_millis(1500)),
            reporter.waiting(),
            reporter.hashing(),
            reporter.bytes(7, 7, 7, now),
        ] {
            assert_eq!(event.name(), &name);
            // In tests a line is checked against the schema.
            Event::from(event).at(0).to_line();
        }
    }
}
