//! The tasks of one node: the node reports the ones that are under way, and gets new ones.

use std::time::Instant;

use super::plan::{ReplicaCapacity, Task};
use crate::logic::registry::admission::RegistryError;
use crate::logic::registry::entry::{Reachability, SessionId};
use crate::logic::registry::state::Registry;
use crate::logic::replication::place;
use crate::types::{ContentKey, ReplicaTask, limits};

impl Registry {
    /// Returns the new tasks of a node, each once. The node is fetching the replicas in `running`, and has
    /// `free_bytes` beyond them. A task that it got earlier and does not list is done or has failed. A node
    /// that is not verified or does not consent gets no tasks.
    ///
    /// # Errors
    /// [`RegistryError::NotRegistered`].
    pub fn take_tasks(
        &mut self,
        session: SessionId,
        free_bytes: u64,
        running: &[ContentKey],
        now: Instant,
    ) -> Result<Vec<ReplicaTask>, RegistryError> {
        let slot = self.registered(session)?;
        self.age_losses(now);
        let node = self.node_mut(slot);
        node.heartbeats.observe(now);
        if node.reachability != Reachability::Verified || node.traits.replica_quota_bytes.is_none() {
            return Ok(Vec::new());
        }
        node.capacity.get_or_insert_default().free_bytes = free_bytes;
        let has_ended = self.update_tasks(slot, running, now);
        if has_ended {
            // Other contents may wait for room among the tasks of this node.
            self.continue_round(now);
        }
        Ok(self.hand_out(slot, now))
    }

    /// Updates the tasks of a node to the replicas that it is fetching. Returns true if and only if a task
    /// has ended.
    fn update_tasks(&mut self, slot: u32, running: &[ContentKey], now: Instant) -> bool {
        let capacity = self.node_mut(slot).capacity.get_or_insert_default();
        let tasks = std::mem::take(&mut capacity.tasks);
        let (ended, mut kept): (Vec<_>, Vec<_>) =
            tasks.into_iter().partition(|task| task.name.is_none() && !running.contains(&task.content));
        for content in running.iter().take(limits::REPLICA_TASKS_MAX) {
            // An earlier run of the tracker gave this task.
            if kept.iter().all(|task| task.content != *content) {
                kept.push(Task { content: *content, name: None });
                self.replication.tasks.insert((*content, slot));
            }
        }
        let capacity = self.node_mut(slot).capacity.get_or_insert_default();
        let waiting = kept.iter().filter(|task| task.name.is_some());
        let waiting_bytes = waiting.fold(0u64, |sum, task| sum.saturating_add(task.content.size_bytes));
        capacity.free_bytes = capacity.free_bytes.saturating_sub(waiting_bytes);
        capacity.tasks = kept;
        for Task { content, .. } in &ended {
            self.replication.tasks.remove(&(*content, slot));
            let is_done = self.has_all(slot, *content);
            self.node_mut(slot).capacity.get_or_insert_default().record_end(*content, is_done, now);
        }
        !ended.is_empty()
    }

    /// True if the node has the whole content.
    pub(crate) fn has_all(&self, slot: u32, content: ContentKey) -> bool {
        let mut own = self.index.entries_of(slot, content.id);
        own.any(|entry| self.node(slot).catalog.whole_content(entry) == Some(content))
    }

    /// Returns the tasks that the node has not got yet, and takes back those that are no longer needed.
    fn hand_out(&mut self, slot: u32, now: Instant) -> Vec<ReplicaTask> {
        let Some(mut capacity) = self.node_mut(slot).capacity.take() else { return Vec::new() };
        let (mut new, free_bytes) = (Vec::new(), &mut capacity.free_bytes);
        capacity.tasks.retain_mut(|task| {
            let Some(name) = task.name.take() else { return true };
            let (holders, _) = self.holders_of(task.content, now);
            let (_, status) = place(&self.need(task.content, &holders), &[]);
            let expected = status.copies + status.awaited + status.under_way;
            if status.copies > 0 && expected <= status.wanted && !self.has_all(slot, task.content) {
                new.push(ReplicaTask { content: task.content, name });
                return true;
            }
            *free_bytes = free_bytes.saturating_add(task.content.size_bytes);
            self.replication.tasks.remove(&(task.content, slot));
            false
        });
        self.node_mut(slot).capacity = Some(capacity);
        new
    }

    /// Gives the node a task.
    pub(super) fn give(&mut self, slot: u32, task: Task) {
        self.replication.tasks.insert((task.content, slot));
        let capacity = self.node_mut(slot).capacity.get_or_insert_default();
        capacity.free_bytes = capacity.free_bytes.saturating_sub(task.content.size_bytes);
        capacity.tasks.push(task);
    }

    /// Removes the capacity and tasks of the node if it is not verified or does not consent (any more).
    pub(crate) fn check_consent(&mut self, slot: u32) {
        let node = self.node_mut(slot);
        if node.reachability != Reachability::Verified || node.traits.replica_quota_bytes.is_none() {
            let capacity = node.capacity.take();
            self.drop_tasks(slot, capacity);
        }
    }

    /// Removes the tasks of a node from the set of all tasks.
    pub(crate) fn drop_tasks(&mut self, slot: u32, capacity: Option<ReplicaCapacity>) {
        for task in capacity.into_iter().flat_map(|capacity| capacity.tasks) {
            self.replication.tasks.remove(&(task.content, slot));
        }
    }
}
