//! Copies that are wanted, and the tasks of those who are to make them: what
//! [`replication`](crate::logic::replication) decides from, and what becomes of its decisions.
//!
//! All contents are to have as many live copies as the policy says, single ones as many as was wished for. A
//! turn looks at so many of them and goes on there the next time, so that every shortage is found however it
//! came about; nothing depends on having noticed an event. A node asks for its tasks and says each time which
//! ones it is at, so that a tracker that was restarted knows what is under way. A task that is not under way
//! any more is done if the node has the content, and has failed else.
//!
//! Nobody takes the place of a node that has gone before it had `replica_grace` to come back: a copy that was
//! there a moment ago counts as awaited, be its node suspect, forgotten, gone with a goodbye, or there
//! without the file. For as long after the tracker's start nothing is done unasked. Nothing is ever taken
//! away. Invariants: `tasks` lists exactly the tasks of all nodes; only a proved node that consents has any;
//! `losses` has at most `replica_losses_max` lines.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::time::{Duration, Instant};

use super::index::slot_u32;
use super::{Node, Reachability, Registry, RegistryError, SessionId};
use crate::logic::replication::{Holder, Keeper, Need, Share, place};
use crate::types::{
    ContentId, ContentKey, FileName, Holding, Liveness, Query, ReplicaTask, ReplicationStatus, limits,
};

/// Most failures that are remembered of one node.
const FAILURES_MAX: usize = 64;
const LONGEST_RETRY: Duration = Duration::from_secs(3600);

/// What a node keeps for others.
#[derive(Debug, Default)]
pub(super) struct ReplicaCapacity {
    /// Bytes that it has room for, those of its tasks taken off.
    room_bytes: u64,
    tasks: Vec<Task>,
    failures: VecDeque<CopyFailure>,
}

/// A content that the node was asked to fetch.
#[derive(Debug)]
struct Task {
    content: ContentKey,
    /// `None` once the node has been told.
    name: Option<FileName>,
}

/// A node could not fetch a content.
#[derive(Debug, Clone, Copy)]
struct CopyFailure {
    content: ContentKey,
    /// It is not asked again before that.
    until: Instant,
    pause: Duration,
}

/// What is wanted, and how far the look at it has come.
#[derive(Debug, Default)]
pub(super) struct Replication {
    /// By content id and size.
    wishes: BTreeMap<(ContentId, u64), ReplicationRequest>,
    /// By content and slot of the node.
    tasks: BTreeSet<(ContentKey, u32)>,
    is_on: bool,
    /// The first bytes of the ids of contents of which copies have gone since the last turn, as many times as
    /// nodes have lost it.
    fresh_losses: Vec<u64>,
    /// The same before that, by turn, sorted.
    losses: VecDeque<(Instant, Vec<u64>)>,
    /// Nothing is done unasked before.
    quiet_until: Option<Instant>,
    /// What was looked at last; `None`: a round is to begin.
    looked_at: Option<ContentId>,
    next_round: Option<Instant>,
}

#[derive(Debug)]
struct ReplicationRequest {
    copies: u32,
    name: FileName,
}

impl Replication {
    pub(super) fn new(policy: u32) -> Replication {
        Replication { is_on: policy > 0, ..Replication::default() }
    }

    /// Somebody counts copies.
    pub(super) fn is_on(&self) -> bool {
        self.is_on
    }

    /// A node does not have these any more, all of which it had; a content may be said more than once.
    pub(super) fn lose(&mut self, contents: impl Iterator<Item = ContentKey>) {
        if self.is_on {
            let mut lost: Vec<u64> = contents.map(|content| first_bytes(content.id)).collect();
            lost.sort_unstable();
            lost.dedup();
            self.fresh_losses.append(&mut lost);
        }
    }

    /// How many nodes have lost it within the grace. Losses have to be aged before.
    fn departed(&self, id: ContentId) -> u32 {
        let wanted = first_bytes(id);
        let in_batch = |batch: &Vec<u64>| {
            batch.partition_point(|one| *one <= wanted) - batch.partition_point(|one| *one < wanted)
        };
        debug_assert!(self.fresh_losses.is_empty(), "whoever asks has aged them");
        self.losses.iter().map(|(_, batch)| in_batch(batch)).sum::<usize>() as u32
    }

