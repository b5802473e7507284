//! What the events of one download add up to: sources in use, bytes, rate, time left.
//!
//! Pure: the time comes in as `now`. Rate and time left go by fetched bytes alone, so bytes that an earlier
//! download left and that are verified again fake neither.

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::node::api::Progress;
use crate::types::{ContentKey, Geometry};

/// A rate is that of the last so many seconds, or longer where nothing came since.
const WINDOW: Duration = Duration::from_secs(5);
/// Samples of a rate lie no closer, which bounds their number.
const SAMPLE_EVERY: Duration = Duration::from_millis(100);

/// The state of one download as its events tell it.
#[derive(Debug, Default, Clone)]
pub struct DownloadProgress {
    content: Option<ContentKey>,
    sources: BTreeSet<SocketAddr>,
    /// Left by an earlier download; they will be verified again, not fetched.
    marked_bytes: u64,
    pub done_bytes: u64,
    pub total_bytes: u64,
    pub fetched_bytes: u64,
    rate: Rate,
}

impl DownloadProgress {
    pub fn take(&mut self, event: &Progress, now: Instant) {
        match event {
            Progress::Ranked { key, .. } => {
                // A name that means another content meanwhile begins anew.
                if self.content.replace(*key).is_some_and(|before| before != *key) {
                    *self = DownloadProgress { content: Some(*key), ..DownloadProgress::default() };
                }
            }
            Progress::Resumed { marked_bytes } => self.marked_bytes = *marked_bytes,
            Progress::Source { endpoint } => {
                self.sources.insert(*endpoint);
                // What comes before is no transfer.
                self.rate.saw(self.fetched_bytes, now);
            }
            Progress::Left { endpoint, .. } => {
                self.sources.remove(endpoint);
            }
            Progress::Bytes { done_bytes, total_bytes, fetched_bytes } => {
                (self.done_bytes, self.total_bytes) = (*done_bytes, *total_bytes);
                self.fetched_bytes = *fetched_bytes;
                self.rate.saw(*fetched_bytes, now);
            }
            Progress::Chose { .. } | Progress::Retry { .. } | Progress::Waiting | Progress::Hashing => {}
        }
    }

    /// Number of sources in use.
    pub fn sources(&self) -> usize {
        self.sources.len()
    }

    /// The source in use, if it is one alone.
    pub fn only_source(&self) -> Option<SocketAddr> {
        self.sources.first().copied().filter(|_| self.sources.len() == 1)
    }

    /// Returns true if and only if the file is known to have more than one piece: others are told of by their
    /// end alone.
    pub fn has_pieces(&self) -> bool {
        self.total_bytes > 0 && Geometry::of(self.total_bytes).count().is_none_or(|count| count > 1)
    }

    /// Done in `parts` of the whole, rounded down: 100 for percent. 0 while nothing is known.
    pub fn done_of(&self, parts: u128) -> u64 {
        let done = (u128::from(self.done_bytes) * parts).checked_div(u128::from(self.total_bytes));
        done.and_then(|done| u64::try_from(done).ok()).unwrap_or(0)
    }

    /// Fetched bytes per second; `None` before there was time for any.
    pub fn rate_bytes_per_s(&self, now: Instant) -> Option<u64> {
        self.rate.bytes_per_s(now)
    }

    /// Time until all is fetched at the present rate; `None` while nothing comes.
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

/// The rate of a growing count of bytes.
#[derive(Debug, Default, Clone)]
pub struct Rate {
    /// When the count was what, oldest first; the first may be older than the window.
    samples: VecDeque<(Instant, u64)>,
}

impl Rate {
    /// The count was `bytes` at `now`. A count that shrinks begins anew.
    pub fn saw(&mut self, bytes: u64, now: Instant) {
        if self.samples.back().is_some_and(|(_, before)| *before > bytes) {
            self.samples.clear();
        }
        while self.samples.get(1).is_some_and(|(at, _)| now.saturating_duration_since(*at) >= WINDOW) {
            self.samples.pop_front();
        }
        let last_but_one = self.samples.len().checked_sub(2).and_then(|index| self.samples.get(index));
        if last_but_one.is_some_and(|(at, _)| now.saturating_duration_since(*at) < SAMPLE_EVERY) {
            self.samples.pop_back();
        }
        self.samples.push_back((now, bytes));
    }

