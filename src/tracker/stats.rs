//! What was asked of the tracker: how often, how long it took, and the last finds with their answers.
//!
//! A plain structure of fixed size behind one lock; `now` comes in. Holds nothing that finds are answered
//! from.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use crate::logic::rate_history::History;
use crate::types::{Provider, Query, limits};

/// Sources that are kept of an answer.
const SOURCES_KEPT: usize = 4;
/// Upper bounds of the classes of durations, in seconds; one more class holds the rest.
pub const TOOK_BOUNDS_S: [f64; 8] = [0.000_01, 0.000_1, 0.001, 0.005, 0.01, 0.05, 0.1, 1.0];

/// How a find came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// From a node, by the tracker's protocol.
    Native,
    /// By HTTP.
    Http,
}

/// A find and the first of its answers.
#[derive(Debug, Clone)]
pub struct RecentFind {
    /// Counts up from 1.
    pub number: u64,
    /// Wall clock, nanoseconds since 1970.
    pub at_ns: i64,
    pub asker: IpAddr,
    pub via: Via,
    pub query: Query,
    /// Rows of the answer's first page.
    pub rows: usize,
    pub more: bool,
    /// The first sources.
    pub sources: Vec<SocketAddr>,
    pub took: Duration,
}

/// How often, by how a find came: [`Via::Native`], then [`Via::Http`].
#[derive(Debug, Clone, Copy, Default)]
pub struct Finds {
    pub found: [u64; 2],
    pub none: [u64; 2],
}

impl Finds {
    pub fn total(&self) -> u64 {
        self.found.iter().chain(&self.none).sum()
    }
}

/// See the module's page.
#[derive(Debug, Clone)]
pub struct TrackerStats {
    pub finds: Finds,
    /// Registrations and updates that took effect.
    pub announces: u64,
    /// Number of finds in each class of [`TOOK_BOUNDS_S`], and in the one beyond.
    pub took: [u64; TOOK_BOUNDS_S.len() + 1],
    pub took_sum: Duration,
    /// The last first.
    pub recent: VecDeque<RecentFind>,
    /// Finds.
    pub history: History,
}

impl TrackerStats {
    pub(super) fn new(now: Instant) -> TrackerStats {
        TrackerStats {
            finds: Finds::default(),
            announces: 0,
            took: [0; TOOK_BOUNDS_S.len() + 1],
            took_sum: Duration::ZERO,
            recent: VecDeque::new(),
            history: History::new(now),
        }
    }

    /// Takes note of the first page of an answer.
    pub(super) fn found(
        &mut self,
        (query, asker, via): (&Query, IpAddr, Via),
        (providers, more): (&[Provider], bool),
        (at_ns, took): (i64, Duration),
        now: Instant,
    ) {
        let of_result = if providers.is_empty() { &mut self.finds.none } else { &mut self.finds.found };
        of_result[via as usize] += 1;
        let class = TOOK_BOUNDS_S.iter().position(|bound| took.as_secs_f64() <= *bound);
        self.took[class.unwrap_or(TOOK_BOUNDS_S.len())] += 1;
        self.took_sum += took;
        self.history.add(1, now);
        let recent = RecentFind {
            number: self.finds.total(),
            at_ns,
            asker,
            via,
            query: query.clone(),
            rows: providers.len(),
            more,
            sources: providers.iter().take(SOURCES_KEPT).map(|one| one.endpoint).collect(),
            took,
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
    fn finds_are_counted_and_only_the_last_are_kept() {
        let now = crate::rt::clock::now();
        let mut tally = TrackerStats::new(now);
        let query = Query::Name(FileName::new("a").expect("a name"));
        let asker = IpAddr::from([127, 0, 0, 1]);
        for _ in 0..limits::RECENT_FINDS_MAX + 5 {
            tally.found((&query, asker, Via::Native), (&[], false), (7, Duration::from_micros(50)), now);
        }
        let total = limits::RECENT_FINDS_MAX as u64 + 5;
        assert_eq!((tally.finds.none, tally.finds.total(), tally.took[1]), ([total, 0], total, total));
        assert_eq!((tally.recent.len(), tally.recent[0].number), (limits::RECENT_FINDS_MAX, total));
        assert_eq!(tally.history.sums(now), [total]);
    }
}
