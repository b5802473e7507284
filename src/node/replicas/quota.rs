//! The replica tasks of this node, and the room for more of them.
//!
//! One lock guards both, so that the tracker never learns a list of running tasks without a task that was
//! just accepted. Invariant: a task is accepted only if its size fits into the quota together with the
//! replicas on the disk and the accepted tasks; any other task is refused before a byte is fetched.

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
    /// Wakes the thread `replicas`.
    wake: (Sender<()>, Receiver<()>),
}

#[derive(Debug, Default)]
struct State {
    /// The last measurement, with the replicas fetched since; `None` before the first one.
    usage: Option<Usage>,
    /// The user may have added or removed files since the measurement.
    is_stale: bool,
    /// The accepted tasks. The thread `replicas` fetches the first one.
    tasks: VecDeque<ReplicaTask>,
}

impl State {
    /// Bytes of room beyond the accepted tasks; 0 before the first measurement.
    fn room_bytes(&self, quota_bytes: u64) -> u64 {
        let Some(usage) = self.usage else { return 0 };
        let tasks = self.tasks.iter().fold(0u64, |sum, task| sum.saturating_add(task.content.size_bytes));
        room(&usage, quota_bytes).saturating_sub(tasks)
    }
}

/// Bytes of room. Partial files count like files. So the task that is being fetched counts twice, with its
/// partial file and with its size, which only leaves less room.
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

    /// The room and the accepted tasks, for the tracker; `None`: this node takes no replica now.
    pub(crate) fn capacity(&self) -> Option<ReplicaCapacity> {
        let (quota_bytes, state) = (self.quota_bytes?, self.state.lock());
        state.usage?;
        let running = state.tasks.iter().map(|task| task.content).collect();
        Some(ReplicaCapacity { free_bytes: state.room_bytes(quota_bytes), running })
    }

    /// Accepts tasks while there is room; returns the refused ones. None has room before the first
    /// measurement.
    pub(crate) fn accept(&self, tasks: Vec<ReplicaTask>) -> Vec<ReplicaTask> {
        let quota_bytes = self.quota_bytes();
        let mut refused = Vec::new();
        let has_work = {
            let mut state = self.state.lock();
            for task in tasks {
                let is_known = state.tasks.iter().any(|known| known.content == task.content);
                let has_room = task.content.size_bytes <= state.room_bytes(quota_bytes)
                    && state.tasks.len() < limits::REPLICA_TASKS_MAX
                    && state.usage.is_some();
                if !is_known && has_room {
                    state.tasks.push_back(task);
                } else if !is_known {
                    refused.push(task);
                }
            }
            !state.tasks.is_empty()
        };
        if has_work {
            self.wake_thread();
        }
        refused
    }

    /// Requests a new measurement, as the user may have removed files. Does not wait.
    pub(crate) fn request_measurement(&self) {
        self.state.lock().is_stale = true;
        self.wake_thread();
    }

    fn wake_thread(&self) {
        // A full channel: the thread is being woken already.
        self.wake.0.try_send(()).ok();
    }

    /// The quota; 0 if this node keeps no replicas.
    pub(super) fn quota_bytes(&self) -> u64 {
        self.quota_bytes.unwrap_or(0)
    }

    /// Delivers when there may be work for the thread.
    pub(super) fn woken(&self) -> &Receiver<()> {
        &self.wake.1
    }

    /// Returns true if and only if a measurement was requested since the last call.
    pub(super) fn take_measurement_request(&self) -> bool {
        std::mem::take(&mut self.state.lock().is_stale)
    }

    /// Records a measurement.
    pub(super) fn record_usage(&self, usage: Usage) {
        self.state.lock().usage = Some(usage);
    }

    /// The task to fetch next.
    pub(super) fn first_task(&self) -> Option<ReplicaTask> {
        self.state.lock().tasks.front().cloned()
    }

    /// Removes the first task, which succeeded. With `is_fetched` there is a new file, which takes room.
    pub(super) fn record_done(&self, is_fetched: bool) {
        let mut state = self.state.lock();
        let size_bytes =
            state.tasks.pop_front().filter(|_| is_fetched).map_or(0, |task| task.content.size_bytes);
        if let Some(usage) = &mut state.usage {
            usage.used_bytes = usage.used_bytes.saturating_add(size_bytes);
            usage.free_bytes = usage.free_bytes.saturating_sub(size_bytes);
        }
    }

    /// Removes the first task, which failed, and records a measurement.
    pub(super) fn record_failed(&self, usage: Usage) {
        let mut state = self.state.lock();
        state.tasks.pop_front();
        state.usage = Some(usage);
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
        assert_eq!((room_of(&replicas), replicas.first_task()), (Some(0), Some(task(3, 10))));
        replicas.record_failed(usage(90, 950));
        assert_eq!(room_of(&replicas), Some(10));
        // The disk may have less room than the quota, and the user may have added files.
        replicas.record_usage(usage(90, 3));
        assert_eq!(room_of(&replicas), Some(3));
        replicas.record_usage(usage(101, 1000));
        assert_eq!(room_of(&replicas), Some(0));
    }

    #[test]
    fn tasks_are_accepted_up_to_their_maximum_number_and_none_without_a_quota() {
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
        assert_eq!(without_quota.first_task(), None);
    }
}
