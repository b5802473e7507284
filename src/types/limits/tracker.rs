//! Limits of a tracker: what it keeps, how it follows nodes, and how it places replicas.

use super::table::limits;

limits! {
    catalogs {
        /// Most files one node may publish.
        FILES_PER_NODE_MAX: usize = 500_000, "files";
        /// Most files a tracker keeps, staged pages included.
        FILES_MAX: usize = 4_000_000, "files";
        /// Most bytes of names one node may publish; as many again may be on their way out.
        NAMES_PER_NODE_MAX_BYTES: usize = 64 << 20, "bytes";
        /// Most bytes of names a tracker keeps, staged pages included; a name that several nodes have counts
        /// for each.
        NAMES_MAX_BYTES: usize = 512 << 20, "bytes";
        /// Most lines of staged pages, removals included: a quarter of [`FILES_MAX`]. Beyond it the oldest
        /// staging makes room.
        STAGED_MAX: usize = FILES_MAX / 4, "lines";
        /// Most bytes of names in staged pages: a quarter of [`NAMES_MAX_BYTES`]. Beyond it the oldest
        /// staging makes room.
        STAGED_NAMES_MAX_BYTES: usize = NAMES_MAX_BYTES / 4, "bytes";
        /// Most nodes a tracker keeps.
        NODES_MAX: usize = 20_000, "nodes";

        /// Most rows of an answer to a find that may be skipped; no node asks for more.
        FIND_SKIP_MAX: usize = 100_000, "rows";
        /// Most names under which one node is offered for one content.
        NAMES_PER_CONTENT_MAX: u32 = 16, "names";
    }

    liveness {
        /// A tracker waits this long for a node's listener to answer a call-back.
        CALL_BACK_DEADLINE_MS: u64 = 1_000, "ms";
        /// A control connection makes a tracker call a listener back at most once in this time.
        CALL_BACK_EVERY_MS: u64 = 1_000, "ms";
        /// Suspect nodes are called back this often.
        SUSPECT_CALL_BACK_MS: u64 = 5_000, "ms";
        /// A suspect that stays silent for this long is forgotten.
        SUSPECT_EXPIRY_MS: u64 = 600_000, "ms";
        /// Heartbeats missed before a node is suspect.
        HEARTBEATS_MISSED_MAX: u32 = 2, "heartbeats";
        /// Shortest heartbeat interval.
        HEARTBEAT_MIN_MS: u64 = 100, "ms";
        /// Longest heartbeat interval.
        HEARTBEAT_MAX_MS: u64 = 3_600_000, "ms";
    }

    replicas {
        /// Most copies of a content that may be wished for.
        REPLICA_COPIES_MAX: u32 = 100, "copies";
        /// Most contents with a wish of their own at a tracker.
        REPLICA_WISHES_MAX: usize = 10_000, "contents";
        /// Most replicas that a node is asked to fetch at a time.
        REPLICA_TASKS_MAX: usize = 5, "tasks";
        /// A node that has gone has this long to come back before others are asked to take its place, and so
        /// have all nodes after a tracker's start.
        REPLICA_GRACE_MS: u64 = 30_000, "ms";
        /// Shortest and longest such time that may be asked for.
        REPLICA_GRACE_MIN_MS: u64 = 1_000, "ms";
        REPLICA_GRACE_MAX_MS: u64 = 86_400_000, "ms";
        /// A node that has failed to fetch a replica is asked for it again after this long, and twice as long
        /// after each further failure.
        REPLICA_RETRY_MS: u64 = 60_000, "ms";
        /// A tracker looks again at all copies this long after it began to, if it is done by then.
        REPLICA_ROUND_MS: u64 = 1_000, "ms";
        /// Most copies and nodes that a tracker looks at in one go.
        REPLICA_STEP: usize = 10_000, "copies";
        /// Most copies of nodes that have gone for which a tracker waits by name; where there are more it
        /// waits for all.
        REPLICA_LOSSES_MAX: usize = 4_000_000, "copies";
    }
}
