//! Limits of downloads and uploads.

use super::table::limits;

limits! {
    transfers {
        /// A connection to a source must be open within this time.
        SOURCE_CONNECT_MS: u64 = 3_000, "ms";
        /// A source that sends no byte for this long is dropped.
        SOURCE_SILENCE_MS: u64 = 10_000, "ms";
        /// After this long without a byte from a source, the pieces that wait for it go to others.
        SOURCE_STALL_MS: u64 = 2_000, "ms";
        /// Time over which the rate of a source is measured, where there is another source.
        SOURCE_RATE_WINDOW_MS: u64 = 10_000, "ms";
        /// A slower source is dropped, where there is another source.
        SOURCE_RATE_MIN_BYTES_PER_S: u64 = 16 << 10, "bytes/s";
        /// Wrong pieces after which a source is dropped for the round.
        WRONG_PIECES_MAX: u32 = 2, "pieces";
        /// A partial source that refuses this often a piece that it has published is dropped for the round.
        REFUSALS_MAX: u32 = 3, "times";
        /// Most requests of one connection that a source queues.
        PIECE_REQUESTS_MAX: usize = 64, "requests";
        /// Most pieces that are requested from one source at once: a quarter of its queue.
        PIECES_ON_THE_WIRE: usize = PIECE_REQUESTS_MAX / 4, "pieces";
        /// Most sources from which one piece is requested at once.
        SOURCES_PER_PIECE: usize = 2, "sources";
        /// Most bytes of piece buffers in a process.
        PIECE_BUFFERS_MAX_BYTES: u64 = 40 << 20, "bytes";
        /// Downloads that run at once in a process. Each has its part of the piece buffers; others wait.
        DOWNLOADS_AT_ONCE: usize = 2, "downloads";
        /// Most unfinished background downloads of a node.
        JOBS_MAX: usize = 1000, "downloads";
        /// Most ended downloads that a node remembers.
        JOBS_ENDED_MAX: usize = 100, "downloads";
        /// Most sources in use at once by one download.
        SOURCES_AT_ONCE: usize = 8, "sources";
        /// Most pieces that are verified at once, side by side.
        VERIFY_BATCH: usize = 8, "pieces";
        /// A received piece waits at most this long for others to be verified with.
        VERIFY_WAIT_MS: u64 = 100, "ms";
        /// Interval at which a running download searches for further holders.
        SEARCH_AGAIN_MS: u64 = 5_000, "ms";
        /// Shortest interval at which a download asks a partial holder for its pieces. It grows up to
        /// `SEARCH_AGAIN_MS` while the holder has no new ones.
        SEARCH_PARTS_MS: u64 = 1_000, "ms";
        /// Most such requests of a download.
        PARTS_QUERIED_PER_S: u32 = 8, "questions/s";
        /// Most partial holders of which a download knows the pieces. Of more, half are the best ones, and
        /// the others are chosen at random at each search.
        PARTS_KNOWN_MAX: usize = 32, "holders";
        /// Most bytes that are sent on one upload connection before the next one is served.
        UPLOAD_TURN_BYTES: u64 = 256 << 10, "bytes";
    }

    lookups {
        /// Most contents of one name whose holders under other names a download looks up.
        CONTENTS_LOOKED_UP_MAX: usize = 4, "contents";
    }
}
