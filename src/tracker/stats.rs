//! Counters of a tracker: how many finds there were, how long they took, and the last ones with their
//! answers.
//!
//! A plain structure of fixed size behind one lock; `now` comes in. Finds are not answered from it.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use crate::logic::rate_history::RateHistory;
use crate::types::{Provider, Query, limits};

/// Most sources that are kept of an answer.
const SOURCES_KEPT: usize = 4;
/// Upper bounds of the classes of durations, in seconds. One more class holds the rest.
pub const DURATION_BOUNDS_S: [f64; 8] = [0.000_01, 0.000_1, 0.001, 0.005, 0.01, 0.05, 0.1, 1.0];

/// The protocol of a find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// The tracker's own protocol, which nodes use.
    Native,
    /// By HTTP.
    Http,
}

/// A find and the first part of its answer.
#[derive(Debug, Clone)]
pub struct RecentFind {
    /// Counts up from 1.
    pub number: u64,
    /// Time of the answer: wall clock, nanoseconds since 1970.
    pub at_ns: i64,
    /// Address of the peer that sent it.
    pub requester: IpAddr,
    /// Its protocol.
    pub via: Via,
    /// What it looked for.
    pub query: Query,
    /// Number of rows on the answer's first page.
    pub rows: usize,
    /// Whether there were further rows.
    pub more: bool,
    /// The first sources.
    pub sources: Vec<SocketAddr>,
    /// How long the answer took.
    pub duration: Duration,
}

/// Number of finds by protocol: [`Via::Native`], then [`Via::Http`].
#[derive(Debug, Clone, Copy, Default)]
pub struct Finds {
    /// Finds with an answer.
    pub found: [u64; 2],
    /// Finds with an empty answer.
    pub none: [u64; 2],
}

impl Finds {
    /// Number of all finds.
    pub fn total(&self) -> u64 {
        self.found.iter().chain(&self.none).sum()
    }
}

/// Counters of a tracker since its start.
#[derive(Debug, Clone)]
pub struct TrackerStats {
    /// Finds.
    pub finds: Finds,
    /// Registrations and updates that took effect.
    pub announces: u64,
    /// Number of finds in each class of [`DURATION_BOUNDS_S`], and in the last one beyond.
    pub durations: [u64; DURATION_BOUNDS_S.len() + 1],
    /// Duration of all finds together.
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
            announces: 0,
            durations: [0; DURATION_BOUNDS_S.len() + 1],
            durations_sum: Duration::ZERO,
            recent: VecDeque::new(),
            history: RateHistory::new(now),
        }
    }

    /// Records the first page of an answer.
    pub(super) fn found(
        &mut self,
        (query, requester, via): (&Query, IpAddr, Via),
        (providers, more): (&[Provider], bool),
        (at_ns, duration): (i64, Duration),
        now: Instant,
    ) {
        let of_result = if providers.is_empty() { &mut self.finds.none } else { &mut self.finds.found };
        of_result[via as usize] += 1;
        let class = DURATION_BOUNDS_S.iter().position(|bound| duration.as_secs_f64() <= *bound);
        self.durations[class.unwrap_or(DURATION_BOUNDS_S.len())] += 1;
        self.durations_sum += duration;
        self.history.add(1, now);
        let recent = RecentFind {
            number: self.finds.total(),
            at_ns,
            requester,
            via,
            query: query.clone(),
            rows: providers.len(),
            more,
            sources: providers.iter().take(SOURCES_KEPT).map(|one| one.endpoint).collect(),
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
    fn all_finds_are_counted_and_the_last_are_kept() {
        let now = crate::rt::clock::now();
        let mut stats = TrackerStats::new(now);
        let query = Query::Name(FileName::new("a").expect("a name"));
        let requester = IpAddr::from([127, 0, 0, 1]);
        for _ in 0..limits::RECENT_FINDS_MAX + 5 {
            stats.found((&query, requester, Via::Native), (&[], false), (7, Duration::from_micros(50)), now);
        }
        let total = limits::RECENT_FINDS_MAX as u64 + 5;
        assert_eq!((stats.finds.none, stats.finds.total(), stats.durations[1]), ([total, 0], total, total));
        assert_eq!((stats.recent.len(), stats.recent[0].number), (limits::RECENT_FINDS_MAX, total));
        assert_eq!(stats.history.sums(now), [total]);
    }
}
