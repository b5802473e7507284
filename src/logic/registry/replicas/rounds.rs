//! Requests for copies, and the rounds that look for missing copies and give out tasks.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::time::Instant;

use super::plan::{ReplicationRequest, Task};
use crate::logic::registry::admission::RegistryError;
use crate::logic::registry::entry::{Node, Reachability};
use crate::logic::registry::index::slot_u32;
use crate::logic::registry::state::Registry;
use crate::logic::replication::{CopyState, Holder, Keeper, Need, place};
use crate::types::{ContentId, ContentKey, FileName, Holding, Liveness, Query, ReplicationStatus, limits};

/// A decision about one content.
struct Decision {
    status: ReplicationStatus,
    /// Number of nodes that it compared.
    nodes: usize,
}

impl Registry {
    /// Requests `copies` live copies of a content, to be kept under `name`; 0 takes back the request. The
    /// last request counts. With `is_repeated` (an earlier run of the tracker had the request) it counts only
    /// if there is no other one. A new request is served at once, as far as nodes can take copies. It stays
    /// until it is taken back. If there is a policy, the greater number counts.
    ///
    /// # Errors
    /// [`RegistryError::Copies`], [`RegistryError::Requests`]; [`RegistryError::NoCopy`] for a new request if
    /// no live node has the whole content.
    pub fn request_copies(
        &mut self,
        content: ContentKey,
        name: FileName,
        copies: u32,
        is_repeated: bool,
        now: Instant,
    ) -> Result<ReplicationStatus, RegistryError> {
        if copies > limits::REPLICA_COPIES_MAX {
            return Err(RegistryError::Copies { copies });
        }
        self.age_losses(now);
        let key = (content.id, content.size_bytes);
        if copies == 0 {
            self.replication.requests.remove(&key);
            return Ok(self.give_missing(content, &mut [], now).status);
        }
        if !is_repeated && self.holders_of(content, now).1.is_none() {
            return Err(RegistryError::NoCopy(content.id));
        }
        let max = self.limits.replica_requests_max;
        if !self.replication.requests.contains_key(&key) && self.replication.requests.len() >= max {
            self.drop_requests_without_content();
            if self.replication.requests.len() >= max {
                return Err(RegistryError::Requests { max });
            }
        }
        if !is_repeated {
            self.replication.requests.remove(&key);
        }
        self.replication.requests.entry(key).or_insert(ReplicationRequest { copies, name });
        self.replication.is_on = true;
        // For a repeated request a round gives out the tasks, after the nodes had time to come back.
        let mut keepers = if is_repeated { Vec::new() } else { self.keepers() };
        Ok(self.give_missing(content, &mut keepers, now).status)
    }

    /// Checks that the set of all tasks is the sum of the tasks of each node.
    #[cfg(test)]
    pub(crate) fn check_tasks(&self) {
        let of = |(slot, node): (usize, &Node)| -> Vec<(ContentKey, u32)> {
            let tasks = node.capacity.iter().flat_map(|capacity| &capacity.tasks);
            tasks.map(|task| (task.content, slot_u32(slot))).collect()
        };
        assert_eq!(self.replication.tasks, self.nodes.iter().flat_map(of).collect());
    }

    /// Number of losses that are remembered.
    #[cfg(test)]
    pub(crate) fn replication_losses(&self) -> usize {
        self.replication.losses.iter().map(|(_, batch)| batch.len()).sum()
    }

    /// Drops the requests for contents that are in no catalog.
    fn drop_requests_without_content(&mut self) {
        let index = &self.index;
        let is_known = |id: ContentId| index.holders(&Query::Content(id.into()), |_| true).next().is_some();
        self.replication.requests.retain(|(id, _), _| is_known(*id));
    }

    /// One pass: looks at a bounded number of contents and gives out tasks where copies are missing. To be
    /// called several times a second.
    pub fn replicate(&mut self, now: Instant) {
        let grace = self.limits.replica_grace;
        self.age_losses(now);
        self.replication.quiet_until.get_or_insert(now + grace);
        self.replication.is_on = self.limits.replicas > 0 || !self.replication.requests.is_empty();
        if !self.replication.is_on && self.replication.tasks.is_empty() {
            return;
        }
        // Their tasks must go to other nodes.
        let is_lost = |node: &Node| node.heartbeats.silent_for(now).is_some_and(|silent| silent >= grace);
        let lost: Vec<u32> = self
            .nodes
            .iter()
            .filter(|(_, node)| node.capacity.is_some() && is_lost(node))
            .map(|(slot, _)| slot_u32(slot))
            .collect();
        for slot in lost {
            let capacity = self.node_mut(slot).capacity.take();
            self.drop_tasks(slot, capacity);
        }
        self.continue_round(now);
    }

    /// See [`Replication::age_losses`](super::plan::Replication::age_losses). Every decision needs this
    /// first.
    pub(super) fn age_losses(&mut self, now: Instant) {
        let (grace, max) = (self.limits.replica_grace, self.limits.replica_losses_max);
        self.replication.age_losses(grace, max, now);
    }

    /// The number of requests, and the number of tasks.
    pub fn replication_counts(&self) -> (usize, usize) {
        (self.replication.requests.len(), self.replication.tasks.len())
    }