    /// Dates what was lost since the last turn, and forgets what was lost long ago.
    fn age_losses(&mut self, grace: Duration, max: usize, now: Instant) {
        if !self.fresh_losses.is_empty() {
            let mut batch = std::mem::take(&mut self.fresh_losses);
            batch.sort_unstable();
            self.losses.push_back((now, batch));
        }
        let is_old = |at: Instant| now.saturating_duration_since(at) >= grace;
        while self.losses.front().is_some_and(|(at, _)| is_old(*at)) {
            self.losses.pop_front();
        }
        if self.losses.iter().map(|(_, batch)| batch.len()).sum::<usize>() > max {
            self.losses.clear();
            self.quiet_until = self.quiet_until.max(Some(now + grace));
        }
    }
}

impl Registry {
    /// Wishes for `copies` live copies of a content, to be kept under `name`; 0 takes the wish back. The last
    /// wish counts, but one that is told `again` after a tracker's restart only where there is none. A new
    /// wish is seen to at once, as far as willing nodes are there. A wish stays until it is taken back; the
    /// greater of wish and policy counts.
    ///
    /// # Errors
    /// [`RegistryError::Copies`], [`RegistryError::Wishes`]; [`RegistryError::NoCopy`] for a new wish that
    /// nobody can fulfil.
    pub fn wish(
        &mut self,
        content: ContentKey,
        name: FileName,
        copies: u32,
        again: bool,
        now: Instant,
    ) -> Result<ReplicationStatus, RegistryError> {
        if copies > limits::REPLICA_COPIES_MAX {
            return Err(RegistryError::Copies { copies });
        }
        self.age_losses(now);
        let key = (content.id, content.size_bytes);
        if copies == 0 {
            self.replication.wishes.remove(&key);
            return Ok(self.see_to(content, &mut [], now).0);
        }
        if !again && self.holders_of(content, now).1.is_none() {
            return Err(RegistryError::NoCopy(content.id));
        }
        let max = self.limits.replica_wishes_max;
        if !self.replication.wishes.contains_key(&key) && self.replication.wishes.len() >= max {
            self.drop_vain_wishes();
            if self.replication.wishes.len() >= max {
                return Err(RegistryError::Wishes { max });
            }
        }
        if !again {
            self.replication.wishes.remove(&key);
        }
        self.replication.wishes.entry(key).or_insert(ReplicationRequest { copies, name });
        self.replication.is_on = true;
        let mut keepers = if again { Vec::new() } else { self.keepers() };
        Ok(self.see_to(content, &mut keepers, now).0)
    }

    /// The tasks of all nodes are those of each.
    #[cfg(test)]
    pub(super) fn check_tasks(&self) {
        let of = |(slot, node): (usize, &Node)| -> Vec<(ContentKey, u32)> {
            let tasks = node.keeping.iter().flat_map(|keeping| &keeping.tasks);
            tasks.map(|task| (task.content, slot_u32(slot))).collect()
        };
        assert_eq!(self.replication.tasks, self.nodes.iter().flat_map(of).collect());
    }

    #[cfg(test)]
    pub(super) fn replication_losses(&self) -> usize {
        self.replication.losses.iter().map(|(_, batch)| batch.len()).sum()
    }

    /// Wishes for contents of which nobody has anything make room.
    fn drop_vain_wishes(&mut self) {
        let index = &self.index;
        let is_known = |id: ContentId| index.holders(&Query::Content(id.into()), |_| true).next().is_some();
        self.replication.wishes.retain(|(id, _), _| is_known(*id));
    }

