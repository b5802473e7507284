//! `TokenBucket`: limits the rate of the bytes of files that the process sends.
//!
//! Invariant: over any span of time no more is granted than one burst plus the rate times the span. No call
//! waits: a caller that gets nothing learns when to try again. The caller passes `now`.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

const NS_PER_S: u128 = 1_000_000_000;
/// Minimum size of a burst: the bytes that the bucket grants at once when it is full.
const BURST_MIN_BYTES: u64 = 64 << 10;
/// A caller that waits tries again when this number of bytes can be granted, so that it does not wake for
/// very few bytes. At a low rate it tries again earlier, see `WAKES_PER_S`.
const WORTH_WAKING_BYTES: u64 = 16 << 10;
/// A caller that waits tries again at least this often (but for at least one byte).
const WAKES_PER_S: u64 = 20;

/// The result of [`TokenBucket::take`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grant {
    /// This number of bytes may be sent: at least 1 and at most the number requested.
    Bytes(u64),
    /// No byte may be sent before this instant.
    WaitUntil(Instant),
    /// There is no limit: all requested bytes may be sent, and none need be given back.
    All,
}

/// A rate limit, shared by all senders. The rate may change at any time.
#[derive(Debug)]
pub struct TokenBucket(Mutex<State>);

#[derive(Debug, Clone, Copy)]
struct State {
    /// `None`: no limit.
    rate: Option<Rate>,
    /// The instant at which the bucket was or will be empty. Since then it fills at the rate, so this is its
    /// whole state. `None`: it is full.
    empty_at: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Rate {
    bytes_per_s: u64,
    /// Time in which the bucket fills.
    burst: Duration,
}

impl State {
    /// A full bucket.
    fn new(rate_bytes_per_s: Option<u64>) -> State {
        let rate = rate_bytes_per_s.map(|bytes_per_s| {
            let bytes_per_s = bytes_per_s.max(1);
            Rate { bytes_per_s, burst: duration_of((bytes_per_s / 10).max(BURST_MIN_BYTES), bytes_per_s) }
        });
        State { rate, empty_at: None }
    }
}

impl TokenBucket {
    /// A full bucket for a rate in bytes per second; `None`: no limit. Its burst is the bytes of 100 ms, at
    /// least 64 KiB. A rate of 0 counts as 1.
    pub fn new(rate_bytes_per_s: Option<u64>) -> TokenBucket {
        TokenBucket(Mutex::new(State::new(rate_bytes_per_s)))
    }

    /// Changes the rate; the bucket is full then. A caller that waits because of the old rate still waits
    /// until its instant, which is at most 1 s away.
    pub fn set_rate(&self, rate_bytes_per_s: Option<u64>) {
        *self.0.lock() = State::new(rate_bytes_per_s);
    }

    /// The rate in bytes per second; `None`: no limit.
    pub fn rate_bytes_per_s(&self) -> Option<u64> {
        self.0.lock().rate.map(|rate| rate.bytes_per_s)
    }

    /// Takes up to `want` bytes (at least 1) from the bucket.
    pub fn take(&self, want: u64, now: Instant) -> Grant {
        let want = want.max(1);
        let mut state = self.0.lock();
        let Some(Rate { bytes_per_s, burst }) = state.rate else { return Grant::All };
        let worth_waking = WORTH_WAKING_BYTES.min(bytes_per_s / WAKES_PER_S).max(1);
        let fullest = now.checked_sub(burst).unwrap_or(now);
        let since = state.empty_at.map_or(fullest, |at| at.max(fullest));
        let available = bytes_in(now.saturating_duration_since(since), bytes_per_s);
        let enough = want.min(worth_waking);
        if available < enough {
            return Grant::WaitUntil(since + duration_of(enough, bytes_per_s));
        }
        let granted = want.min(available);
        state.empty_at = Some(since + duration_of(granted, bytes_per_s));
        Grant::Bytes(granted)
    }

