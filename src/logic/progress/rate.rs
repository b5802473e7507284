//! Rate of a growing count of bytes.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// A rate covers this time, or longer where no bytes came since.
const WINDOW: Duration = Duration::from_secs(5);
/// Least time between two samples. It bounds their number.
const SAMPLE_EVERY: Duration = Duration::from_millis(100);

/// The rate of a growing count of bytes.
#[derive(Debug, Default, Clone)]
pub struct Rate {
    /// Times and counts, oldest first. The first may be older than the window.
    samples: VecDeque<(Instant, u64)>,
}

impl Rate {
    /// Observes that the count is `bytes` at `now`. A count that shrinks starts the rate again.
    pub fn observe(&mut self, bytes: u64, now: Instant) {
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

    /// Bytes per second; `None` until two counts at different times are known. Where counts arrive less often
    /// than the window is long, the rate falls until the next count arrives.
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
        for lot in 0..3 {
            slow.observe(lot * 1600, start + Duration::from_secs(lot * 16));
        }
        assert_eq!(slow.bytes_per_s(start + Duration::from_secs(33)), Some(94), "1600 in 17 s");
    }
}
