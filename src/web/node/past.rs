//! The recent past of a node: bytes sent and fetched, and the last searches.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use crate::logic::rate_history::RateHistory;
use crate::proto::event::{Event, Record};
use crate::rt::EventSubscriber;
use crate::types::limits;

/// It has a bounded size and is updated every few seconds.
#[derive(Debug)]
pub(super) struct Past {
    pub(super) sent: Counted,
    pub(super) fetched: Counted,
    events: EventSubscriber,
    /// Newest first.
    pub(super) searches: VecDeque<Arc<Record>>,
}

impl Past {
    pub(super) fn new(events: EventSubscriber, now: Instant) -> Past {
        Past { sent: Counted::new(now), fetched: Counted::new(now), events, searches: VecDeque::new() }
    }

    /// Records the searches since the last call.
    pub(super) fn note_searches(&mut self) {
        for (_, record) in self.events.catch_up().items {
            if let Event::Searched { .. } = record.event {
                self.searches.push_front(record);
            }
        }
        self.searches.truncate(limits::RECENT_FINDS_MAX);
    }

    /// Records the bytes sent and fetched since the start.
    pub(super) fn sample(&mut self, sent: u64, fetched: u64, now: Instant) {
        self.sent.note(sent, now);
        self.fetched.note(fetched, now);
    }
}

/// The history of a count that never shrinks.
#[derive(Debug)]
pub(super) struct Counted {
    pub(super) history: RateHistory,
    most: u64,
}

impl Counted {
    pub(super) fn new(now: Instant) -> Counted {
        Counted { history: RateHistory::new(now), most: 0 }
    }

    /// Records that the count is `total`. A smaller `total` changes nothing: two callers may record out of
    /// order.
    pub(super) fn note(&mut self, total: u64, now: Instant) {
        self.history.add(total.saturating_sub(self.most), now);
        self.most = self.most.max(total);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rt::clock;

    #[test]
    fn bytes_count_once_however_often_they_are_looked_at() {
        let now = clock::now();
        let mut past = Past::new(crate::rt::EventBroadcast::default().subscribe(), now);
        past.sample(100, 10, now);
        past.sample(100, 15, now);
        past.sample(150, 35, now);
        // Two callers record at once, and the earlier value comes last.
        past.sample(120, 30, now);
        past.sample(150, 38, now);
        assert_eq!((past.sent.history.sums(now), past.fetched.history.sums(now)), (vec![150], vec![38]));
    }
}
