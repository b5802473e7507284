//! Limits of the HTTP server, its pages and its event streams.

use super::table::limits;
use super::wire::NAME_MAX_BYTES;

limits! {
    requests {
        /// Longest head of an HTTP request, its first line included.
        HTTP_HEAD_MAX_BYTES: usize = HTTP_TARGET_MAX_BYTES + (8 << 10), "bytes";
        /// Longest target of an HTTP request in its escaped form.
        HTTP_TARGET_MAX_BYTES: usize = 14 << 10, "bytes";
        /// Most header lines of an HTTP request.
        HTTP_HEADERS_MAX: usize = 64, "lines";
        /// Longest body of an HTTP request.
        HTTP_BODY_MAX_BYTES: usize = 64 << 10, "bytes";
    }

    connections_and_pages {
        /// An HTTP connection is closed after being idle between requests for this long.
        HTTP_IDLE_MS: u64 = 15_000, "ms";
        /// Most idle HTTP connections of one front thread. Beyond it the one that is idle for longest is
        /// closed.
        HTTP_IDLE_MAX: usize = 1024, "connections";
        /// Requests after which an HTTP connection is closed.
        HTTP_REQUESTS_MAX: u32 = 1000, "requests";
        /// Most HTTP requests that wait for a worker, and most changes that wait for theirs.
        HTTP_JOBS_MAX: usize = 64, "requests";
        /// Smallest size at which a log may be rotated.
        LOG_MIN_BYTES: u64 = 64 << 10, "bytes";
        /// Events of a program that are kept for later readers.
        EVENTS_KEPT_MAX: usize = 512, "events";
        /// Most event streams of one front thread.
        HTTP_STREAMS_MAX: usize = 64, "streams";
        /// An event stream without events gets a line this often, so that a stream without a reader ends.
        HTTP_STREAM_REST_MS: u64 = 2_000, "ms";
        /// Event streams report changes at most this often.
        HTTP_STREAM_NEWS_MS: u64 = 1_000, "ms";
        /// Wrong tokens that an address may send before it has to wait.
        HTTP_TOKENS_WRONG_MAX: u32 = 10, "tokens";
        /// An address may send one further wrong token after this long.
        HTTP_TOKENS_WRONG_MS: u64 = 1_000, "ms";
        /// Most addresses whose wrong tokens are remembered. Beyond it the addresses that failed longest ago
        /// are forgotten.
        HTTP_ADDRESSES_MAX: usize = 4096, "addresses";
        /// Shortest token.
        HTTP_TOKEN_MIN_BYTES: usize = 16, "bytes";
        /// Most rows of one answer in JSON.
        HTTP_ROWS_MAX: usize = 500, "rows";
        /// Most rows of one page of HTML.
        HTTP_PAGE_ROWS: usize = 100, "rows";
        /// Most names that are skipped to find those with a prefix.
        PASSED_OVER_MAX: usize = 100_000, "names";
        /// Finds that a tracker remembers to show them.
        RECENT_FINDS_MAX: usize = 100, "finds";
    }
}

// A target is the longest name with each byte escaped, a path or parameter around it, and a digest.
const _: () = assert!(HTTP_TARGET_MAX_BYTES >= 3 * NAME_MAX_BYTES + 256);
