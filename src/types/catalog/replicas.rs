//! Replication in messages: what a tracker asks a node to keep, and how many copies a content has.

use serde::{Deserialize, Serialize};

use crate::types::content::ContentKey;
use crate::types::name::FileName;

/// A replica that a tracker asks a node to fetch, keep and publish.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ReplicaTask {
    /// The content.
    pub content: ContentKey,
    /// The name to publish it under.
    pub name: FileName,
}

/// How many copies of a content exist, how many are to come, and why there are not more. Each field is a
/// number of nodes. A node is willing if it keeps replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct ReplicationStatus {
    /// Live nodes that shall have the whole content.
    pub wanted: u32,
    /// Live nodes that have the whole content.
    pub copies: u32,
    /// Nodes that had it a moment ago. They have some time to come back before other nodes take their place.
    pub awaited: u32,
    /// Nodes that got the task of a copy earlier and have not finished it.
    pub under_way: u32,
    /// Nodes that got the task of a copy with this answer.
    pub given: u32,
    /// Willing nodes whose quota or disk has no room for it.
    pub no_room: u32,
    /// Willing nodes that have as many tasks as a node may have.
    pub busy: u32,
    /// Willing nodes that failed to fetch it a short time ago.
    pub failed: u32,
}

impl ReplicationStatus {
    /// Number of wanted copies that do not exist, are not awaited and are not being made.
    pub fn missing(&self) -> u32 {
        [self.copies, self.awaited, self.under_way, self.given]
            .iter()
            .fold(self.wanted, |left, one| left.saturating_sub(*one))
    }

    /// Why there will be fewer copies than are wanted; `None` if no copy is [missing](Self::missing).
    pub fn shortfall(&self) -> Option<String> {
        let missing = self.missing();
        if missing == 0 {
            return None;
        }
        let reasons = [
            (self.no_room, "without room for it"),
            (self.busy, "busy with other copies"),
            (self.failed, "failed to fetch it a while ago"),
        ];
        let reasons = reasons.iter().filter(|(nodes, _)| *nodes > 0);
        let reasons: Vec<_> = reasons.map(|(nodes, what)| format!("{nodes} {what}")).collect();
        let others = if reasons.is_empty() {
            "no other node keeps replicas".to_owned()
        } else {
            format!("other nodes that keep replicas: {}", reasons.join(", "))
        };
        Some(format!("{missing} of {} copies are missing: {others}", self.wanted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shortfall_names_the_missing_copies_and_the_reasons() {
        let check = |status: ReplicationStatus, expected: Option<&str>| {
            assert_eq!(status.shortfall().as_deref(), expected, "{status:?}");
        };
        let status = ReplicationStatus { wanted: 4, copies: 1, given: 1, ..ReplicationStatus::default() };
        check(status, Some("2 of 4 copies are missing: no other node keeps replicas"));
        check(ReplicationStatus { awaited: 1, under_way: 1, ..status }, None);
        check(ReplicationStatus { copies: 9, ..status }, None);
        check(
            ReplicationStatus { no_room: 1, busy: 2, failed: 3, ..status },
            Some(
                "2 of 4 copies are missing: other nodes that keep replicas: 1 without room for it, \
                 2 busy with other copies, 3 failed to fetch it a while ago",
            ),
        );
    }
}
