//! Records of replication: the requests for copies, the tasks and failures of nodes, and the copies that were
//! lost a short time ago.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use crate::types::{ContentId, ContentKey, FileName, limits};

/// Maximum number of failures of one node that are remembered.
const FAILURES_MAX: usize = 64;
/// Maximum pause before a node gets a task again that has failed there.
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(3600);

/// The capacity of one node for replicas, with its tasks.
#[derive(Debug, Default)]
pub(crate) struct ReplicaCapacity {
    /// Bytes that are free when all tasks are done.
    pub(super) free_bytes: u64,
    pub(super) tasks: Vec<Task>,
    pub(super) failures: VecDeque<CopyFailure>,
}

/// A content that the node is to fetch.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) content: ContentKey,
    /// The name for the copy; `None` once the node has got the task.
    pub(super) name: Option<FileName>,
}

/// A content that the node could not fetch.
#[derive(Debug, Clone, Copy)]
pub(super) struct CopyFailure {
    pub(super) content: ContentKey,
    /// Before this time the node does not get the task again.
    pub(super) until: Instant,
    /// The pause that ends then. The next one is twice as long.
    pause: Duration,
}

/// The requests, all tasks, the losses, and the state of the current round.
#[derive(Debug, Default)]
pub(crate) struct Replication {
    /// The requests, by content id and size.
    pub(super) requests: BTreeMap<(ContentId, u64), ReplicationRequest>,
    /// All tasks: the content and the slot of the node.
    pub(super) tasks: BTreeSet<(ContentKey, u32)>,
    /// True if there is a policy or a request.
    pub(super) is_on: bool,
    /// The first bytes of the ids of the contents that nodes have lost since the last call of `age_losses`,
    /// once for each node.
    fresh_losses: Vec<u64>,
    /// The earlier losses, with their time. Each batch is sorted.
    pub(super) losses: VecDeque<(Instant, Vec<u64>)>,
    /// No round gives out tasks before this time. A new request is served nevertheless.
    pub(super) quiet_until: Option<Instant>,
    /// The content that the current round looked at last; `None`: the next round has not begun.
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

    /// True if there is a policy or a request. Otherwise nobody counts copies.
    pub(crate) fn is_on(&self) -> bool {
        self.is_on
    }

    /// Records that a node has lost these contents, all of which it had whole. They may repeat.
    pub(crate) fn record_losses(&mut self, contents: impl Iterator<Item = ContentKey>) {
        if self.is_on {
            let mut lost: Vec<u64> = contents.map(|content| first_bytes(content.id)).collect();
            lost.sort_unstable();
            lost.dedup();
            self.fresh_losses.append(&mut lost);
        }
    }

    /// How many nodes have lost the content within the grace. To be called after `age_losses`.
    pub(super) fn departed(&self, id: ContentId) -> u32 {
        let wanted = first_bytes(id);
        let count_in = |batch: &Vec<u64>| {
            batch.partition_point(|one| *one <= wanted) - batch.partition_point(|one| *one < wanted)
        };
        debug_assert!(self.fresh_losses.is_empty(), "the caller has aged them");
        self.losses.iter().map(|(_, batch)| count_in(batch)).sum::<usize>() as u32
    }

    /// Gives the losses since the last call the time `now`, and forgets losses that are older than the grace.
    /// If there are more than `max` losses, forgets all, and no round gives out tasks for the grace: without
    /// the losses, nodes that will come back would be replaced.
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
    /// Records that a task is done or has failed.
    pub(super) fn record_end(&mut self, content: ContentKey, is_done: bool, now: Instant) {
        let before = self.failures.iter().position(|failure| failure.content == content);
        let before = before.and_then(|index| self.failures.remove(index));
        if is_done {
            return;
        }
        let first = limits::ms(limits::REPLICA_RETRY_MS);
        let pause = before.map_or(first, |failure| (failure.pause * 2).min(RETRY_PAUSE_MAX));
        self.failures.push_back(CopyFailure { content, until: now + pause, pause });
        if self.failures.len() > FAILURES_MAX {
            self.failures.pop_front();
        }
    }
}

/// The first 8 bytes of an id, which take less memory and identify a content well enough: if two contents
/// have the same ones, the loss of one delays copies of the other for the grace.
fn first_bytes(id: ContentId) -> u64 {
    u64::from_be_bytes(std::array::from_fn(|index| id.0[index]))
}
