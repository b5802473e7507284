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

/// Replica tasks and the room for them, shared by the threads of a node.
#[derive(Debug)]
pub(crate) struct Replicas {
    /// `None`: the node keeps no replicas.
    quota_bytes: Option<u64>,
    state: Mutex<State>,
    wake: (Sender<()>, Receiver<()>),
}

#[derive(Debug, Default)]
struct State {
    /// Bytes of replicas and free bytes at the last measurement; `None` before the first one, when no task is
    /// accepted.
    measured: Option<Usage>,
    /// The user may have added or removed files since the measurement.
    is_stale: bool,
    /// The first task is under way.
    tasks: VecDeque<ReplicaTask>,
}

impl State {
    /// Bytes of room beyond the accepted tasks; 0 before the first measurement.
    fn room_bytes(&self, quota_bytes: u64) -> u64 {
        let Some(usage) = self.measured else { return 0 };
        let tasks = self.tasks.iter().fold(0u64, |sum, task| sum.saturating_add(task.content.size_bytes));
        room(&usage, quota_bytes).saturating_sub(tasks)
    }
}

/// Bytes of room. Partial files count like files; that of the task under way counts twice meanwhile.
pub(super) fn room(usage: &Usage, quota_bytes: u64) -> u64 {
    let taken = usage.used_bytes.saturating_add(usage.partial_bytes);
    quota_bytes.saturating_sub(taken).min(usage.free_bytes)
}

impl Replicas {
    pub(crate) fn new(quota_bytes: Option<u64>) -> Replicas {
        Replicas { quota_bytes, state: Mutex::default(), wake: bounded(1) }
    }

    /// Returns true if and only if this node keeps replicas.
    pub(crate) fn are_kept(&self) -> bool {
        self.quota_bytes.is_some()
    }

    /// See [`crate::discovery::PublishedCatalog::replica_capacity`].
    pub(crate) fn capacity(&self) -> Option<ReplicaCapacity> {
        let (quota_bytes, state) = (self.quota_bytes?, self.state.lock());
        state.measured?;
        let running = state.tasks.iter().map(|task| task.content).collect();
        Some(ReplicaCapacity { free_bytes: state.room_bytes(quota_bytes), running })
    }

    /// Accepts tasks as far as there is room; returns the refused ones.
    pub(crate) fn accept(&self, tasks: Vec<ReplicaTask>) -> Vec<ReplicaTask> {
        let quota_bytes = self.quota_bytes();
        let mut refused = Vec::new();
        let has_work = {
            let mut state = self.state.lock();
            for task in tasks {
                let is_known = state.tasks.iter().any(|known| known.content == task.content);
                let has_room = task.content.size_bytes <= state.room_bytes(quota_bytes)
                    && state.tasks.len() < limits::REPLICA_TASKS_MAX
                    && state.measured.is_some();
                if !is_known && has_room {
                    state.tasks.push_back(task);
                } else if !is_known {
                    refused.push(task);
                }
            }
            !state.tasks.is_empty()
        };
        if has_work {
            // The channel is full if the thread was woken and has not looked yet.
            let _awake_already = self.wake.0.try_send(());
        }
        refused
    }

    /// Requests a new measurement, as the user may have removed files. Does not wait.
    pub(crate) fn measure_again(&self) {
        self.state.lock().is_stale = true;
        let _awake_already = self.wake.0.try_send(());
    }

    /// 0 if this node keeps no replicas.
    pub(super) fn quota_bytes(&self) -> u64 {
        self.quota_bytes.unwrap_or(0)
    }

    /// Delivers when there may be work for the thread.
    pub(super) fn woken(&self) -> &Receiver<()> {
        &self.wake.1
    }

    /// Returns true if and only if a measurement was requested since the last call.
    pub(super) fn must_measure_again(&self) -> bool {
        std::mem::take(&mut self.state.lock().is_stale)
    }

    /// Records a measurement.
    pub(super) fn record_usage(&self, usage: Usage) {
        self.state.lock().measured = Some(usage);
    }

    /// The task to fetch next.
    pub(super) fn first(&self) -> Option<ReplicaTask> {
        self.state.lock().tasks.front().cloned()
    }

    /// Removes the first task, which succeeded. If a file was `fetched`, it counts as used.
    pub(super) fn record_done(&self, fetched: bool) {
        let mut state = self.state.lock();
        let size_bytes =
            state.tasks.pop_front().filter(|_| fetched).map_or(0, |task| task.content.size_bytes);
        if let Some(usage) = &mut state.measured {
            usage.used_bytes = usage.used_bytes.saturating_add(size_bytes);
            usage.free_bytes = usage.free_bytes.saturating_sub(size_bytes);
        }
    }

    /// Removes the first task, which failed, and records a measurement.
    pub(super) fn record_failed(&self, usage: Usage) {
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
        Usage { used_bytes, partial_bytes: 0, free_bytes }
    }

    fn room_of(replicas: &Replicas) -> Option<u64> {
        replicas.capacity().map(|capacity| capacity.free_bytes)
    }

    #[test]
    fn tasks_are_accepted_only_within_the_quota() {
        let replicas = Replicas::new(Some(100));
        assert_eq!(room_of(&replicas), None, "not measured yet");
        assert_eq!(replicas.accept(vec![task(1, 0)]).len(), 1);
        replicas.record_usage(usage(40, 1000));
        assert_eq!(room_of(&replicas), Some(60));
        assert_eq!(replicas.accept(vec![task(1, 50), task(2, 11), task(3, 10)]), [task(2, 11)]);
        assert_eq!(room_of(&replicas), Some(0));
        assert_eq!(replicas.accept(vec![task(1, 50)]), [], "it is accepted already");
        assert_eq!(replicas.accept(vec![task(4, 1)]), [task(4, 1)]);
        replicas.record_done(true);
        assert_eq!((room_of(&replicas), replicas.first()), (Some(0), Some(task(3, 10))));
        replicas.record_failed(usage(90, 950));
        assert_eq!(room_of(&replicas), Some(10));
        // The disk may have less room than the quota, and the user may have added files.
        replicas.record_usage(usage(90, 3));
        assert_eq!(room_of(&replicas), Some(3));
        replicas.record_usage(usage(101, 1000));
        assert_eq!(room_of(&replicas), Some(0));
    }

    #[test]
    fn at_most_five_tasks_are_accepted_and_none_without_a_quota() {
        let replicas = Replicas::new(Some(u64::MAX));
        replicas.record_usage(usage(0, u64::MAX));
        let tasks: Vec<_> = (0..9).map(|number| task(number, 1)).collect();
        assert_eq!(replicas.accept(tasks.clone()), tasks[5..]);
        let without_quota = Replicas::new(None);
        without_quota.record_usage(usage(0, u64::MAX));
        assert_eq!(
            (without_quota.capacity(), without_quota.accept(vec![task(1, 1)])),
            (None, vec![task(1, 1)])
        );
        assert_eq!(without_quota.first(), None);
    }
}
