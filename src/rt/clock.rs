//! The clock. Only this file reads it. Decisions (`src/logic/`) get the time as an argument.

use std::time::{Duration, Instant, SystemTime};

use rustix::event::Timespec;

/// The monotonic clock, for every interval and deadline.
pub fn now() -> Instant {
    Instant::now()
}

/// The time until `deadline`; zero once it has passed.
pub fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(now())
}

/// The time until `deadline`, in the form that `poll` and `epoll` take.
pub fn timespec_until(deadline: Instant) -> Timespec {
    timespec(left(deadline))
}

/// A duration in the form that `poll` and `epoll` take. A duration that is too long for it becomes the
/// longest.
pub fn timespec(duration: Duration) -> Timespec {
    let tv_sec = duration.as_secs().try_into().unwrap_or(i64::MAX);
    Timespec { tv_sec, tv_nsec: duration.subsec_nanos().into() }
}

/// The wall clock in nanoseconds since 1970, to compare with file times and to give events their time. 0 if
/// the clock is set before 1970.
pub fn wall_ns() -> i64 {
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_1970.as_nanos()).unwrap_or(i64::MAX)
}