    /// Lets time pass: looks at so many contents and gives tasks out where copies are missing. To be called
    /// several times a second.
    pub fn replicate(&mut self, now: Instant) {
        let grace = self.limits.replica_grace;
        self.age_losses(now);
        self.replication.quiet_until.get_or_insert(now + grace);
        self.replication.is_on = self.limits.replicas > 0 || !self.replication.wishes.is_empty();
        if !self.replication.is_on && self.replication.tasks.is_empty() {
            return;
        }
        let is_lost = |node: &Node| node.pulse.silent_for(now).is_some_and(|silent| silent >= grace);
        let lost: Vec<u32> = self
            .nodes
            .iter()
            .filter(|(_, node)| node.keeping.is_some() && is_lost(node))
            .map(|(slot, _)| slot_u32(slot))
            .collect();
        for slot in lost {
            let keeping = self.node_mut(slot).keeping.take();
            self.drop_tasks(slot, keeping);
        }
        self.look_on(now);
    }

    /// Comes before any decision: losses are counted in sorted batches alone.
    fn age_losses(&mut self, now: Instant) {
        let (grace, max) = (self.limits.replica_grace, self.limits.replica_losses_max);
        self.replication.age_losses(grace, max, now);
    }

    /// How many contents have a wish of their own, and how many copies nodes are at.
    pub fn replication_counts(&self) -> (usize, usize) {
        (self.replication.wishes.len(), self.replication.tasks.len())
    }

    /// The next part of a round.
    fn look_on(&mut self, now: Instant) {
        if !self.replication.is_on || self.replication.quiet_until.is_none_or(|until| now < until) {
            return;
        }
        let mut keepers = self.keepers();
        let mut left = limits::REPLICA_STEP;
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
                let (_, looked_at) = self.see_to(content, &mut keepers, now);
                left = left.saturating_sub(looked_at);
            }
        }
    }

    /// What is to be looked at next: everything where there is a policy, else what is wished for.
    fn next_content(&self) -> Option<ContentId> {
        let after = self.replication.looked_at;
        if self.limits.replicas > 0 {
            return self.index.contents_after(after).next();
        }
        let start = after.map_or(Bound::Unbounded, |id| Bound::Excluded((id, u64::MAX)));
        self.replication.wishes.range((start, Bound::Unbounded)).next().map(|((id, _), _)| *id)
    }

    /// The contents of that id: one, unless somebody lies about the size.
    fn contents_of(&self, id: ContentId) -> BTreeSet<ContentKey> {
        let postings = self.index.holders(&Query::Content(id.into()), |slot| self.is_offered(slot));
        postings.map(|(slot, entry)| self.node(slot).catalog.stored(entry).key()).collect()
    }

    /// Decides about one content and gives its tasks to `keepers`, whose tasks and room are kept up to date;
    /// also says at how many nodes it had to look.
    fn see_to(
        &mut self,
        content: ContentKey,
        keepers: &mut [Keeper],
        now: Instant,
    ) -> (ReplicationStatus, usize) {
        let (holders, name) = self.holders_of(content, now);
        for keeper in keepers.iter_mut() {
            let failures = self.node(keeper.slot).keeping.iter().flat_map(|keeping| &keeping.failures);
            keeper.has_failed =
                failures.into_iter().any(|failure| failure.content == content && failure.until > now);
        }
        let (chosen, status) = place(&self.need(content, &holders), keepers);
        let wish = self.replication.wishes.get(&(content.id, content.size_bytes));
        if let Some(name) = wish.map(|wish| wish.name.clone()).or(name) {
            for slot in chosen {
                self.give(slot, Task { content, name: Some(name.clone()) });
                for keeper in keepers.iter_mut().filter(|keeper| keeper.slot == slot) {
                    keeper.tasks += 1;
                    keeper.room_bytes = keeper.room_bytes.saturating_sub(content.size_bytes);
                }
            }
        }
        (status, holders.len() + keepers.len())
    }

    fn need<'a>(&self, content: ContentKey, holders: &'a [Holder]) -> Need<'a> {
        let wish = self.replication.wishes.get(&(content.id, content.size_bytes));
        let wanted = self.limits.replicas.max(wish.map_or(0, |wish| wish.copies));
        let departed = self.replication.departed(content.id);
        Need { size_bytes: content.size_bytes, wanted, holders, departed }
    }

    /// Who has what of a content or was asked to fetch it, and the name under which a live node has all of
    /// it.
    fn holders_of(&self, content: ContentKey, now: Instant) -> (Vec<Holder>, Option<FileName>) {
        let mut shares: BTreeMap<u32, Share> = BTreeMap::new();
        let mut name = None;
        let tasks = (content, 0)..=(content, u32::MAX);
        shares.extend(self.replication.tasks.range(tasks).map(|(_, slot)| (*slot, Share::Task)));
        for (slot, entry) in self.index.holders(&Query::Content(content.id.into()), |_| true) {
            let (node, entry) = (self.node(slot), self.node(slot).catalog.stored(entry));
            if entry.key() != content || node.proof != Reachability::Proved {
                continue;
            }
            let silent = node.pulse.silent_for(now);
            let share = match (entry.holding, silent) {
                (Holding::Full, None) => Share::Copy,
                (Holding::Full, Some(silent)) if silent < self.limits.replica_grace => Share::Awaited,
                (Holding::Pieces(_), None) => Share::Part,
                _ => continue,
            };
            if share == Share::Copy {
                name.get_or_insert_with(|| entry.name.clone());
            }
            let known = shares.entry(slot).or_insert(share);
            *known = share.max(*known);
        }
        let holder = |(slot, share)| Holder { slot, host: self.node(slot).endpoint.ip(), share };
        (shares.into_iter().map(holder).collect(), name)
    }

    /// Live nodes that keep replicas.
    fn keepers(&self) -> Vec<Keeper> {
        let keeper = |(slot, node): (usize, &Node)| {
            let keeping = node.keeping.as_ref()?;
            Some(Keeper {
                slot: slot_u32(slot),
                endpoint: node.endpoint,
                load: node.load.unwrap_or(0),
                tasks: keeping.tasks.len(),
                room_bytes: keeping.room_bytes,
                has_failed: false,
            })
        };
        let live = self.nodes.iter().filter(|(_, node)| node.pulse.liveness() == Liveness::Live);
        live.filter_map(keeper).collect()
    }
}

