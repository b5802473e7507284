//! The recent past of a node: bytes sent and fetched, and the last searches.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use crate::logic::rate_history::RateHistory;
use crate::proto::event::{Event, Record};
use crate::rt::EventSubscriber;
use crate::types::limits;

/// The recent past. Its size is bounded.
#[derive(Debug)]
pub(super) struct Past {
    pub(super) sent: TotalHistory,
    pub(super) fetched: TotalHistory,
    events: EventSubscriber,
    /// The `searched` events, the newest first.
    pub(super) searches: VecDeque<Arc<Record>>,
}

impl Past {
    pub(super) fn new(events: EventSubscriber, now: Instant) -> Past {
        let (sent, fetched) = (TotalHistory::new(now), TotalHistory::new(now));
        Past { sent, fetched, events, searches: VecDeque::new() }
    }

    /// Records the searches since the last call.
    pub(super) fn record_searches(&mut self) {
        for (_, record) in self.events.catch_up().items {
            if let Event::Searched { .. } = record.event {
                self.searches.push_front(record);
            }
        }
        self.searches.truncate(limits::RECENT_FINDS_MAX);
    }

    /// Records the numbers of bytes that the node has sent and fetched since its start.
    pub(super) fn sample(&mut self, sent_total: u64, fetched_total: u64, now: Instant) {
        self.sent.record(sent_total, now);
        self.fetched.record(fetched_total, now);
    }
}

/// The history of a total that never shrinks.
#[derive(Debug)]
pub(super) struct TotalHistory {
    pub(super) history: RateHistory,
    total: u64,
}

impl TotalHistory {
    fn new(now: Instant) -> TotalHistory {
        TotalHistory { history: RateHistory::new(now), total: 0 }
    }

    /// Records a reading of the total. A smaller reading than the last one changes nothing: two callers may
    /// record out of order.
    fn record(&mut self, total: u64, now: Instant) {
        self.history.add(total.saturating_sub(self.total), now);
        self.total = self.total.max(total);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rt::clock;

    #[test]
    fn bytes_count_once_however_often_they_are_recorded() {
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
