//! Timers: one deadline for each of many keys, in a heap. An entry of the heap can be outdated; it is skipped
//! when its instant comes.
//!
//! A deadline moves to later with every turn of a connection. That needs no heap operation: the entry stays
//! and is entered again when its instant comes. Invariants: each key with a deadline has an entry that is not
//! later than the deadline; beyond `CLEAN_UP_MIN` entries at most about half are outdated.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::hash::Hash;
use std::time::Instant;

/// A heap with at most this many outdated entries is not cleaned up.
const CLEAN_UP_MIN: usize = 64;

/// The deadlines of many keys.
#[derive(Debug)]
pub(super) struct Timers<K> {
    /// Instant, number and key. Entries with equal instants are in the order of their numbers, that is in the
    /// order in which they were set, so that no key is always first.
    heap: BinaryHeap<Reverse<(Instant, u64, K)>>,
    keys: HashMap<K, Due>,
    /// Number of entries that were made.
    set_count: u64,
}

#[derive(Debug, Clone, Copy)]
struct Due {
    /// The deadline.
    at: Instant,
    /// Instant of the earliest entry of this key. Other entries of the key are outdated.
    entry: Instant,
}

impl<K: Copy + Ord + Hash> Timers<K> {
    pub(super) fn new() -> Timers<K> {
        Timers { heap: BinaryHeap::new(), keys: HashMap::new(), set_count: 0 }
    }

    /// Sets or moves the deadline of `key`; `None` removes it.
    pub(super) fn set(&mut self, key: K, at: Option<Instant>) {
        let Some(at) = at else {
            self.keys.remove(&key);
            return;
        };
        match self.keys.get_mut(&key) {
            Some(due) if due.entry <= at => due.at = at,
            _ => {
                self.keys.insert(key, Due { at, entry: at });
                self.enter(at, key);
            }
        }
    }

    /// The instant of the first entry; no deadline is before it. The first deadline may be later.
    pub(super) fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, ..))| *at)
    }

    /// Removes and returns a key whose deadline is not after `now`.
    pub(super) fn pop(&mut self, now: Instant) -> Option<K> {
        while self.next()? <= now {
            let Reverse((entry, _, key)) = self.heap.pop()?;
            match self.keys.get_mut(&key) {
                Some(due) if due.entry == entry && due.at <= now => {
                    self.keys.remove(&key);
                    return Some(key);
                }
                Some(due) if due.entry == entry => {
                    due.entry = due.at;
                    let at = due.at;
                    self.enter(at, key);
                }
                _ => {}
            }
        }
        None
    }

    fn enter(&mut self, at: Instant, key: K) {
        self.set_count += 1;
        self.heap.push(Reverse((at, self.set_count, key)));
        if self.heap.len() > CLEAN_UP_MIN + 2 * self.keys.len() {
            let keys = &self.keys;
            let mut seen = std::collections::HashSet::new();
            self.heap.retain(|Reverse((at, _, key))| {
                keys.get(key).is_some_and(|due| due.entry == *at) && seen.insert(*key)
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::time::Duration;

    proptest! {
        /// The oracle is a map that is searched completely.
        #[test]
        fn due_keys_are_those_of_a_search_through_all_deadlines(
            steps in prop::collection::vec((0u8..4, 0u64..6, 0u64..50), 1..400),
        ) {
            let start = crate::rt::clock::now();
            let at = |ms: u64| start + Duration::from_millis(ms);
            let (mut timers, mut plain) = (Timers::new(), BTreeMap::new());
            let mut now_ms = 0;
            for (what, key, ms) in steps {
                match what {
                    0 => {
                        timers.set(key, None);
                        plain.remove(&key);
                    }
                    1 => {
                        now_ms += ms / 5;
                        let mut due = Vec::new();
                        while let Some(key) = timers.pop(at(now_ms)) {
                            due.push(key);
                        }
                        due.sort_unstable();
                        let expected: Vec<u64> =
                            plain.iter().filter(|(_, ms)| **ms <= now_ms).map(|(key, _)| *key).collect();
                        plain.retain(|_, ms| *ms > now_ms);
                        prop_assert_eq!(due, expected);
                    }
                    _ => {
                        timers.set(key, Some(at(now_ms + ms)));
                        plain.insert(key, now_ms + ms);
                    }
                }
                if let Some(first) = plain.values().min() {
                    prop_assert!(timers.next().is_some_and(|next| next <= at(*first)));
                }
                prop_assert!(timers.heap.len() <= CLEAN_UP_MIN + 2 * 6 + 1);
            }
        }
    }

    #[test]
    fn keys_with_equal_deadlines_are_due_in_the_order_in_which_they_were_set() {
        let (mut timers, now) = (Timers::new(), crate::rt::clock::now());
        for key in [3, 1, 2] {
            timers.set(key, Some(now));
        }
        assert_eq!(
            [timers.pop(now), timers.pop(now), timers.pop(now), timers.pop(now)],
            [Some(3), Some(1), Some(2), None]
        );
    }
}
