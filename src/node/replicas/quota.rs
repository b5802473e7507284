//! Replica tasks of this node and the room for more of them.
//!
//! A task is accepted under the lock that also says what is under way, so that the tracker is never told that
//! an accepted task is not under way. Invariant: replicas on the disk and accepted tasks together are at most
//! the quota; a task beyond it is refused before a byte is fetched.

use std::collections::VecDeque;

use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::Mutex;

use crate::discovery::ReplicaCapacity;
use crate::store::Usage;
use crate::types::{ReplicaTask, limits};

/// What a node keeps for others, as its threads share it.
#[derive(Debug)]
pub(crate) struct Replicas {
    /// `None`: it keeps nothing.
    quota_bytes: Option<u64>,
    state: Mutex<State>,
    wake: (Sender<()>, Receiver<()>),
}

#[derive(Debug, Default)]
struct State {
    /// Bytes of replicas here and bytes that are free, as of the last measurement; `None`: not known yet, and
    /// nothing is asked for.
    measured: Option<Usage>,
    /// Files may have come or gone since the measurement.
    is_stale: bool,
    /// The first one is being fetched.
    tasks: VecDeque<ReplicaTask>,
}

impl State {
    /// Bytes that there is room for beyond the tasks; 0 while nothing is known.
    fn room_bytes(&self, quota_bytes: u64) -> u64 {
        let Some(usage) = self.measured else { return 0 };
        let tasks = self.tasks.iter().fold(0u64, |sum, task| sum.saturating_add(task.content.size_bytes));
        room(&usage, quota_bytes).saturating_sub(tasks)
    }
}

/// Bytes that there is room for. Parts count as files do; the one that is gone on with counts twice for that
/// while.
pub(super) fn room(usage: &Usage, quota_bytes: u64) -> u64 {
    let taken = usage.used_bytes.saturating_add(usage.parts_bytes);
    quota_bytes.saturating_sub(taken).min(usage.free_bytes)
}

impl Replicas {
    pub(crate) fn new(quota_bytes: Option<u64>) -> Replicas {
        Replicas { quota_bytes, state: Mutex::default(), wake: bounded(1) }
    }

    /// This node keeps replicas.
    pub(crate) fn is_willing(&self) -> bool {
        self.quota_bytes.is_some()
    }

    /// See [`crate::discovery::PublishedCatalog::replica_capacity`].
    pub(crate) fn capacity(&self) -> Option<ReplicaCapacity> {
        let (quota_bytes, state) = (self.quota_bytes?, self.state.lock());
        state.measured?;
        let running = state.tasks.iter().map(|task| task.content).collect();
        Some(ReplicaCapacity { free_bytes: state.room_bytes(quota_bytes), running })
    }

    /// Takes tasks on as far as there is room; returns those that are refused.
    pub(crate) fn take_on(&self, tasks: Vec<ReplicaTask>) -> Vec<ReplicaTask> {
        let quota_bytes = self.quota_bytes();
        let mut refused = Vec::new();
        let has_work = {
            let mut state = self.state.lock();
            for task in tasks {
                let is_known = state.tasks.iter().any(|known| known.content == task.content);
                let has_room = task.content.size_bytes <= state.room_bytes(quota_bytes)
                    && state.tasks.len() < limits::REPLICA_TASKS_MAX
                    && state.measured.is_some();
                match (is_known, has_room) {
                    (true, _) => {}
                    (false, true) => state.tasks.push_back(task),
                    (false, false) => refused.push(task),
                }
            }
            !state.tasks.is_empty()
        };
        if has_work {
            // Full: the thread has been woken and has not looked yet.
            let _awake_already = self.wake.0.try_send(());
        }
        refused
    }

    /// What is here is to be measured anew, as somebody may have removed something by hand. Does not wait.
    pub(crate) fn look_again(&self) {
        self.state.lock().is_stale = true;
        let _awake_already = self.wake.0.try_send(());
    }

