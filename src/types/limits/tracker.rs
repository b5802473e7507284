//! Limits of a tracker: what it keeps, how it follows nodes, and how it places replicas.

use super::table::limits;

limits! {
    catalogs {
        /// Most files that one node may publish.
        FILES_PER_NODE_MAX: usize = 500_000, "files";
        /// Most files that a tracker keeps, staged pages included.
        FILES_MAX: usize = 4_000_000, "files";
        /// Most bytes of names that one node may publish. An update may remove as many again.
        NAMES_PER_NODE_MAX_BYTES: usize = 64 << 20, "bytes";
        /// Most bytes of names that a tracker keeps, staged pages included. A name of several nodes counts
        /// for each.
        NAMES_MAX_BYTES: usize = 512 << 20, "bytes";
        /// Most lines of staged pages, removals included: a quarter of [`FILES_MAX`]. Beyond it the oldest
        /// staging is dropped.
        STAGED_MAX: usize = FILES_MAX / 4, "lines";
        /// Most bytes of names in staged pages: a quarter of [`NAMES_MAX_BYTES`]. Beyond it the oldest
        /// staging is dropped.
        STAGED_NAMES_MAX_BYTES: usize = NAMES_MAX_BYTES / 4, "bytes";
        /// Most nodes that a tracker keeps.
        NODES_MAX: usize = 20_000, "nodes";

        /// Most rows of an answer to a find that a node may skip.
        FIND_SKIP_MAX: usize = 100_000, "rows";
        /// Most names under which one node is offered for one content.
        NAMES_PER_CONTENT_MAX: u32 = 16, "names";
    }

    liveness {
        /// A tracker waits this long for a node's listener to answer a call-back.
        CALL_BACK_DEADLINE_MS: u64 = 1_000, "ms";
        /// A control connection causes at most one call-back in this time.
        CALL_BACK_EVERY_MS: u64 = 1_000, "ms";
        /// Interval of call-backs to a suspect.
        SUSPECT_CALL_BACK_MS: u64 = 5_000, "ms";
        /// A suspect that is silent for this long is forgotten.
        SUSPECT_EXPIRY_MS: u64 = 600_000, "ms";
        /// Heartbeats missed before a node is suspect.
        HEARTBEATS_MISSED_MAX: u32 = 2, "heartbeats";
        /// Shortest heartbeat interval.
        HEARTBEAT_MIN_MS: u64 = 100, "ms";
        /// Longest heartbeat interval.
        HEARTBEAT_MAX_MS: u64 = 3_600_000, "ms";
    }

    replicas {
        /// Most copies of a content that a node may request.
        REPLICA_COPIES_MAX: u32 = 100, "copies";
        /// Most contents with a replication request of their own at a tracker.
        REPLICA_REQUESTS_MAX: usize = 10_000, "contents";
        /// Most replicas that a node is to fetch at a time.
        REPLICA_TASKS_MAX: usize = 5, "tasks";
        /// A node that has gone has this long to come back before other nodes take its place. All nodes have
        /// as long after a tracker's start.
        REPLICA_GRACE_MS: u64 = 30_000, "ms";
        /// Shortest such time that a user may set.
        REPLICA_GRACE_MIN_MS: u64 = 1_000, "ms";
        /// Longest such time that a user may set.
        REPLICA_GRACE_MAX_MS: u64 = 86_400_000, "ms";
        /// A node that failed to fetch a replica gets the task again after this long, and after twice as long
        /// for each further failure.
        REPLICA_RETRY_MS: u64 = 60_000, "ms";
        /// Shortest time between the beginnings of two rounds in which a tracker looks at all copies.
        REPLICA_ROUND_MS: u64 = 1_000, "ms";
        /// Most copies and nodes that a tracker looks at in one pass.
        REPLICA_STEP: usize = 10_000, "copies";
        /// Most lost copies that a tracker remembers one by one. Beyond it the tracker waits for all nodes.
        REPLICA_LOSSES_MAX: usize = 4_000_000, "copies";
    }
}
