//! `RateHistory`: sums of an amount for each time slot of the last ten minutes. Its size is bounded; the
//! caller passes `now`.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Length of a time slot.
pub const SLOT: Duration = Duration::from_secs(5);
/// Number of time slots in ten minutes. Older ones are dropped.
pub const SLOTS: usize = 120;

/// Sums of an amount by time slot.
#[derive(Debug, Clone)]
pub struct RateHistory {
    started: Instant,
    /// The sums of the last slots, that of `slot` last.
    sums: VecDeque<u64>,
    /// Number of the current slot, counted from `started`.
    slot: u64,
}

impl RateHistory {
    /// A history that begins at `now`.
    pub fn new(now: Instant) -> RateHistory {
        RateHistory { started: now, sums: VecDeque::from([0]), slot: 0 }
    }

    /// Adds `amount` to the current slot.
    pub fn add(&mut self, amount: u64, now: Instant) {
        self.advance(now);
        if let Some(last) = self.sums.back_mut() {
            *last = last.saturating_add(amount);
        }
    }

    /// The sums of the last slots, the current one last. Fewer than [`SLOTS`] at first.
    pub fn sums(&mut self, now: Instant) -> Vec<u64> {
        self.advance(now);
        self.sums.iter().copied().collect()
    }

    /// [`RateHistory::sums`] as amounts per second.
    pub fn per_s(&mut self, now: Instant) -> Vec<f64> {
        self.sums(now).iter().map(|sum| *sum as f64 / SLOT.as_secs_f64()).collect()
    }

    /// Begins the slot of `now`. If `now` is earlier than before, the current slot stays.
    fn advance(&mut self, now: Instant) {
        let slot = now.saturating_duration_since(self.started).as_secs() / SLOT.as_secs();
        let passed = slot.saturating_sub(self.slot);
        // After a long time without a call, only the slots that are kept.
        for _ in 0..passed.min(SLOTS as u64) {
            self.sums.push_back(0);
        }
        let over = self.sums.len().saturating_sub(SLOTS);
        self.sums.drain(..over);
        self.slot = self.slot.max(slot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_summed_by_slot_and_old_slots_are_dropped() {
        let start = crate::rt::clock::now();
        let at = |at_s: u64| start + Duration::from_secs(at_s);
        let mut history = RateHistory::new(start);
        for (amount, at_s) in [(1, 0), (10, 4), (100, 5), (1000, 16)] {
            history.add(amount, at(at_s));
        }
        assert_eq!(history.sums(at(21)), [11, 100, 0, 1000, 0]);
        assert_eq!(history.per_s(at(21))[1], 20.0);
        history.add(7, at(1_000_000));
        let sums = history.sums(at(1_000_000));
        assert_eq!((sums.len(), sums[SLOTS - 1], sums.iter().sum::<u64>()), (SLOTS, 7, 7));
        // With an earlier `now` the amount is added to the current slot.
        history.add(1, at(3));
        assert_eq!(history.sums(at(0))[SLOTS - 1], 8);
    }
}
