//! The state of a download, computed from its events. The job table, the terminal and the web pages use it.
//!
//! Rate and time left count fetched bytes only. Bytes that an earlier download left are verified again; they
//! change neither.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::rate::Rate;
use crate::proto::event::DownloadEvent;
use crate::types::{ContentKey, FileName, Geometry};

/// The state of one download.
#[derive(Debug, Default, Clone)]
pub struct DownloadProgress {
    content: Option<ContentKey>,
    sources: BTreeSet<SocketAddr>,
    /// Bytes that an earlier download left. They are verified again, and perhaps not fetched.
    marked_bytes: u64,
    /// Bytes that are verified and written.
    pub done_bytes: u64,
    /// Size of the content; 0 while it is not known.
    pub total_bytes: u64,
    /// The part of `done_bytes` that came from sources in this run.
    pub fetched_bytes: u64,
    rate: Rate,
}

impl DownloadProgress {
    /// Applies the next event of the download, which happened at `now`.
    pub fn apply(&mut self, event: &DownloadEvent, now: Instant) {
        match event {
            DownloadEvent::Ranked { b3, size_bytes, .. } => {
                let content = ContentKey { size_bytes: *size_bytes, id: *b3 };
                // The name means another content now: the download starts again.
                if self.content.replace(content).is_some_and(|before| before != content) {
                    *self = DownloadProgress { content: Some(content), ..DownloadProgress::default() };
                }
            }
            DownloadEvent::Resumed { marked_bytes, .. } => self.marked_bytes = *marked_bytes,
            DownloadEvent::Source { addr, .. } => {
                self.sources.insert(*addr);
                // The rate does not count the time before the first source.
                self.rate.start(self.fetched_bytes, now);
            }
            DownloadEvent::Left { addr, .. } => {
                self.sources.remove(addr);
            }
            DownloadEvent::Bytes { done_bytes, total_bytes, fetched_bytes, .. } => {
                self.apply_bytes(*done_bytes, *total_bytes, *fetched_bytes, now);
            }
            DownloadEvent::Chose { .. }
            | DownloadEvent::Waiting { .. }
            | DownloadEvent::Retry { .. }
            | DownloadEvent::Hashing { .. }
            | DownloadEvent::Done { .. }
            | DownloadEvent::Failed { .. } => {}
        }
    }

    pub(super) fn apply_bytes(
        &mut self,
        done_bytes: u64,
        total_bytes: u64,
        fetched_bytes: u64,
        now: Instant,
    ) {
        (self.done_bytes, self.total_bytes, self.fetched_bytes) = (done_bytes, total_bytes, fetched_bytes);
        self.rate.observe(fetched_bytes, now);
    }

    /// The bytes of the download of `name` at `now` as an event.
    pub fn bytes_event(&self, name: FileName, now: Instant) -> DownloadEvent {
        let whole_ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        DownloadEvent::Bytes {
            name,
            done_bytes: self.done_bytes,
            eta_ms: self.time_left(now).map(whole_ms),
            fetched_bytes: self.fetched_bytes,
            rate_bytes_per_s: self.rate_bytes_per_s(now),
            sources: self.sources() as u64,
            total_bytes: self.total_bytes,
        }
    }

    /// Number of sources in use.
    pub fn sources(&self) -> usize {
        self.sources.len()
    }

    /// The source in use; `None` if there are none or several.
    pub fn only_source(&self) -> Option<SocketAddr> {
        self.sources.first().copied().filter(|_| self.sources.len() == 1)
    }

    /// True if the file is known to have more than one piece. Of other files the user sees only the end, no
    /// progress.
    pub fn has_several_pieces(&self) -> bool {
        self.total_bytes > 0 && Geometry::of(self.total_bytes).count().is_none_or(|count| count > 1)
    }

    /// How many of `parts` equal parts of the total are done, rounded down: with 100 the percentage. 0 while
    /// the total is not known.
    pub fn done_of(&self, parts: u128) -> u64 {
        let done = (u128::from(self.done_bytes) * parts).checked_div(u128::from(self.total_bytes));
        done.and_then(|done| u64::try_from(done).ok()).unwrap_or(0)
    }

    /// Fetched bytes per second; `None` while it is not known.
    pub fn rate_bytes_per_s(&self, now: Instant) -> Option<u64> {
        self.rate.bytes_per_s(now)
    }

