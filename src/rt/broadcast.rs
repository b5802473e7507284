//! `Broadcast<T>`: publishes items to any number of subscribers.
//!
//! The publisher never waits for a subscriber. A broadcast keeps the newest items, up to its capacity; a
//! subscriber that reads too late learns how many items it has missed. Invariant: items are numbered from 1
//! without a gap, and every subscriber gets, in that order, all items but those that it has missed.

use std::collections::VecDeque;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::Mutex;

use super::clock;

/// The publishing end. Cheap to clone; all clones are the same broadcast.
#[derive(Debug)]
pub struct Broadcast<T>(Arc<Mutex<Inner<T>>>);

#[derive(Debug)]
struct Inner<T> {
    /// The newest items, the oldest of them first; the last one has number `last`.
    items: VecDeque<Arc<T>>,
    capacity: usize,
    last: u64,
    /// When the broadcast began, in nanoseconds since 1970. It tells the numbers of two runs apart.
    run: u64,
    /// One for each subscriber.
    wakers: Vec<Sender<()>>,
    is_closed: bool,
}

/// The items published after a certain one.
#[derive(Debug)]
pub struct Batch<T> {
    /// Number of items before `items` that the broadcast has dropped before this subscriber could read them.
    pub missed: u64,
    /// The items with their numbers.
    pub items: Vec<(u64, Arc<T>)>,
}

/// The receiving end: gets the items that are published after it subscribed.
#[derive(Debug)]
pub struct Subscriber<T> {
    broadcast: Broadcast<T>,
    /// Number of the last item that was received or missed.
    seen: u64,
    woken: Receiver<()>,
}

impl<T> Clone for Broadcast<T> {
    fn clone(&self) -> Broadcast<T> {
        Broadcast(Arc::clone(&self.0))
    }
}

impl<T> Broadcast<T> {
    /// A broadcast that keeps the last `capacity` items (at least 1).
    pub fn new(capacity: usize) -> Broadcast<T> {
        let capacity = capacity.max(1);
        let run = clock::wall_ns().unsigned_abs();
        let (items, wakers) = (VecDeque::new(), Vec::new());
        let inner = Inner { items, capacity, last: 0, run, wakers, is_closed: false };
        Broadcast(Arc::new(Mutex::new(inner)))
    }

    /// Publishes `item`; never waits. A closed broadcast ignores it.
    pub fn publish(&self, item: T) {
        let item = Arc::new(item);
        let mut inner = self.0.lock();
        if inner.is_closed {
            return;
        }
        if inner.items.len() == inner.capacity {
            inner.items.pop_front();
        }
        inner.items.push_back(item);
        inner.last += 1;
        // A waker holds one signal. If it is full, its subscriber has not looked since the last signal and
        // will find this item too. If it is disconnected, its subscriber was dropped.
        inner.wakers.retain(|waker| waker.try_send(()).map_or_else(|error| error.is_full(), |()| true));
    }

    /// A number that another run of the program does not have.
    pub fn run(&self) -> u64 {
        self.0.lock().run
    }

    /// The number of the last item; 0 before the first.
    pub fn last(&self) -> u64 {
        self.0.lock().last
    }

    /// The items after item `number`. A number beyond the last item counts as that of the last item.
    pub fn after(&self, number: u64) -> Batch<T> {
        let inner = self.0.lock();
        let first = inner.last + 1 - inner.items.len() as u64;
        let next = number.min(inner.last) + 1;
        let skipped = usize::try_from(next.saturating_sub(first)).unwrap_or(usize::MAX);
        let items =
            (first..).zip(&inner.items).skip(skipped).map(|(number, item)| (number, Arc::clone(item)));
        Batch { missed: first.saturating_sub(next), items: items.collect() }
    }

    /// Subscribes to the items that are published from now on.
    pub fn subscribe(&self) -> Subscriber<T> {
        let (waker, woken) = bounded(1);
        let mut inner = self.0.lock();
        if !inner.is_closed {
            inner.wakers.push(waker);
        }
        Subscriber { seen: inner.last, woken, broadcast: self.clone() }
    }

