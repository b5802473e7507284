//! The tasks of one node: what it reports about them, and what it gets.

use std::time::Instant;

use super::plan::{ReplicaCapacity, Task};
use crate::logic::registry::admission::RegistryError;
use crate::logic::registry::entry::{Reachability, SessionId};
use crate::logic::registry::state::Registry;
use crate::logic::replication::place;
use crate::types::{ContentKey, ReplicaTask, limits};

impl Registry {
    /// A node asks for something to keep: it has room for `free_bytes` more beyond the replicas that it is
    /// fetching, which are `running`. It is told each task once; what it was told and does not fetch any more
    /// is done or has failed. A node that does not consent, or is not verified, is told nothing.
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
            // Others may be waiting for its turn to be over.
            self.continue_round(now);
        }
        Ok(self.hand_out(slot, now))
    }

    /// Brings the tasks of a node up to what it says that it is at. Returns true if and only if one of them
    /// has ended.
    fn update_tasks(&mut self, slot: u32, running: &[ContentKey], now: Instant) -> bool {
        let capacity = self.node_mut(slot).capacity.get_or_insert_default();
        let tasks = std::mem::take(&mut capacity.tasks);
        let (ended, mut kept): (Vec<_>, Vec<_>) =
            tasks.into_iter().partition(|task| task.name.is_none() && !running.contains(&task.content));
        for content in running.iter().take(limits::REPLICA_TASKS_MAX) {
            // Given by a tracker that was here before.
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
            self.node_mut(slot).capacity.get_or_insert_default().ended(*content, is_done, now);
        }
        !ended.is_empty()
    }

    pub(crate) fn has_all(&self, slot: u32, content: ContentKey) -> bool {
        let mut own = self.index.entries_of(slot, content.id);
        own.any(|entry| self.node(slot).catalog.whole_content(entry) == Some(content))
    }

    /// The tasks that the node does not know of yet, those that have become needless taken back.
    fn hand_out(&mut self, slot: u32, now: Instant) -> Vec<ReplicaTask> {
        let Some(mut capacity) = self.node_mut(slot).capacity.take() else { return Vec::new() };
        let (mut told, free_bytes) = (Vec::new(), &mut capacity.free_bytes);
        capacity.tasks.retain_mut(|task| {
            let Some(name) = task.name.take() else { return true };
            let (holders, _) = self.holders_of(task.content, now);
            let (_, status) = place(&self.need(task.content, &holders), &[]);
            let in_sight = status.copies + status.awaited + status.under_way;
            if status.copies > 0 && in_sight <= status.wanted && !self.has_all(slot, task.content) {
                told.push(ReplicaTask { content: task.content, name });
                return true;
            }
            *free_bytes = free_bytes.saturating_add(task.content.size_bytes);
            self.replication.tasks.remove(&(task.content, slot));
            false
        });
        self.node_mut(slot).capacity = Some(capacity);
        told
    }

    pub(super) fn give(&mut self, slot: u32, task: Task) {
        self.replication.tasks.insert((task.content, slot));
        let capacity = self.node_mut(slot).capacity.get_or_insert_default();
        capacity.free_bytes = capacity.free_bytes.saturating_sub(task.content.size_bytes);
        capacity.tasks.push(task);
    }

    /// A node that is not verified or does not consent (any more) keeps nothing.
    pub(crate) fn check_consent(&mut self, slot: u32) {
        let node = self.node_mut(slot);
        if node.reachability != Reachability::Verified || node.traits.replica_quota_bytes.is_none() {
            let capacity = node.capacity.take();
            self.drop_tasks(slot, capacity);
        }
    }

    /// What a node was to do is nobody's task any more.
    pub(crate) fn drop_tasks(&mut self, slot: u32, capacity: Option<ReplicaCapacity>) {
        for task in capacity.into_iter().flat_map(|capacity| capacity.tasks) {
            self.replication.tasks.remove(&(task.content, slot));
        }
    }
}