    /// The time until all bytes are fetched at the present rate; `None` while the rate is 0 or not known.
    pub fn time_left(&self, now: Instant) -> Option<Duration> {
        let missing = self.total_bytes.saturating_sub(self.done_bytes);
        let verified_again = self.done_bytes.saturating_sub(self.fetched_bytes);
        let to_fetch = missing.saturating_sub(self.marked_bytes.saturating_sub(verified_again));
        if missing == 0 {
            return Some(Duration::ZERO);
        }
        let rate = self.rate_bytes_per_s(now).filter(|rate| *rate > 0)?;
        let left_ms = u128::from(to_fetch) * 1000 / u128::from(rate);
        Some(Duration::from_millis(u64::try_from(left_ms).unwrap_or(u64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rt::clock;

    const MIB: u64 = 1 << 20;

    fn name() -> FileName {
        FileName::new("a").expect("a name")
    }

    fn addr(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    fn source(port: u16) -> DownloadEvent {
        DownloadEvent::Source { name: name(), addr: addr(port), sources: 1 }
    }

    fn left(port: u16, why: Option<&str>) -> DownloadEvent {
        DownloadEvent::Left { name: name(), addr: addr(port), sources: 1, why: why.map(str::to_owned) }
    }

    fn bytes(done_bytes: u64, total_bytes: u64, fetched_bytes: u64) -> DownloadEvent {
        let (eta_ms, rate_bytes_per_s, sources) = (None, None, 1);
        DownloadEvent::Bytes {
            name: name(),
            done_bytes,
            eta_ms,
            fetched_bytes,
            rate_bytes_per_s,
            sources,
            total_bytes,
        }
    }

    #[test]
    fn sources_in_use_are_counted() {
        let (mut progress, now) = (DownloadProgress::default(), clock::now());
        let mut after = |event| {
            progress.apply(&event, now);
            (progress.sources(), progress.only_source())
        };
        assert_eq!(after(source(1)), (1, Some(addr(1))));
        assert_eq!(after(source(2)), (2, None));
        assert_eq!(after(source(2)), (2, None), "the same event twice");
        assert_eq!(after(left(1, None)), (1, Some(addr(2))));
        assert_eq!(after(left(3, Some("refused"))), (1, Some(addr(2))));
        assert_eq!(after(left(2, None)), (0, None));
    }

    #[test]
    fn bytes_verified_again_change_neither_rate_nor_time_left() {
        let (mut progress, start) = (DownloadProgress::default(), clock::now());
        let at = |ms| start + Duration::from_millis(ms);
        progress.apply(&DownloadEvent::Resumed { name: name(), marked_bytes: 60 * MIB }, start);
        progress.apply(&source(1), start);
        let bytes = |done, fetched| bytes(done * MIB, 100 * MIB, fetched * MIB);
        progress.apply(&bytes(30, 0), at(1000));
        assert_eq!((progress.rate_bytes_per_s(at(1000)), progress.time_left(at(1000))), (Some(0), None));
        progress.apply(&bytes(64, 4), at(2000));
        assert_eq!(progress.rate_bytes_per_s(at(2000)), Some(2 * MIB));
        assert_eq!(progress.time_left(at(2000)), Some(Duration::from_secs(18)));
        // 10 MiB were verified again and 4 fetched: 36 of the missing 86 are to come.
        progress.apply(&bytes(14, 4), at(2000));
        assert_eq!(progress.time_left(at(2000)), Some(Duration::from_secs(18)));
        assert_eq!(progress.done_of(100), 14);
        progress.apply(&bytes(100, 40), at(3000));
        assert_eq!(progress.time_left(at(60_000)), Some(Duration::ZERO));
    }

    #[test]
    fn only_files_of_several_pieces_show_progress() {
        let (mut progress, now) = (DownloadProgress::default(), clock::now());
        assert!(!progress.has_several_pieces() && progress.done_of(100) == 0);
        for (total_bytes, expected) in
            [(0, false), (1, false), (MIB, false), (MIB + 1, true), (u64::MAX, true)]
        {
            progress.apply(&bytes(total_bytes, total_bytes, total_bytes), now);
            assert_eq!(progress.has_several_pieces(), expected, "{total_bytes}");
            assert_eq!(progress.time_left(now), Some(Duration::ZERO));
        }
        assert_eq!(progress.done_of(100), 100, "no overflow");
    }

    #[test]
    fn a_source_that_joins_between_two_pieces_does_not_change_the_rate() {
        let (mut progress, start) = (DownloadProgress::default(), clock::now());
        let at = |s| start + Duration::from_secs(s);
        progress.apply(&source(1), start);
        progress.apply(&bytes(16 * MIB, 64 * MIB, 16 * MIB), at(16));
        progress.apply(&source(2), at(20));
        assert_eq!(progress.rate_bytes_per_s(at(22)), Some(16 * MIB / 22));
        progress.apply(&bytes(32 * MIB, 64 * MIB, 32 * MIB), at(32));
        assert_eq!(progress.rate_bytes_per_s(at(32)), Some(MIB));
    }

    #[test]
    fn bytes_have_rate_time_left_and_sources() {
        let (mut progress, start) = (DownloadProgress::default(), clock::now());
        progress.apply(&source(5002), start);
        let now = start + Duration::from_secs(1);
        progress.apply(&bytes(2 * MIB, 10 * MIB, 2 * MIB), now);
        let expected = DownloadEvent::Bytes {
            name: name(),
            done_bytes: 2 * MIB,
            eta_ms: Some(4000),
            fetched_bytes: 2 * MIB,
            rate_bytes_per_s: Some(2 * MIB),
            sources: 1,
            total_bytes: 10 * MIB,
        };
        assert_eq!(progress.bytes_event(name(), now), expected);
    }
}
