//! Limits of the HTTP server, its pages and its event streams.

use super::table::limits;
use super::wire::NAME_MAX_BYTES;

limits! {
    requests {
        /// Maximum length of the head of an HTTP request, its first line included.
        HTTP_HEAD_MAX_BYTES: usize = HTTP_TARGET_MAX_BYTES + (8 << 10), "bytes";
        /// Maximum length of the target of an HTTP request in its escaped form.
        HTTP_TARGET_MAX_BYTES: usize = 14 << 10, "bytes";
        /// Maximum number of header lines of an HTTP request.
        HTTP_HEADERS_MAX: usize = 64, "lines";
        /// Maximum length of the body of an HTTP request.
        HTTP_BODY_MAX_BYTES: usize = 64 << 10, "bytes";
    }

    connections_and_pages {
        /// The server closes an HTTP connection that is idle between requests for this long.
        HTTP_IDLE_MS: u64 = 15_000, "ms";
        /// Maximum number of idle HTTP connections of one front thread. Beyond it the front closes the one
        /// that is idle for longest.
        HTTP_IDLE_MAX: usize = 1024, "connections";
        /// Number of requests after which the server closes an HTTP connection.
        HTTP_REQUESTS_MAX: u32 = 1000, "requests";
        /// Maximum number of HTTP requests that wait for a worker. Requests that change something have a
        /// queue and a worker of their own, with the same limit.
        HTTP_JOBS_MAX: usize = 64, "requests";
        /// Smallest value of the size at which a log is rotated.
        LOG_MIN_BYTES: u64 = 64 << 10, "bytes";
        /// Number of a program's latest events that are kept for later readers.
        EVENTS_KEPT_MAX: usize = 512, "events";
        /// Maximum number of event streams of one front thread.
        HTTP_STREAMS_MAX: usize = 64, "streams";
        /// When no event came for this long, the server sends the current figures on the event streams. So it
        /// notices that a reader has gone.
        HTTP_STREAM_REST_MS: u64 = 2_000, "ms";
        /// Minimum time between two times that the server sends figures on the event streams.
        HTTP_STREAM_NEWS_MS: u64 = 1_000, "ms";
        /// Number of wrong tokens that an address may send before it has to wait.
        HTTP_TOKENS_WRONG_MAX: u32 = 10, "tokens";
        /// An address may send one further wrong token after this long.
        HTTP_TOKENS_WRONG_MS: u64 = 1_000, "ms";
        /// Maximum number of addresses whose wrong tokens are counted. Beyond it the addresses that failed
        /// longest ago are forgotten.
        HTTP_ADDRESSES_MAX: usize = 4096, "addresses";
        /// Minimum length of a token.
        HTTP_TOKEN_MIN_BYTES: usize = 16, "bytes";
        /// Maximum number of rows of one answer in JSON.
        HTTP_ROWS_MAX: usize = 500, "rows";
        /// Maximum number of rows of one page of HTML.
        HTTP_PAGE_ROWS: usize = 100, "rows";
        /// Maximum number of names that one request skips to find those with a prefix.
        PASSED_OVER_MAX: usize = 100_000, "names";
        /// Number of the latest finds that a tracker keeps to show them.
        RECENT_FINDS_MAX: usize = 100, "finds";
    }
}

// A target must have room for the longest name with each byte escaped, a path, parameters and a digest.
const _: () = assert!(HTTP_TARGET_MAX_BYTES >= 3 * NAME_MAX_BYTES + 256);
