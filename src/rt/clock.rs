//! The clock. Decisions are handed `now`; only mechanism asks for it, here.

use std::time::{Duration, Instant, SystemTime};

/// The monotonic clock, for every interval and deadline.
pub fn now() -> Instant {
    Instant::now()
}

/// What is left until `deadline`; zero once it has passed.
pub fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(now())
}

/// The wall clock in nanoseconds since 1970, for comparison with file times and for the stamps of events
/// alone. 0 if the clock stands before 1970.
pub fn wall_ns() -> i64 {
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_1970.as_nanos()).unwrap_or(i64::MAX)
}