    /// Gives back bytes that were granted and not sent.
    pub fn give_back(&self, unsent: u64) {
        let mut state = self.0.lock();
        let Some(rate) = state.rate else { return };
        let back = Duration::from_nanos(duration_of(unsent, rate.bytes_per_s).as_nanos() as u64);
        // `take` rounds the time up and this rounds it down, so that a caller that gives back and takes again
        // never gains bytes.
        let back = back.saturating_sub(Duration::from_nanos(1));
        state.empty_at = state.empty_at.and_then(|at| at.checked_sub(back));
    }
}

/// Time in which the rate gives `bytes`, rounded up.
fn duration_of(bytes: u64, rate_bytes_per_s: u64) -> Duration {
    let ns = (u128::from(bytes) * NS_PER_S).div_ceil(u128::from(rate_bytes_per_s));
    Duration::from_nanos(u64::try_from(ns).unwrap_or(u64::MAX))
}

/// Bytes that the rate gives in `time`, rounded down.
fn bytes_in(time: Duration, rate_bytes_per_s: u64) -> u64 {
    u64::try_from(time.as_nanos() * u128::from(rate_bytes_per_s) / NS_PER_S).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn at_the_instant_of_a_wait_bytes_are_granted() {
        for rate in [1, 1000, 100 << 10, 1 << 30, u64::MAX / 2] {
            let (bucket, mut now) = (TokenBucket::new(Some(rate)), crate::rt::clock::now());
            let mut waits = 0;
            while waits < 5 {
                match bucket.take(1 << 20, now) {
                    Grant::Bytes(bytes) => assert!((1..=1 << 20).contains(&bytes)),
                    Grant::WaitUntil(then) => {
                        assert!(then > now, "a wait that is over would make the caller spin");
                        assert!(then - now <= Duration::from_secs(1).max(Duration::from_millis(51)));
                        assert!(matches!(bucket.take(1 << 20, then), Grant::Bytes(_)), "rate {rate}");
                        now = then;
                        waits += 1;
                        continue;
                    }
                    Grant::All => panic!("there is a limit"),
                }
                if rate > 1 << 40 {
                    break;
                }
            }
        }
    }

    #[test]
    fn bytes_given_back_can_be_taken_again() {
        let (bucket, now) = (TokenBucket::new(Some(1000)), crate::rt::clock::now());
        assert_eq!(bucket.take(u64::MAX, now), Grant::Bytes(BURST_MIN_BYTES));
        bucket.give_back(1000);
        assert!(matches!(bucket.take(u64::MAX, now), Grant::Bytes(999 | 1000)));
        assert!(matches!(bucket.take(u64::MAX, now), Grant::WaitUntil(_)));
    }

    proptest! {
        /// Checks the invariant for each pair of grants: no span has more bytes than burst + rate * span.
        #[test]
        fn no_pattern_of_arrivals_gets_more_than_the_budget(
            rate in 1u64..10_000_000,
            asks in prop::collection::vec((0u64..400_000_000, 0u64..1 << 19, 0u64..4), 1..60),
        ) {
            let (bucket, start) = (TokenBucket::new(Some(rate)), crate::rt::clock::now());
            let mut now = start;
            let mut history: Vec<(Instant, u64)> = Vec::new();
            for (pause_ns, want, unsent_quarters) in asks {
                now += Duration::from_nanos(pause_ns);
                if let Grant::Bytes(granted) = bucket.take(want, now) {
                    prop_assert!(granted <= want.max(1));
                    let unsent = granted / 4 * unsent_quarters;
                    bucket.give_back(unsent);
                    history.push((now, granted - unsent));
                }
            }
            let burst = (rate / 10).max(BURST_MIN_BYTES);
            for first in 0..history.len() {
                let mut sum = 0;
                for (at, net) in &history[first..] {
                    sum += net;
                    let span = *at - history[first].0;
                    prop_assert!(sum <= burst + bytes_in(span, rate) + 1, "{sum} in {span:?} at rate {rate}");
                }
            }
        }

        #[test]
        fn a_greedy_caller_gets_the_whole_rate(rate in 100_000u64..100_000_000) {
            let (bucket, start) = (TokenBucket::new(Some(rate)), crate::rt::clock::now());
            let (mut now, mut sum) = (start, 0);
            while now - start < Duration::from_secs(2) {
                match bucket.take(256 << 10, now) {
                    Grant::Bytes(bytes) => sum += bytes,
                    Grant::WaitUntil(then) => now = then,
                    Grant::All => panic!("there is a limit"),
                }
            }
            prop_assert!(sum >= rate * 2 * 99 / 100, "{sum} of {}", rate * 2);
        }
    }

    #[test]
    fn a_changed_rate_holds_from_the_next_grant_on() {
        let (bucket, now) = (TokenBucket::new(None), crate::rt::clock::now());
        assert_eq!((bucket.take(u64::MAX, now), bucket.rate_bytes_per_s()), (Grant::All, None));
        bucket.set_rate(Some(1000));
        assert_eq!(bucket.take(u64::MAX, now), Grant::Bytes(BURST_MIN_BYTES));
        assert!(matches!(bucket.take(1, now), Grant::WaitUntil(_)));
        bucket.set_rate(Some(10_000_000));
        assert_eq!(bucket.take(u64::MAX, now), Grant::Bytes(1_000_000));
        bucket.set_rate(None);
        // Bytes that were granted before the change.
        bucket.give_back(10);
        assert_eq!(bucket.take(1, now), Grant::All);
    }
}
