//! Limits of downloads and uploads.

use super::table::limits;

limits! {
    transfers {
        /// A connection to a source must be open within this time.
        SOURCE_CONNECT_MS: u64 = 3_000, "ms";
        /// A download leaves a source that sends no byte for this long.
        SOURCE_SILENCE_MS: u64 = 10_000, "ms";
        /// After this long without a byte from a source, the pieces that are requested from it may be
        /// requested from others too.
        SOURCE_STALL_MS: u64 = 2_000, "ms";
        /// Time over which the rate of a source is measured, where there is another source.
        SOURCE_RATE_WINDOW_MS: u64 = 10_000, "ms";
        /// A download leaves a source that is slower, where there is another source.
        SOURCE_RATE_MIN_BYTES_PER_S: u64 = 16 << 10, "bytes/s";
        /// After this many wrong pieces a download leaves a source for the rest of the round. A round ends
        /// when all sources have failed.
        WRONG_PIECES_MAX: u32 = 2, "pieces";
        /// A download leaves a partial source for the rest of the round if it refuses this often a piece that
        /// it has published.
        REFUSALS_MAX: u32 = 3, "times";
        /// Maximum number of requests of one connection that a source queues.
        PIECE_REQUESTS_MAX: usize = 64, "requests";
        /// Maximum number of pieces that are requested from one source at once: a quarter of its queue.
        PIECES_ON_THE_WIRE: usize = PIECE_REQUESTS_MAX / 4, "pieces";
        /// Maximum number of sources from which one piece is requested at once.
        SOURCES_PER_PIECE: usize = 2, "sources";
        /// Maximum size of all piece buffers in a process.
        PIECE_BUFFERS_MAX_BYTES: u64 = 40 << 20, "bytes";
        /// Maximum number of downloads that run at once in a process. Each has its part of the piece buffers.
        /// Further downloads wait.
        DOWNLOADS_AT_ONCE: usize = 2, "downloads";
        /// Maximum number of unfinished background downloads of a node.
        JOBS_MAX: usize = 1000, "downloads";
        /// Maximum number of ended downloads that a node remembers.
        JOBS_ENDED_MAX: usize = 100, "downloads";
        /// Maximum number of sources that one download uses at once.
        SOURCES_AT_ONCE: usize = 8, "sources";
        /// Maximum number of pieces that are verified together.
        VERIFY_BATCH: usize = 8, "pieces";
        /// A received piece waits at most this long for others, to be verified together with them.
        VERIFY_WAIT_MS: u64 = 100, "ms";
        /// Interval at which a running download searches for further holders.
        SEARCH_AGAIN_MS: u64 = 5_000, "ms";
        /// Shortest interval at which a download asks a partial holder for its pieces. It grows up to
        /// `SEARCH_AGAIN_MS` while the holder has no new ones.
        SEARCH_PARTS_MS: u64 = 1_000, "ms";
        /// Maximum number of these questions of a download in each second.
        PARTS_QUERIED_PER_S: u32 = 8, "questions/s";
        /// Maximum number of partial holders of which a download knows the pieces. If there are more, half of
        /// them are the best ones, and the others are chosen at random at each search.
        PARTS_KNOWN_MAX: usize = 32, "holders";
        /// Maximum number of bytes that a front sends on one connection before it serves the next one.
        UPLOAD_TURN_BYTES: u64 = 256 << 10, "bytes";
    }

    lookups {
        /// Maximum number of contents of one name whose holders under other names a download looks up.
        CONTENTS_LOOKED_UP_MAX: usize = 4, "contents";
    }
}
