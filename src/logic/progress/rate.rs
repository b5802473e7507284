//! The rate of a growing count of bytes.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// A rate covers the time since the last sample that is so old, or since the first sample.
const WINDOW: Duration = Duration::from_secs(5);
/// Of three samples in a row, the first and the last are at least so far apart. It bounds their number.
const SAMPLE_GAP_MIN: Duration = Duration::from_millis(100);

/// The rate of a growing count of bytes.
#[derive(Debug, Default, Clone)]
pub struct Rate {
    /// Times and counts, oldest first. The first may be older than the window.
    samples: VecDeque<(Instant, u64)>,
}

impl Rate {
    /// Records that the count is `bytes` at `now`, if no count is known. The rate then covers the time from
    /// `now` on.
    pub fn start(&mut self, bytes: u64, now: Instant) {
        if self.samples.is_empty() {
            self.samples.push_back((now, bytes));
        }
    }

    /// Records that the count is `bytes` at `now`. A count that shrinks starts the rate again.
    pub fn observe(&mut self, bytes: u64, now: Instant) {
        if self.samples.back().is_some_and(|(_, before)| *before > bytes) {
            self.samples.clear();
        }
        // The first sample stays while it is the newest one that covers the window.
        while self.samples.get(1).is_some_and(|(at, _)| now.saturating_duration_since(*at) >= WINDOW) {
            self.samples.pop_front();
        }
        // The new sample replaces one that is close to its predecessor.
        let last_but_one = self.samples.len().checked_sub(2).and_then(|index| self.samples.get(index));
        if last_but_one.is_some_and(|(at, _)| now.saturating_duration_since(*at) < SAMPLE_GAP_MIN) {
            self.samples.pop_back();
        }
        self.samples.push_back((now, bytes));
    }

    /// Bytes per second; `None` before the first count, and at its time. If counts arrive less often than
    /// once in a window, the rate falls until the next count arrives.
    pub fn bytes_per_s(&self, now: Instant) -> Option<u64> {
        let (_, bytes) = self.samples.back()?;
        // The last sample alone would give rate 0: it is the start only if it is the only one.
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

    #[test]
    fn a_rate_covers_the_last_five_seconds() {
        let (mut rate, start) = (Rate::default(), clock::now());
        let at = |ms| start + Duration::from_millis(ms);
        assert_eq!(rate.bytes_per_s(at(0)), None, "no count is known");
        rate.observe(0, at(0));
        assert_eq!(rate.bytes_per_s(at(0)), None, "no time has passed");
        for second in 1..=10 {
            rate.observe(second * 100, at(second * 1000));
        }
        assert_eq!(rate.bytes_per_s(at(10_000)), Some(100));
        for second in 11..=20 {
            rate.observe(1000 + (second - 10) * 300, at(second * 1000));
        }
        assert_eq!(rate.bytes_per_s(at(20_000)), Some(300), "the slow start is forgotten");
        assert_eq!(rate.bytes_per_s(at(30_000)), Some(27), "a pause counts: the last 300 in 11 s");
        rate.observe(0, at(40_000));
        assert_eq!(rate.bytes_per_s(at(41_000)), Some(0), "a smaller count starts again");
    }

    #[test]
    fn a_rate_keeps_few_samples_and_covers_the_pause_between_rare_counts() {
        let (mut rate, start) = (Rate::default(), clock::now());
        for step in 0..100_000 {
            rate.observe(step * 10, start + Duration::from_millis(step));
        }
        assert!(rate.samples.len() < 60, "{}", rate.samples.len());
        let mut slow = Rate::default();
        for count in 0..3 {
            slow.observe(count * 1600, start + Duration::from_secs(count * 16));
        }
        assert_eq!(slow.bytes_per_s(start + Duration::from_secs(33)), Some(94), "1600 in 17 s");
    }
}