/// What a node that keeps replicas says, and is told.
impl Registry {
    /// A node asks for something to keep: it has room for `room_bytes` more beyond the replicas that it is
    /// fetching, which are `running`. It is told each task once; what it was told and does not fetch any more
    /// is done or has failed. A node that does not consent, or is not proved, is told nothing.
    ///
    /// # Errors
    /// [`RegistryError::NotRegistered`].
    pub fn take_tasks(
        &mut self,
        session: SessionId,
        room_bytes: u64,
        running: &[ContentKey],
        now: Instant,
    ) -> Result<Vec<ReplicaTask>, RegistryError> {
        let slot = self.registered(session)?;
        self.age_losses(now);
        let node = self.node_mut(slot);
        node.pulse.hear(now);
        if node.proof != Reachability::Proved || node.traits.replica_quota_bytes.is_none() {
            return Ok(Vec::new());
        }
        node.keeping.get_or_insert_default().room_bytes = room_bytes;
        let has_ended = self.take_note(slot, running, now);
        if has_ended {
            // Others may be waiting for its turn to be over.
            self.look_on(now);
        }
        Ok(self.hand_out(slot, now))
    }

    /// Brings the tasks of a node up to what it says that it is at. Returns true if and only if one of them
    /// has ended.
    fn take_note(&mut self, slot: u32, running: &[ContentKey], now: Instant) -> bool {
        let keeping = self.node_mut(slot).keeping.get_or_insert_default();
        let tasks = std::mem::take(&mut keeping.tasks);
        let (ended, mut kept): (Vec<_>, Vec<_>) =
            tasks.into_iter().partition(|task| task.name.is_none() && !running.contains(&task.content));
        for content in running.iter().take(limits::REPLICA_TASKS_MAX) {
            // Given by a tracker that was here before.
            if kept.iter().all(|task| task.content != *content) {
                kept.push(Task { content: *content, name: None });
                self.replication.tasks.insert((*content, slot));
            }
        }
        let keeping = self.node_mut(slot).keeping.get_or_insert_default();
        let waiting = kept.iter().filter(|task| task.name.is_some());
        let waiting_bytes = waiting.fold(0u64, |sum, task| sum.saturating_add(task.content.size_bytes));
        keeping.room_bytes = keeping.room_bytes.saturating_sub(waiting_bytes);
        keeping.tasks = kept;
        for Task { content, .. } in &ended {
            self.replication.tasks.remove(&(*content, slot));
            let is_done = self.has_all(slot, *content);
            self.node_mut(slot).keeping.get_or_insert_default().ended(*content, is_done, now);
        }
        !ended.is_empty()
    }