    /// `None` before there was time for any. Where bytes come in larger and rarer lots than the window, the
    /// last lot counts on, ever less.
    pub fn bytes_per_s(&self, now: Instant) -> Option<u64> {
        let (_, bytes) = self.samples.back()?;
        let before = self.samples.iter().take(self.samples.len().max(2) - 1);
        let (since, bytes_then) = before
            .rev()
            .find(|(at, _)| now.saturating_duration_since(*at) >= WINDOW)
            .or(self.samples.front())?;
        let elapsed_us = now.saturating_duration_since(*since).as_micros();
        let per_s = (u128::from(bytes - bytes_then) * 1_000_000).checked_div(elapsed_us)?;
        Some(u64::try_from(per_s).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rt::clock;

    const MIB: u64 = 1 << 20;

    fn addr(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    #[test]
    fn sources_in_use_are_counted() {
        let (mut figures, now) = (DownloadProgress::default(), clock::now());
        let mut after = |event| {
            figures.take(&event, now);
            (figures.sources(), figures.only_source())
        };
        assert_eq!(after(Progress::Source { endpoint: addr(1) }), (1, Some(addr(1))));
        assert_eq!(after(Progress::Source { endpoint: addr(2) }), (2, None));
        assert_eq!(after(Progress::Source { endpoint: addr(2) }), (2, None), "told twice");
        assert_eq!(after(Progress::Left { endpoint: addr(1), why: None }), (1, Some(addr(2))));
        assert_eq!(
            after(Progress::Left { endpoint: addr(3), why: Some("refused".into()) }),
            (1, Some(addr(2)))
        );
        assert_eq!(after(Progress::Left { endpoint: addr(2), why: None }), (0, None));
    }

    #[test]
    fn a_rate_is_that_of_the_last_seconds() {
        let (mut rate, begun) = (Rate::default(), clock::now());
        let at = |ms| begun + Duration::from_millis(ms);
        assert_eq!(rate.bytes_per_s(at(0)), None, "nothing seen");
        rate.saw(0, at(0));
        assert_eq!(rate.bytes_per_s(at(0)), None, "no time has passed");
        for second in 1..=10 {
            rate.saw(second * 100, at(second * 1000));
        }
        assert_eq!(rate.bytes_per_s(at(10_000)), Some(100));
        for second in 11..=20 {
            rate.saw(1000 + (second - 10) * 300, at(second * 1000));
        }
        assert_eq!(rate.bytes_per_s(at(20_000)), Some(300), "the slow beginning is forgotten");
        assert_eq!(rate.bytes_per_s(at(30_000)), Some(27), "a stall counts: the last 300 in 11 s");
        rate.saw(0, at(40_000));
        assert_eq!(rate.bytes_per_s(at(41_000)), Some(0), "it begins anew");
    }

    #[test]
    fn a_rate_keeps_few_samples_and_slow_lots_count_between_them() {
        let (mut rate, begun) = (Rate::default(), clock::now());
        for step in 0..100_000 {
            rate.saw(step * 10, begun + Duration::from_millis(step));
        }
        assert!(rate.samples.len() < 60, "{}", rate.samples.len());
        let mut slow = Rate::default();
        for lot in 0..3 {
            slow.saw(lot * 1600, begun + Duration::from_secs(lot * 16));
        }
        assert_eq!(slow.bytes_per_s(begun + Duration::from_secs(33)), Some(94), "1600 in 17 s");
    }

    #[test]
    fn bytes_verified_again_fake_neither_rate_nor_time_left() {
        let (mut figures, begun) = (DownloadProgress::default(), clock::now());
        let at = |ms| begun + Duration::from_millis(ms);
        figures.take(&Progress::Resumed { marked_bytes: 60 * MIB }, begun);
        figures.take(&Progress::Source { endpoint: addr(1) }, begun);
        let bytes = |done, fetched| Progress::Bytes {
            done_bytes: done * MIB,
            total_bytes: 100 * MIB,
            fetched_bytes: fetched * MIB,
        };
        figures.take(&bytes(30, 0), at(1000));
        assert_eq!((figures.rate_bytes_per_s(at(1000)), figures.time_left(at(1000))), (Some(0), None));
        figures.take(&bytes(64, 4), at(2000));
        assert_eq!(figures.rate_bytes_per_s(at(2000)), Some(2 * MIB));
        assert_eq!(figures.time_left(at(2000)), Some(Duration::from_secs(18)));
        // 10 MiB were verified again and 4 fetched: 36 of the missing 86 are to come.
        figures.take(&bytes(14, 4), at(2000));
        assert_eq!(figures.time_left(at(2000)), Some(Duration::from_secs(18)));
        assert_eq!(figures.done_of(100), 14);
        figures.take(&bytes(100, 40), at(3000));
        assert_eq!(figures.time_left(at(60_000)), Some(Duration::ZERO));
    }

    #[test]
    fn only_files_of_several_pieces_have_figures_to_show() {
        let (mut figures, now) = (DownloadProgress::default(), clock::now());
        assert!(!figures.has_pieces() && figures.done_of(100) == 0);
        for (total_bytes, expected) in
            [(0, false), (1, false), (MIB, false), (MIB + 1, true), (u64::MAX, true)]
        {
            let event = Progress::Bytes { done_bytes: total_bytes, total_bytes, fetched_bytes: total_bytes };
            figures.take(&event, now);
            assert_eq!(figures.has_pieces(), expected, "{total_bytes}");
            assert_eq!(figures.time_left(now), Some(Duration::ZERO));
        }
        assert_eq!(figures.done_of(100), 100, "no overflow");
    }
}