    /// Ends the broadcast. Subscribers still receive the items that were published before.
    pub fn close(&self) {
        let mut inner = self.0.lock();
        inner.is_closed = true;
        inner.wakers.clear();
    }
}

impl<T> Subscriber<T> {
    /// Delivers a signal when [`Subscriber::catch_up`] may return items. It is disconnected when the
    /// broadcast is closed.
    pub fn woken(&self) -> &Receiver<()> {
        &self.woken
    }

    /// The items since the last call; never waits.
    pub fn catch_up(&mut self) -> Batch<T> {
        let batch = self.broadcast.after(self.seen);
        self.seen += batch.missed + batch.items.len() as u64;
        batch
    }
}

/// Waits for items; ends when the broadcast is closed and all its items were received.
impl<T> Iterator for Subscriber<T> {
    type Item = Batch<T>;

    fn next(&mut self) -> Option<Batch<T>> {
        loop {
            let batch = self.catch_up();
            if !batch.is_empty() {
                return Some(batch);
            }
            if self.woken.recv().is_err() {
                // Items may have been published between `catch_up` and the end.
                return Some(self.catch_up()).filter(|last| !last.is_empty());
            }
        }
    }
}

impl<T> Batch<T> {
    fn is_empty(&self) -> bool {
        self.missed == 0 && self.items.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAPACITY: u64 = 16;

    /// Each item is its own number.
    fn broadcast() -> Broadcast<u64> {
        Broadcast::new(CAPACITY as usize)
    }

    /// The number of missed items, and the numbers of the others. Checks that each item has its number.
    fn seen(batch: &Batch<u64>) -> (u64, Vec<u64>) {
        for (number, item) in &batch.items {
            assert_eq!(**item, *number);
        }
        (batch.missed, batch.items.iter().map(|(number, _)| *number).collect())
    }

    #[test]
    fn a_subscriber_receives_all_items_published_after_it_subscribed() {
        let broadcast = broadcast();
        broadcast.publish(1);
        let mut early = broadcast.subscribe();
        broadcast.publish(2);
        let mut late = broadcast.subscribe();
        assert!(early.woken().try_recv().is_ok() && late.woken().is_empty());
        broadcast.publish(3);
        assert_eq!((seen(&early.catch_up()), seen(&late.catch_up())), ((0, vec![2, 3]), (0, vec![3])));
        assert_eq!(seen(&early.catch_up()), (0, vec![]));
        assert_eq!(
            (seen(&broadcast.after(0)), seen(&broadcast.after(99))),
            ((0, vec![1, 2, 3]), (0, vec![]))
        );
    }

    #[test]
    fn a_slow_subscriber_learns_how_many_it_missed_and_memory_is_bounded() {
        let broadcast = broadcast();
        let mut slow = broadcast.subscribe();
        (1..=2 * CAPACITY).for_each(|number| broadcast.publish(number));
        assert_eq!(seen(&slow.catch_up()), (CAPACITY, (CAPACITY + 1..=2 * CAPACITY).collect()));
        broadcast.publish(2 * CAPACITY + 1);
        assert_eq!(seen(&slow.catch_up()), (0, vec![2 * CAPACITY + 1]));
        assert_eq!(broadcast.0.lock().items.len() as u64, CAPACITY);
        for _ in 0..100 {
            drop(broadcast.subscribe());
            broadcast.publish(0);
        }
        assert_eq!(broadcast.0.lock().wakers.len(), 1, "dropped subscribers are forgotten");
    }

    #[test]
    fn subscribers_of_a_closed_broadcast_receive_what_is_left_and_end() {
        let broadcast = broadcast();
        let mut subscriber = broadcast.subscribe();
        broadcast.publish(1);
        broadcast.close();
        broadcast.publish(2);
        assert!(subscriber.woken().recv().is_ok());
        assert!(subscriber.woken().recv().is_err(), "closed");
        assert_eq!(seen(&subscriber.catch_up()), (0, vec![1]));
        assert!(broadcast.subscribe().woken().recv().is_err());
    }
}