    pub(super) fn has_all(&self, slot: u32, content: ContentKey) -> bool {
        let mut own = self.index.entries_of(slot, content.id);
        own.any(|entry| self.node(slot).catalog.whole_content(entry) == Some(content))
    }

    /// The tasks that the node does not know of yet, those that have become needless taken back.
    fn hand_out(&mut self, slot: u32, now: Instant) -> Vec<ReplicaTask> {
        let Some(mut keeping) = self.node_mut(slot).keeping.take() else { return Vec::new() };
        let (mut told, room_bytes) = (Vec::new(), &mut keeping.room_bytes);
        keeping.tasks.retain_mut(|task| {
            let Some(name) = task.name.take() else { return true };
            let (holders, _) = self.holders_of(task.content, now);
            let (_, status) = place(&self.need(task.content, &holders), &[]);
            let in_sight = status.copies + status.awaited + status.under_way;
            if status.copies > 0 && in_sight <= status.wanted && !self.has_all(slot, task.content) {
                told.push(ReplicaTask { content: task.content, name });
                return true;
            }
            *room_bytes = room_bytes.saturating_add(task.content.size_bytes);
            self.replication.tasks.remove(&(task.content, slot));
            false
        });
        self.node_mut(slot).keeping = Some(keeping);
        told
    }

    fn give(&mut self, slot: u32, task: Task) {
        self.replication.tasks.insert((task.content, slot));
        let keeping = self.node_mut(slot).keeping.get_or_insert_default();
        keeping.room_bytes = keeping.room_bytes.saturating_sub(task.content.size_bytes);
        keeping.tasks.push(task);
    }

    /// A node that is not proved or does not consent (any more) keeps nothing.
    pub(super) fn check_consent(&mut self, slot: u32) {
        let node = self.node_mut(slot);
        if node.proof != Reachability::Proved || node.traits.replica_quota_bytes.is_none() {
            let keeping = node.keeping.take();
            self.drop_tasks(slot, keeping);
        }
    }

    /// What a node was to do is nobody's task any more.
    pub(super) fn drop_tasks(&mut self, slot: u32, keeping: Option<ReplicaCapacity>) {
        for task in keeping.into_iter().flat_map(|keeping| keeping.tasks) {
            self.replication.tasks.remove(&(task.content, slot));
        }
    }
}

impl ReplicaCapacity {
    /// A task has ended, well or not.
    fn ended(&mut self, content: ContentKey, is_done: bool, now: Instant) {
        let before = self.failures.iter().position(|failure| failure.content == content);
        let before = before.and_then(|index| self.failures.remove(index));
        if is_done {
            return;
        }
        let first = limits::ms(limits::REPLICA_RETRY_MS);
        let pause = before.map_or(first, |failure| (failure.pause * 2).min(LONGEST_RETRY));
        self.failures.push_back(CopyFailure { content, until: now + pause, pause });
        if self.failures.len() > FAILURES_MAX {
            self.failures.pop_front();
        }
    }
}

/// Enough of an id to tell contents apart, but for a waste of some seconds where not.
fn first_bytes(id: ContentId) -> u64 {
    u64::from_be_bytes(std::array::from_fn(|index| id.0[index]))
}
