//! Limits of names, frames and connections: what one message may hold, and how long a peer may take.

use super::table::limits;

limits! {
    messages {
        /// Longest file name, all components together.
        NAME_MAX_BYTES: usize = 4096, "bytes";
        /// Longest component of a file name (what file systems allow).
        NAME_COMPONENT_MAX_BYTES: usize = 255, "bytes";
        /// Deepest file name.
        NAME_MAX_DEPTH: usize = 64, "components";

        /// Longest frame body on the wire.
        FRAME_MAX_BYTES: usize = 1 << 20, "bytes";
        /// Body size at which the sender of a list begins the next page.
        PAGE_TARGET_BYTES: usize = 64 << 10, "bytes";
        /// Most tagged attributes that a registration or an entry may have.
        ATTRIBUTES_MAX: usize = 16, "attributes";
        /// Longest value of one attribute.
        ATTRIBUTE_MAX_BYTES: usize = 256, "bytes";
        /// Longest explanation in an error reply.
        REASON_MAX_BYTES: usize = 512, "bytes";
    }

    connections {
        /// A request must be complete this long after its first byte. A connection must send its first
        /// request this long after it opened.
        REQUEST_DEADLINE_MS: u64 = 10_000, "ms";
        /// A connection without a registration is closed after being idle for this long.
        IDLE_DEADLINE_MS: u64 = 60_000, "ms";
        /// Most connections of one front thread that are idle and may not stay so for ever. A connection with
        /// an open file counts. Beyond it the connection that is idle for longest is closed.
        IDLE_MAX: usize = 4096, "connections";
        /// A connection is closed if its peer reads no byte of a waiting reply for this long.
        WRITE_STALL_MS: u64 = 30_000, "ms";
        /// A connection that this side closes is read for this long, so that input under way does not cut off
        /// the last reply.
        CLOSE_LINGER_MS: u64 = 1_000, "ms";
        /// After this long without traffic the system probes whether the peer is still there.
        KEEP_ALIVE_MS: u64 = 60_000, "ms";
        /// Time between two probes.
        KEEP_ALIVE_INTERVAL_MS: u64 = 10_000, "ms";
        /// The system ends a connection after so many probes without an answer.
        KEEP_ALIVE_PROBES: u32 = 3, "probes";
        /// Most connections of one front thread with an incomplete request.
        INCOMPLETE_MAX: usize = 1024, "connections";
        /// Most connections of one front thread and one address with an incomplete request.
        INCOMPLETE_PER_ADDRESS_MAX: usize = 128, "connections";
        /// Most bytes of incomplete requests that one front thread keeps.
        INCOMPLETE_MAX_BYTES: usize = 64 << 20, "bytes";
        /// No further request of a connection is read while it has this much unsent output, so that it has at
        /// most this and one reply.
        OUTPUT_HIGH_BYTES: usize = PAGE_TARGET_BYTES, "bytes";
        /// Most bytes that one front thread keeps for peers that do not read their replies: unsent replies
        /// (file ranges need none) and the requests behind them. The connection without progress for longest
        /// is closed. `OUTPUT_HIGH_BYTES` limits each connection, but not a thousand of them.
        OUTPUT_MAX_BYTES: usize = 64 << 20, "bytes";
        /// Most connections of one front thread that send files at a time, two descriptors each. Beyond it
        /// the connection whose peer has read no byte for longest is closed.
        FILES_SENT_MAX: usize = 512, "connections";
        /// The same for one address.
        FILES_SENT_PER_ADDRESS_MAX: usize = 256, "connections";
        /// One address may have this part of `OUTPUT_MAX_BYTES`: one in so many.
        OUTPUT_SHARE: usize = 4, "to 1";
        /// Longest queue of a worker pool. A request beyond it is answered `busy`.
        POOL_QUEUE_MAX: usize = 1024, "jobs";
    }
}