    /// Continues the round: looks at the next contents, or begins the next round if it is time.
    pub(super) fn continue_round(&mut self, now: Instant) {
        if !self.replication.is_on || self.replication.quiet_until.is_none_or(|until| now < until) {
            return;
        }
        let mut keepers = self.keepers();
        let mut left = limits::REPLICA_STEP;
        // Without a keeper that can take a task there is nothing to give out.
        while left > 0 && keepers.iter().any(|keeper| keeper.tasks < limits::REPLICA_TASKS_MAX) {
            let is_beginning = self.replication.looked_at.is_none();
            if is_beginning && self.replication.next_round.is_some_and(|at| now < at) {
                return;
            }
            self.replication.looked_at = self.next_content();
            if is_beginning {
                self.replication.next_round = Some(now + limits::ms(limits::REPLICA_ROUND_MS));
            }
            let Some(id) = self.replication.looked_at else { return };
            left = left.saturating_sub(1);
            for content in self.contents_of(id) {
                // A decision takes time for each node.
                left = left.saturating_sub(self.give_missing(content, &mut keepers, now).nodes);
            }
        }
    }

    /// The content to look at next: with a policy every content in its turn, else every requested one.
    fn next_content(&self) -> Option<ContentId> {
        let after = self.replication.looked_at;
        if self.limits.replicas > 0 {
            return self.index.contents_after(after).next();
        }
        let start = after.map_or(Bound::Unbounded, |id| Bound::Excluded((id, u64::MAX)));
        self.replication.requests.range((start, Bound::Unbounded)).next().map(|((id, _), _)| *id)
    }

    /// The contents with that id. There is only one, unless a node publishes a wrong size.
    fn contents_of(&self, id: ContentId) -> BTreeSet<ContentKey> {
        let postings = self.index.holders(&Query::Content(id.into()), |slot| self.is_offered(slot));
        postings.map(|(slot, entry)| self.node(slot).catalog.stored(entry).key()).collect()
    }

    /// Decides about one content and gives its tasks to `keepers`, whose tasks and free bytes it updates.
    fn give_missing(&mut self, content: ContentKey, keepers: &mut [Keeper], now: Instant) -> Decision {
        let (holders, name) = self.holders_of(content, now);
        for keeper in keepers.iter_mut() {
            let failures = self.node(keeper.slot).capacity.iter().flat_map(|capacity| &capacity.failures);
            keeper.has_failed =
                failures.into_iter().any(|failure| failure.content == content && failure.until > now);
        }
        let (chosen, status) = place(&self.need(content, &holders), keepers);
        let request = self.replication.requests.get(&(content.id, content.size_bytes));
        if let Some(name) = request.map(|request| request.name.clone()).or(name) {
            for slot in chosen {
                self.give(slot, Task { content, name: Some(name.clone()) });
                for keeper in keepers.iter_mut().filter(|keeper| keeper.slot == slot) {
                    keeper.tasks += 1;
                    keeper.free_bytes = keeper.free_bytes.saturating_sub(content.size_bytes);
                }
            }
        }
        Decision { status, nodes: holders.len() + keepers.len() }
    }

    /// The copies that are wanted of a content.
    pub(super) fn need<'a>(&self, content: ContentKey, holders: &'a [Holder]) -> Need<'a> {
        let request = self.replication.requests.get(&(content.id, content.size_bytes));
        let wanted = self.limits.replicas.max(request.map_or(0, |request| request.copies));
        let departed = self.replication.departed(content.id);
        Need { size_bytes: content.size_bytes, wanted, holders, departed }
    }

    /// The nodes that have some of a content or the task to fetch it, and a name under which a live node has
    /// the whole content.
    pub(super) fn holders_of(&self, content: ContentKey, now: Instant) -> (Vec<Holder>, Option<FileName>) {
        let mut states: BTreeMap<u32, CopyState> = BTreeMap::new();
        let mut name = None;
        let tasks = (content, 0)..=(content, u32::MAX);
        states.extend(self.replication.tasks.range(tasks).map(|(_, slot)| (*slot, CopyState::Task)));
        for (slot, entry) in self.index.holders(&Query::Content(content.id.into()), |_| true) {
            let (node, entry) = (self.node(slot), self.node(slot).catalog.stored(entry));
            if entry.key() != content || node.reachability != Reachability::Verified {
                continue;
            }
            let silent = node.heartbeats.silent_for(now);
            let state = match (entry.holding, silent) {
                (Holding::Full, None) => CopyState::Copy,
                (Holding::Full, Some(silent)) if silent < self.limits.replica_grace => CopyState::Awaited,
                (Holding::Pieces(_), None) => CopyState::Part,
                _ => continue,
            };
            if state == CopyState::Copy {
                name.get_or_insert_with(|| entry.name.clone());
            }
            let known = states.entry(slot).or_insert(state);
            *known = state.max(*known);
        }
        let holder = |(slot, state)| Holder { slot, host: self.node(slot).endpoint.ip(), state };
        (states.into_iter().map(holder).collect(), name)
    }

    /// The live nodes that keep replicas.
    fn keepers(&self) -> Vec<Keeper> {
        let keeper = |(slot, node): (usize, &Node)| {
            let capacity = node.capacity.as_ref()?;
            Some(Keeper {
                slot: slot_u32(slot),
                endpoint: node.endpoint,
                load: node.load.unwrap_or(0),
                tasks: capacity.tasks.len(),
                free_bytes: capacity.free_bytes,
                has_failed: false,
            })
        };
        let live = self.nodes.iter().filter(|(_, node)| node.heartbeats.liveness() == Liveness::Live);
        live.filter_map(keeper).collect()
    }
}
