//! What copies are wanted, which nodes make them, and which copies were lost a short time ago.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use crate::types::{ContentId, ContentKey, FileName, limits};

/// Most failures that are remembered of one node.
const FAILURES_MAX: usize = 64;
/// Longest pause before a node gets a task again that it has failed.
const LONGEST_RETRY: Duration = Duration::from_secs(3600);

/// The replicas that one node keeps or fetches.
#[derive(Debug, Default)]
pub(crate) struct ReplicaCapacity {
    /// Bytes that are free beyond its tasks.
    pub(super) free_bytes: u64,
    pub(super) tasks: Vec<Task>,
    pub(super) failures: VecDeque<CopyFailure>,
}

/// A content that the node is to fetch.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) content: ContentKey,
    /// `None` once the node has the task.
    pub(super) name: Option<FileName>,
}

/// A content that the node could not fetch.
#[derive(Debug, Clone, Copy)]
pub(super) struct CopyFailure {
    pub(super) content: ContentKey,
    /// The node does not get the task again before this time.
    pub(super) until: Instant,
    pause: Duration,
}

/// The requested copies, all tasks, and how far the current round has come.
#[derive(Debug, Default)]
pub(crate) struct Replication {
    /// By content id and size.
    pub(super) requests: BTreeMap<(ContentId, u64), ReplicationRequest>,
    /// All tasks by content and slot of the node.
    pub(super) tasks: BTreeSet<(ContentKey, u32)>,
    /// Whether a policy or a request counts copies.
    pub(super) is_on: bool,
    /// The first bytes of the ids of contents that nodes have lost since the last pass, once for each node.
    fresh_losses: Vec<u64>,
    /// The losses of earlier passes, each batch sorted.
    pub(super) losses: VecDeque<(Instant, Vec<u64>)>,
    /// The policy gives out no tasks before this time.
    pub(super) quiet_until: Option<Instant>,
    /// The content that the round looked at last; `None`: a round is to begin.
    pub(super) looked_at: Option<ContentId>,
    /// When the next round may begin.
    pub(super) next_round: Option<Instant>,
}

/// Copies that were requested for one content.
#[derive(Debug)]
pub(super) struct ReplicationRequest {
    pub(super) copies: u32,
    pub(super) name: FileName,
}

impl Replication {
    pub(crate) fn new(policy: u32) -> Replication {
        Replication { is_on: policy > 0, ..Replication::default() }
    }

    /// Whether a policy or a request counts copies.
    pub(crate) fn is_on(&self) -> bool {
        self.is_on
    }

    /// Records that a node no longer has these contents, all of which it had. A content may be there more
    /// than once.
    pub(crate) fn lose(&mut self, contents: impl Iterator<Item = ContentKey>) {
        if self.is_on {
            let mut lost: Vec<u64> = contents.map(|content| first_bytes(content.id)).collect();
            lost.sort_unstable();
            lost.dedup();
            self.fresh_losses.append(&mut lost);
        }
    }

    /// How many nodes have lost the content within the grace. The caller has aged the losses before.
    pub(super) fn departed(&self, id: ContentId) -> u32 {
        let wanted = first_bytes(id);
        let in_batch = |batch: &Vec<u64>| {
            batch.partition_point(|one| *one <= wanted) - batch.partition_point(|one| *one < wanted)
        };
        debug_assert!(self.fresh_losses.is_empty(), "the caller has aged them");
        self.losses.iter().map(|(_, batch)| in_batch(batch)).sum::<usize>() as u32
    }

    /// Dates the losses since the last pass and forgets old ones. Where there are more than `max` losses it
    /// forgets all and gives out no tasks for the grace.
    pub(super) fn age_losses(&mut self, grace: Duration, max: usize, now: Instant) {
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

impl ReplicaCapacity {
    /// Records the end of a task, done or failed.
    pub(super) fn ended(&mut self, content: ContentKey, is_done: bool, now: Instant) {
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

/// The first 8 bytes of an id, which tell contents apart. Two contents with the same ones wait needlessly for
/// the grace.
fn first_bytes(id: ContentId) -> u64 {
    u64::from_be_bytes(std::array::from_fn(|index| id.0[index]))
}
