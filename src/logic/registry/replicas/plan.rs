//! What copies are wanted, which nodes make them, and which copies were lost a short time ago.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use crate::types::{ContentId, ContentKey, FileName, limits};

/// Most failures that are remembered of one node.
const FAILURES_MAX: usize = 64;
const LONGEST_RETRY: Duration = Duration::from_secs(3600);

/// What a node keeps for others.
#[derive(Debug, Default)]
pub(crate) struct ReplicaCapacity {
    /// Bytes that it has room for, those of its tasks taken off.
    pub(super) free_bytes: u64,
    pub(super) tasks: Vec<Task>,
    pub(super) failures: VecDeque<CopyFailure>,
}

/// A content that the node was asked to fetch.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) content: ContentKey,
    /// `None` once the node has been told.
    pub(super) name: Option<FileName>,
}

/// A node could not fetch a content.
#[derive(Debug, Clone, Copy)]
pub(super) struct CopyFailure {
    pub(super) content: ContentKey,
    /// It is not asked again before that.
    pub(super) until: Instant,
    pause: Duration,
}

/// What is wanted, and how far the look at it has come.
#[derive(Debug, Default)]
pub(crate) struct Replication {
    /// By content id and size.
    pub(super) wishes: BTreeMap<(ContentId, u64), ReplicationRequest>,
    /// By content and slot of the node.
    pub(super) tasks: BTreeSet<(ContentKey, u32)>,
    pub(super) is_on: bool,
    /// The first bytes of the ids of contents of which copies have gone since the last turn, as many times as
    /// nodes have lost it.
    fresh_losses: Vec<u64>,
    /// The same before that, by turn, sorted.
    pub(super) losses: VecDeque<(Instant, Vec<u64>)>,
    /// Nothing is done unasked before.
    pub(super) quiet_until: Option<Instant>,
    /// What was looked at last; `None`: a round is to begin.
    pub(super) looked_at: Option<ContentId>,
    pub(super) next_round: Option<Instant>,
}

#[derive(Debug)]
pub(super) struct ReplicationRequest {
    pub(super) copies: u32,
    pub(super) name: FileName,
}

impl Replication {
    pub(crate) fn new(policy: u32) -> Replication {
        Replication { is_on: policy > 0, ..Replication::default() }
    }

    /// Somebody counts copies.
    pub(crate) fn is_on(&self) -> bool {
        self.is_on
    }

    /// A node does not have these any more, all of which it had; a content may be said more than once.
    pub(crate) fn lose(&mut self, contents: impl Iterator<Item = ContentKey>) {
        if self.is_on {
            let mut lost: Vec<u64> = contents.map(|content| first_bytes(content.id)).collect();
            lost.sort_unstable();
            lost.dedup();
            self.fresh_losses.append(&mut lost);
        }
    }

    /// How many nodes have lost it within the grace. Losses have to be aged before.
    pub(super) fn departed(&self, id: ContentId) -> u32 {
        let wanted = first_bytes(id);
        let in_batch = |batch: &Vec<u64>| {
            batch.partition_point(|one| *one <= wanted) - batch.partition_point(|one| *one < wanted)
        };
        debug_assert!(self.fresh_losses.is_empty(), "whoever asks has aged them");
        self.losses.iter().map(|(_, batch)| in_batch(batch)).sum::<usize>() as u32
    }

    /// Dates what was lost since the last turn, and forgets what was lost long ago.
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
    /// A task has ended, well or not.
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

/// Enough of an id to tell contents apart, but for a waste of some seconds where not.
fn first_bytes(id: ContentId) -> u64 {
    u64::from_be_bytes(std::array::from_fn(|index| id.0[index]))
}
