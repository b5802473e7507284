//! What a program tells of itself: its last events, for any number of readers that come and go.
//!
//! Whoever has something to tell never waits for a reader: the oldest events make room for new ones, and a
//! reader that was too slow learns how many it has missed. Invariant: events are numbered from 1 without a
//! gap, and every reader sees them in that order.

use std::collections::VecDeque;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::Mutex;

use super::clock;
use crate::proto::event::{Event, Record};
use crate::types::limits;

/// A program's events; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Broadcast(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    /// The last ones, the oldest first; the last has number `last`.
    records: VecDeque<Arc<Record>>,
    last: u64,
    /// Wake followers.
    wakers: Vec<Sender<()>>,
    is_closed: bool,
}

/// What was told after a certain event.
#[derive(Debug, Default)]
pub struct Since {
    /// So many that came first are not kept any more.
    pub missed: u64,
    /// The others, with their numbers.
    pub records: Vec<(u64, Arc<Record>)>,
}

/// A reader of events.
#[derive(Debug)]
pub struct Subscriber {
    feed: Broadcast,
    /// The last event that was taken.
    seen: u64,
    woken: Receiver<()>,
}

impl Broadcast {
    /// Tells an event, now.
    pub fn tell(&self, event: Event) {
        self.pass(event.at(clock::wall_ns()));
    }

    /// Tells what has happened to a download.
    pub fn tell_of_job(&self, job: u64, event: Event) {
        self.pass(Record { job: Some(job), ..event.at(clock::wall_ns()) });
    }

    fn pass(&self, record: Record) {
        let record = Arc::new(record);
        let mut kept = self.0.lock();
        if kept.is_closed {
            return;
        }
        if kept.records.len() == limits::EVENTS_KEPT_MAX {
            kept.records.pop_front();
        }
        kept.records.push_back(record);
        kept.last += 1;
        // A channel of one: full means that its reader will look anyway, disconnected that it is gone.
        kept.wakers.retain(|waker| waker.try_send(()).map_or_else(|error| error.is_full(), |()| true));
    }

    /// The number of the last event; 0 before the first.
    pub fn last(&self) -> u64 {
        self.0.lock().last
    }

    /// What was told after event `number`. A number that was not given yet is taken for that of the last
    /// event.
    pub fn after(&self, number: u64) -> Since {
        let kept = self.0.lock();
        let first = kept.last + 1 - kept.records.len() as u64;
        let next = number.min(kept.last) + 1;
        let skipped = usize::try_from(next.saturating_sub(first)).unwrap_or(usize::MAX);
        let records =
            (first..).zip(&kept.records).skip(skipped).map(|(number, record)| (number, Arc::clone(record)));
        Since { missed: first.saturating_sub(next), records: records.collect() }
    }

    /// Reads what is told from now on.
    pub fn follow(&self) -> Subscriber {
        let (waker, woken) = bounded(1);
        let mut kept = self.0.lock();
        if !kept.is_closed {
            kept.wakers.push(waker);
        }
        Subscriber { seen: kept.last, woken, feed: self.clone() }
    }

    /// Nothing more is told. Followers take what is there, and end.
    pub fn close(&self) {
        let mut kept = self.0.lock();
        kept.is_closed = true;
        kept.wakers.clear();
    }
}

impl Subscriber {
    /// Delivers an item when there is something to [take](Follower::catch_up); disconnected once the feed is
    /// closed.
    pub fn woken(&self) -> &Receiver<()> {
        &self.woken
    }

    /// What was told since the last time; never waits.
    pub fn catch_up(&mut self) -> Since {
        let since = self.feed.after(self.seen);
        self.seen += since.missed + since.records.len() as u64;
        since
    }
}

/// Waits for what was told since the last time; ends when the feed is closed and all of it was taken.
impl Iterator for Subscriber {
    type Item = Since;

    fn next(&mut self) -> Option<Since> {
        loop {
            let since = self.catch_up();
            if !since.is_empty() {
                return Some(since);
            }
            if self.woken.recv().is_err() {
                // Something may have been told before the end.
                return Some(self.catch_up()).filter(|last| !last.is_empty());
            }
        }
    }
}

impl Since {
    fn is_empty(&self) -> bool {
        self.missed == 0 && self.records.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(number: u64) -> Event {
        Event::Stat { name: "number".into(), value: Some(number) }
    }

    /// Missed, and the numbers that are there; each must be that of its event.
    fn seen(since: &Since) -> (u64, Vec<u64>) {
        for (number, record) in &since.records {
            assert_eq!(record.event, numbered(*number));
        }
        (since.missed, since.records.iter().map(|(number, _)| *number).collect())
    }

    #[test]
    fn each_reader_sees_all_that_was_told_since_it_came() {
        let feed = Broadcast::default();
        feed.tell(numbered(1));
        let mut early = feed.follow();
        feed.tell(numbered(2));
        let mut late = feed.follow();
        assert!(early.woken().try_recv().is_ok() && late.woken().is_empty());
        feed.tell(numbered(3));
        assert_eq!((seen(&early.catch_up()), seen(&late.catch_up())), ((0, vec![2, 3]), (0, vec![3])));
        assert_eq!(seen(&early.catch_up()), (0, vec![]));
        assert_eq!((seen(&feed.after(0)), seen(&feed.after(99))), ((0, vec![1, 2, 3]), (0, vec![])));
    }

    #[test]
    fn who_is_slow_learns_how_much_was_missed_and_nothing_grows() {
        let (feed, kept) = (Broadcast::default(), limits::EVENTS_KEPT_MAX as u64);
        let mut slow = feed.follow();
        (1..=2 * kept).for_each(|number| feed.tell(numbered(number)));
        assert_eq!(seen(&slow.catch_up()), (kept, (kept + 1..=2 * kept).collect()));
        feed.tell(numbered(2 * kept + 1));
        assert_eq!(seen(&slow.catch_up()), (0, vec![2 * kept + 1]));
        assert_eq!(feed.0.lock().records.len(), limits::EVENTS_KEPT_MAX);
        for _ in 0..100 {
            drop(feed.follow());
            feed.tell(numbered(0));
        }
        assert_eq!(feed.0.lock().wakers.len(), 1, "those that have gone are forgotten");
    }

    #[test]
    fn a_closed_feed_ends_its_readers_after_what_is_there() {
        let feed = Broadcast::default();
        let mut reader = feed.follow();
        feed.tell(numbered(1));
        feed.close();
        feed.tell(numbered(2));
        assert!(reader.woken().recv().is_ok());
        assert!(reader.woken().recv().is_err(), "closed");
        assert_eq!(seen(&reader.catch_up()), (0, vec![1]));
        assert!(feed.follow().woken().recv().is_err());
    }
}
