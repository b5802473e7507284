//! Stats of a tracker: how many finds there were, how long they took, and the last ones with their answers.
//!
//! A plain structure of bounded size, which `Shared` has behind a lock. The caller passes the time.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use crate::logic::rate_history::RateHistory;
use crate::types::{Provider, Query, limits};

/// Maximum number of providers of which a recorded find keeps the address.
const ADDRESSES_KEPT: usize = 4;
/// Upper bounds of the buckets of durations, in seconds. One more bucket holds the longer ones.
pub const DURATION_BOUNDS_S: [f64; 8] = [0.000_01, 0.000_1, 0.001, 0.005, 0.01, 0.05, 0.1, 1.0];

/// The protocol of a find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// The native protocol, which nodes use.
    Native,
    /// HTTP.
    Http,
}

impl Via {
    /// All protocols.
    pub const ALL: [Via; 2] = [Via::Native, Via::Http];

    /// The word for it in JSON and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Via::Native => "native",
            Via::Http => "http",
        }
    }
}

/// A find to record: what was looked for, who sent it, and its protocol.
#[derive(Debug, Clone, Copy)]
pub(super) struct RecordedFind<'a> {
    pub(super) query: &'a Query,
    pub(super) requester: IpAddr,
    pub(super) via: Via,
}

/// A find and the first part of its answer.
#[derive(Debug, Clone)]
pub struct RecentFind {
    /// Counts up from 1.
    pub number: u64,
    /// Time of the answer: wall clock, nanoseconds since 1970.
    pub at_ns: i64,
    /// Address of the peer or browser that sent it.
    pub requester: IpAddr,
    /// Its protocol.
    pub via: Via,
    /// What it looked for.
    pub query: Query,
    /// Number of rows on the answer's first page.
    pub rows: usize,
    /// Whether there were further rows.
    pub more: bool,
    /// Addresses of the providers in the first rows.
    pub sources: Vec<SocketAddr>,
    /// How long the answer took.
    pub duration: Duration,
}

/// Numbers of finds by protocol.
#[derive(Debug, Clone, Copy, Default)]
pub struct Finds {
    native: FindCounts,
    http: FindCounts,
}

/// Numbers of finds of one protocol.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FindCounts {
    /// Finds whose answer had a row.
    pub with_rows: u64,
    /// Finds whose answer was empty.
    pub empty: u64,
}

impl Finds {
    /// The finds of one protocol.
    pub fn of(&self, via: Via) -> FindCounts {
        match via {
            Via::Native => self.native,
            Via::Http => self.http,
        }
    }

    fn of_mut(&mut self, via: Via) -> &mut FindCounts {
        match via {
            Via::Native => &mut self.native,
            Via::Http => &mut self.http,
        }
    }

    /// Number of finds of all protocols whose answer had a row.
    pub fn with_rows(&self) -> u64 {
        Via::ALL.iter().map(|via| self.of(*via).with_rows).sum()
    }

    /// Number of all finds.
    pub fn total(&self) -> u64 {
        self.with_rows() + Via::ALL.iter().map(|via| self.of(*via).empty).sum::<u64>()
    }
}

/// Stats of a tracker since its start.
#[derive(Debug, Clone)]
pub struct TrackerStats {
    /// Finds.
    pub finds: Finds,
    /// Number of registrations and updates that took effect.
    pub publications: u64,
    /// Number of finds in each bucket: up to each of [`DURATION_BOUNDS_S`], and longer than all of them.
    pub durations: [u64; DURATION_BOUNDS_S.len() + 1],
    /// The sum of the durations of all finds.
    pub durations_sum: Duration,
    /// The last finds, the latest first.
    pub recent: VecDeque<RecentFind>,
    /// Finds over time.
    pub history: RateHistory,
}

impl TrackerStats {
    pub(super) fn new(now: Instant) -> TrackerStats {
        TrackerStats {
            finds: Finds::default(),
            publications: 0,
            durations: [0; DURATION_BOUNDS_S.len() + 1],
            durations_sum: Duration::ZERO,
            recent: VecDeque::new(),
            history: RateHistory::new(now),
        }
    }

    /// Records a find that took `duration` and ended at `now`, which is `wall_ns` on the wall clock.
    /// `providers` is the first page of its answer; `more`: there are further pages.
    pub(super) fn record_find(
        &mut self,
        RecordedFind { query, requester, via }: RecordedFind<'_>,
        providers: &[Provider],
        more: bool,
        duration: Duration,
        now: Instant,
        wall_ns: i64,
    ) {
        let counts = self.finds.of_mut(via);
        *if providers.is_empty() { &mut counts.empty } else { &mut counts.with_rows } += 1;
        let bucket = DURATION_BOUNDS_S.iter().position(|bound| duration.as_secs_f64() <= *bound);
        self.durations[bucket.unwrap_or(DURATION_BOUNDS_S.len())] += 1;
        self.durations_sum += duration;
        self.history.add(1, now);
        let recent = RecentFind {
            number: self.finds.total(),
            at_ns: wall_ns,
            requester,
            via,
            query: query.clone(),
            rows: providers.len(),
            more,
            sources: providers.iter().take(ADDRESSES_KEPT).map(|one| one.endpoint).collect(),
            duration,
        };
        self.recent.push_front(recent);
        self.recent.truncate(limits::RECENT_FINDS_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::FileName;

    #[test]
    fn all_finds_are_counted_and_the_last_ones_are_kept() {
        let now = crate::rt::clock::now();
        let mut stats = TrackerStats::new(now);
        let query = Query::Name(FileName::new("a").expect("a name"));
        let requester = IpAddr::from([127, 0, 0, 1]);
        let find = |via| RecordedFind { query: &query, requester, via };
        for _ in 0..limits::RECENT_FINDS_MAX + 5 {
            stats.record_find(find(Via::Http), &[], false, Duration::from_micros(50), now, 7);
        }
        let total = limits::RECENT_FINDS_MAX as u64 + 5;
        assert_eq!(stats.finds.of(Via::Http), FindCounts { with_rows: 0, empty: total });
        assert_eq!(stats.finds.of(Via::Native), FindCounts::default());
        assert_eq!((stats.finds.total(), stats.durations[1]), (total, total));
        assert_eq!((stats.recent.len(), stats.recent[0].number), (limits::RECENT_FINDS_MAX, total));
        assert_eq!(stats.history.sums(now), [total]);
    }
}
