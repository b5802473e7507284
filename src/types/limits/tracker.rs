//! Limits of a tracker: what it keeps, how it follows nodes, and how it places replicas.

use super::table::limits;

limits! {
    catalogs {
        /// Maximum number of files that one node may publish.
        FILES_PER_NODE_MAX: usize = 500_000, "files";
        /// Maximum number of files that a tracker keeps, staged pages included. A page is a part of a
        /// catalog or of its changes in one message. It is staged, that is kept without effect, until the
        /// last page arrives.
        FILES_MAX: usize = 4_000_000, "files";
        /// Maximum size of all names that one node may publish. The names that one update removes have the
        /// same limit.
        NAMES_PER_NODE_MAX_BYTES: usize = 64 << 20, "bytes";
        /// Maximum size of all names that a tracker keeps, staged pages included. A name that several nodes
        /// publish counts for each.
        NAMES_MAX_BYTES: usize = 512 << 20, "bytes";
        /// Maximum number of added and removed files in all staged pages: a quarter of [`FILES_MAX`]. Beyond
        /// it the tracker drops the staged pages of the session that began first.
        STAGED_MAX: usize = FILES_MAX / 4, "lines";
        /// Maximum size of all names in staged pages: a quarter of [`NAMES_MAX_BYTES`]. Beyond it the tracker
        /// does the same.
        STAGED_NAMES_MAX_BYTES: usize = NAMES_MAX_BYTES / 4, "bytes";
        /// Maximum number of nodes that a tracker keeps.
        NODES_MAX: usize = 20_000, "nodes";

        /// Maximum number of rows of an answer to a find that a node may skip.
        FIND_SKIP_MAX: usize = 100_000, "rows";
        /// Maximum number of rows for one node and one content, which differ in the name.
        NAMES_PER_CONTENT_MAX: u32 = 16, "names";
    }

    liveness {
        /// A tracker waits this long for a node's listener to answer a call-back. In a call-back the tracker
        /// connects to the address that a node has given, and asks for the node's id.
        CALL_BACK_DEADLINE_MS: u64 = 1_000, "ms";
        /// A control connection causes at most one call-back in this time.
        CALL_BACK_EVERY_MS: u64 = 1_000, "ms";
        /// Interval of call-backs to a suspect.
        SUSPECT_CALL_BACK_MS: u64 = 5_000, "ms";
        /// A suspect that is silent for this long is forgotten.
        SUSPECT_EXPIRY_MS: u64 = 600_000, "ms";
        /// A node becomes suspect after this many intervals of its heartbeat without a message.
        HEARTBEATS_MISSED_MAX: u32 = 2, "heartbeats";
        /// Smallest value of the heartbeat interval.
        HEARTBEAT_MIN_MS: u64 = 100, "ms";
        /// Largest value of the heartbeat interval.
        HEARTBEAT_MAX_MS: u64 = 3_600_000, "ms";
    }

    replicas {
        /// Maximum number of copies of a content that a node may request.
        REPLICA_COPIES_MAX: u32 = 100, "copies";
        /// Maximum number of contents with a replication request of their own at a tracker.
        REPLICA_REQUESTS_MAX: usize = 10_000, "contents";
        /// Maximum number of replicas that a tracker lets one node fetch at a time.
        REPLICA_TASKS_MAX: usize = 5, "tasks";
        /// A node that has gone has this long to come back before other nodes take its place. After a
        /// tracker's start all nodes have this time.
        REPLICA_GRACE_MS: u64 = 30_000, "ms";
        /// Smallest value of that time which a user may set.
        REPLICA_GRACE_MIN_MS: u64 = 1_000, "ms";
        /// Largest value of that time which a user may set.
        REPLICA_GRACE_MAX_MS: u64 = 86_400_000, "ms";
        /// A node that failed to fetch a replica gets the task again after this long, and after twice as long
        /// for each further failure.
        REPLICA_RETRY_MS: u64 = 60_000, "ms";
        /// Minimum time between the beginnings of two rounds. In a round a tracker looks at all copies.
        REPLICA_ROUND_MS: u64 = 1_000, "ms";
        /// Maximum number of copies and nodes that a tracker looks at before it serves requests again.
        REPLICA_STEP: usize = 10_000, "copies";
        /// Maximum number of lost copies that a tracker remembers one by one. Beyond it the tracker waits for
        /// all nodes.
        REPLICA_LOSSES_MAX: usize = 4_000_000, "copies";
    }
}
