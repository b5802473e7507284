//! Limits of downloads and uploads.

use super::table::limits;

limits! {
    transfers {
        /// A connection to a source must be up in this time.
        SOURCE_CONNECT_MS: u64 = 3_000, "ms";
        /// A source that sends no byte for this long is left.
        SOURCE_SILENCE_MS: u64 = 10_000, "ms";
        /// After this long without a byte what waits for a source goes to others.
        SOURCE_STALL_MS: u64 = 2_000, "ms";
        /// Window over which a source's rate is judged where another source is left.
        SOURCE_RATE_WINDOW_MS: u64 = 10_000, "ms";
        /// A source slower than this is left where another source is left.
        SOURCE_RATE_MIN_BYTES_PER_S: u64 = 16 << 10, "bytes/s";
        /// Wrong pieces after which a source is dropped for the round.
        WRONG_PIECES_MAX: u32 = 2, "pieces";
        /// A partial source that so often told to have pieces and did not is dropped for the round.
        REFUSALS_MAX: u32 = 3, "times";
        /// Most requests a source keeps waiting for one connection.
        PIECE_REQUESTS_MAX: usize = 64, "requests";
        /// Most pieces asked of one source at once: a quarter of what it keeps waiting.
        PIECES_ON_THE_WIRE: usize = PIECE_REQUESTS_MAX / 4, "pieces";
        /// Most sources of which one piece is asked at once.
        SOURCES_PER_PIECE: usize = 2, "sources";
        /// Most bytes of piece buffers in a process.
        PIECE_BUFFERS_MAX_BYTES: u64 = 40 << 20, "bytes";
        /// Downloads that run at once in a process; each has its part of the piece buffers, and others wait.
        DOWNLOADS_AT_ONCE: usize = 2, "downloads";
        /// Unfinished downloads of a node that nobody waits for.
        JOBS_MAX: usize = 1000, "downloads";
        /// Downloads that have ended and are remembered.
        JOBS_ENDED_MAX: usize = 100, "downloads";
        /// Most sources in use at once by one download.
        SOURCES_AT_ONCE: usize = 8, "sources";
        /// Pieces that are verified at once, side by side.
        VERIFY_BATCH: usize = 8, "pieces";
        /// A piece that has arrived waits at most this long for others to be verified with.
        VERIFY_WAIT_MS: u64 = 100, "ms";
        /// A running download asks who else has its content this often.
        SEARCH_AGAIN_MS: u64 = 5_000, "ms";
        /// Those that have a part only it asks this often which pieces they have by now, up to
        /// `SEARCH_AGAIN_MS` while they have no news ...
        SEARCH_PARTS_MS: u64 = 1_000, "ms";
        /// ... and less often the more there are, so that it asks no more than this.
        PARTS_ASKED_PER_S: u32 = 8, "questions/s";
        /// Most partial holders of which a download knows the pieces. Of more, half are the best ones, the
        /// others are taken at random at each search.
        PARTS_KNOWN_MAX: usize = 32, "holders";
        /// Most bytes an upload connection is sent before the next one has its turn.
        UPLOAD_TURN_BYTES: u64 = 256 << 10, "bytes";
    }

    lookups {
        /// Contents of one name whose holders under other names are looked up for a download.
        CONTENTS_LOOKED_UP_MAX: usize = 4, "contents";
    }
}