    /// 0 if this node keeps no replicas.
    pub(super) fn quota_bytes(&self) -> u64 {
        self.quota_bytes.unwrap_or(0)
    }

    /// Delivers when there may be something to do.
    pub(super) fn woken(&self) -> &Receiver<()> {
        &self.wake.1
    }

    /// Returns true if and only if it was asked to look again since the last time.
    pub(super) fn is_to_look_again(&self) -> bool {
        std::mem::take(&mut self.state.lock().is_stale)
    }

    pub(super) fn measured(&self, usage: Usage) {
        self.state.lock().measured = Some(usage);
    }

    pub(super) fn first(&self) -> Option<ReplicaTask> {
        self.state.lock().tasks.front().cloned()
    }

    /// The first task has ended well; if it was `fetched` there is a file more.
    pub(super) fn done(&self, fetched: bool) {
        let mut state = self.state.lock();
        let size_bytes =
            state.tasks.pop_front().filter(|_| fetched).map_or(0, |task| task.content.size_bytes);
        if let Some(usage) = &mut state.measured {
            usage.used_bytes = usage.used_bytes.saturating_add(size_bytes);
            usage.free_bytes = usage.free_bytes.saturating_sub(size_bytes);
        }
    }

    /// The first task has failed; what it has left is measured.
    pub(super) fn failed(&self, usage: Usage) {
        let mut state = self.state.lock();
        state.tasks.pop_front();
        state.measured = Some(usage);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{ContentId, ContentKey, FileName};

    fn task(number: u8, size_bytes: u64) -> ReplicaTask {
        let content = ContentKey { size_bytes, id: ContentId([number; 32]) };
        ReplicaTask { content, name: FileName::new(&format!("f{number}")).expect("a name") }
    }

    fn usage(used_bytes: u64, free_bytes: u64) -> Usage {
        Usage { used_bytes, parts_bytes: 0, free_bytes }
    }

    fn room_of(replicas: &Replicas) -> Option<u64> {
        replicas.capacity().map(|capacity| capacity.free_bytes)
    }

    #[test]
    fn tasks_are_taken_on_within_the_quota_alone() {
        let replicas = Replicas::new(Some(100));
        assert_eq!(room_of(&replicas), None, "nothing is known yet");
        assert_eq!(replicas.take_on(vec![task(1, 0)]).len(), 1);
        replicas.measured(usage(40, 1000));
        assert_eq!(room_of(&replicas), Some(60));
        assert_eq!(replicas.take_on(vec![task(1, 50), task(2, 11), task(3, 10)]), [task(2, 11)]);
        assert_eq!(room_of(&replicas), Some(0));
        assert_eq!(replicas.take_on(vec![task(1, 50)]), [], "it is known");
        assert_eq!(replicas.take_on(vec![task(4, 1)]), [task(4, 1)]);
        replicas.done(true);
        assert_eq!((room_of(&replicas), replicas.first()), (Some(0), Some(task(3, 10))));
        replicas.failed(usage(90, 950));
        assert_eq!(room_of(&replicas), Some(10));
        // The disk may have less than the quota, and files may have been put there behind our back.
        replicas.measured(usage(90, 3));
        assert_eq!(room_of(&replicas), Some(3));
        replicas.measured(usage(101, 1000));
        assert_eq!(room_of(&replicas), Some(0));
    }

    #[test]
    fn no_more_than_five_at_a_time_and_none_without_consent() {
        let replicas = Replicas::new(Some(u64::MAX));
        replicas.measured(usage(0, u64::MAX));
        let tasks: Vec<_> = (0..9).map(|number| task(number, 1)).collect();
        assert_eq!(replicas.take_on(tasks.clone()), tasks[5..]);
        let unwilling = Replicas::new(None);
        unwilling.measured(usage(0, u64::MAX));
        assert_eq!((unwilling.capacity(), unwilling.take_on(vec![task(1, 1)])), (None, vec![task(1, 1)]));
        assert_eq!(unwilling.first(), None);
    }
}
