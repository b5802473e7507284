//! Limits of names, frames and connections: what one message may hold, and how long a peer may take.

use super::table::limits;

limits! {
    messages {
        /// Maximum length of a file name, all components together.
        NAME_MAX_BYTES: usize = 4096, "bytes";
        /// Maximum length of a component of a file name (what file systems allow).
        NAME_COMPONENT_MAX_BYTES: usize = 255, "bytes";
        /// Maximum number of components of a file name.
        NAME_MAX_DEPTH: usize = 64, "components";

        /// Maximum length of a frame's body.
        FRAME_MAX_BYTES: usize = 1 << 20, "bytes";
        /// Size of a body at which the sender of a list begins the next page. A page is one message of a
        /// list.
        PAGE_TARGET_BYTES: usize = 64 << 10, "bytes";
        /// Maximum number of attributes of a node or of a catalog entry.
        ATTRIBUTES_MAX: usize = 16, "attributes";
        /// Maximum length of the value of one attribute.
        ATTRIBUTE_MAX_BYTES: usize = 256, "bytes";
        /// Maximum length of the reason in an error reply.
        REASON_MAX_BYTES: usize = 512, "bytes";
    }

    connections {
        /// A request must be complete this long after its first byte. A connection must send its first
        /// request this long after it opened.
        REQUEST_DEADLINE_MS: u64 = 10_000, "ms";
        /// A front closes a connection without a registration that is idle for this long.
        IDLE_DEADLINE_MS: u64 = 60_000, "ms";
        /// Maximum number of connections of one front thread that are idle between requests and have no
        /// registration. A connection with an open file counts. Beyond it the front closes the connection
        /// that is idle for longest.
        IDLE_MAX: usize = 4096, "connections";
        /// A front closes a connection whose peer reads no byte of a waiting reply for this long.
        WRITE_STALL_MS: u64 = 30_000, "ms";
        /// After the last reply on a connection that a front closes, it reads and ignores input for this
        /// long. Unread input would reset the connection, and the peer might lose the reply.
        CLOSE_LINGER_MS: u64 = 1_000, "ms";
        /// After this long without traffic the kernel sends a keepalive probe.
        KEEP_ALIVE_MS: u64 = 60_000, "ms";
        /// Time between two keepalive probes.
        KEEP_ALIVE_INTERVAL_MS: u64 = 10_000, "ms";
        /// The kernel ends a connection after this many keepalive probes without an answer.
        KEEP_ALIVE_PROBES: u32 = 3, "probes";
        /// Maximum number of connections of one front thread with an incomplete request.
        INCOMPLETE_MAX: usize = 1024, "connections";
        /// Maximum number of these connections from one address.
        INCOMPLETE_PER_ADDRESS_MAX: usize = 128, "connections";
        /// Maximum size of all incomplete requests that one front thread keeps.
        INCOMPLETE_MAX_BYTES: usize = 64 << 20, "bytes";
        /// A front reads no further request of a connection that has this much unsent output. So a connection
        /// has less than this and one reply.
        OUTPUT_HIGH_BYTES: usize = PAGE_TARGET_BYTES, "bytes";
        /// Maximum size of all that one front thread keeps for peers that do not read their replies: unsent
        /// replies (file ranges need no memory) and the requests behind them. Beyond it the front closes the
        /// connection that is without progress for longest. `OUTPUT_HIGH_BYTES` limits one connection, and
        /// this all of them together.
        OUTPUT_MAX_BYTES: usize = 64 << 20, "bytes";
        /// Maximum number of connections of one front thread on which files are sent at a time, with two
        /// descriptors each. Beyond it the front closes the connection whose peer has read no byte for
        /// longest.
        FILES_SENT_MAX: usize = 512, "connections";
        /// Maximum number of these connections from one address.
        FILES_SENT_PER_ADDRESS_MAX: usize = 256, "connections";
        /// Connections from one address may have `OUTPUT_MAX_BYTES` divided by this number.
        OUTPUT_SHARE: usize = 4, "to 1";
        /// Maximum length of the queue of a worker pool, and of a mailbox of a tracker's front. If it is
        /// full, the task or item is refused, and a requester gets `busy`.
        POOL_QUEUE_MAX: usize = 1024, "jobs";
    }
}
