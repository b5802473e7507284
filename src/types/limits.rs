//! Every constant limit of the programs, in one place; `--print-limits` shows them.
//!
//! What a peer can make us keep is bounded by something here. Times are limits too.

use std::time::Duration;

/// Declares each limit as a constant and lists them all, so that none can be left out of `--print-limits`.
macro_rules! limits {
    ($($(#[$doc:meta])* $name:ident: $type:ty = $value:expr, $unit:literal;)*) => {
        $($(#[$doc])* pub const $name: $type = $value;)*

        /// Name, value and unit of every limit, in the order of this file.
        pub fn all() -> Vec<(&'static str, u64, &'static str)> {
            vec![$((stringify!($name), $value as u64, $unit)),*]
        }
    };
}

limits! {
    /// Longest file name, all components together.
    NAME_MAX_BYTES: usize = 4096, "bytes";
    /// Longest component of a file name (what file systems allow).
    NAME_COMPONENT_MAX_BYTES: usize = 255, "bytes";
    /// Deepest file name.
    NAME_MAX_DEPTH: usize = 64, "components";

    /// Longest frame body on the wire.
    FRAME_MAX_BYTES: usize = 1 << 20, "bytes";
    /// Body size at which a sender of a list begins the next page.
    PAGE_TARGET_BYTES: usize = 64 << 10, "bytes";
    /// Most tagged attributes a registration or an entry may carry.
    ATTRIBUTES_MAX: usize = 16, "attributes";
    /// Longest value of one attribute.
    ATTRIBUTE_MAX_BYTES: usize = 256, "bytes";
    /// Longest explanation in an error reply.
    REASON_MAX_BYTES: usize = 512, "bytes";

    /// Most files one node may publish.
    FILES_PER_NODE_MAX: usize = 500_000, "files";
    /// Most files a tracker keeps, staged pages included.
    FILES_MAX: usize = 4_000_000, "files";
    /// Most bytes of names one node may publish; as many again may be on their way out.
    NAMES_PER_NODE_MAX_BYTES: usize = 64 << 20, "bytes";
    /// Most bytes of names a tracker keeps, staged pages included; a name that several nodes have counts for
    /// each.
    NAMES_MAX_BYTES: usize = 512 << 20, "bytes";
    /// Most lines of staged pages, removals included: a quarter of [`FILES_MAX`]. Beyond it the oldest
    /// staging makes room.
    STAGED_MAX: usize = FILES_MAX / 4, "lines";
    /// Most bytes of names in staged pages: a quarter of [`NAMES_MAX_BYTES`]. Beyond it the oldest staging
    /// makes room.
    STAGED_NAMES_MAX_BYTES: usize = NAMES_MAX_BYTES / 4, "bytes";
    /// Most nodes a tracker keeps.
    NODES_MAX: usize = 20_000, "nodes";

    /// Most rows of an answer to a find that may be skipped; no node asks for more.
    FIND_SKIP_MAX: usize = 100_000, "rows";
    /// Most names under which one node is offered for one content.
    NAMES_PER_CONTENT_MAX: u32 = 16, "names";

    /// Longest latency file: every pair of 512 nodes.
    LATENCY_LINES_MAX: usize = 1 << 18, "lines";

    /// A request must be complete this long after its first byte, a connection must make its first request
    /// this long after it opened.
    REQUEST_DEADLINE_MS: u64 = 10_000, "ms";
    /// A connection without a registration is closed after being idle for this long.
    IDLE_DEADLINE_MS: u64 = 60_000, "ms";
    /// Most connections of one front thread that are idle and may not be so for ever, one on which files were
    /// asked for with a file open; the one idle for longest makes room.
    IDLE_MAX: usize = 4096, "connections";
    /// A connection that takes no byte of a waiting reply for this long is closed.
    WRITE_STALL_MS: u64 = 30_000, "ms";
    /// A connection that we close is read for this long, so that input under way does not cut off the last
    /// reply.
    CLOSE_LINGER_MS: u64 = 1_000, "ms";
    /// After this long without traffic the system asks whether the other end of a connection is still there
    /// ...
    KEEP_ALIVE_MS: u64 = 60_000, "ms";
    /// ... again after this long ...
    KEEP_ALIVE_INTERVAL_MS: u64 = 10_000, "ms";
    /// ... and ends the connection when so many have not been answered.
    KEEP_ALIVE_PROBES: u32 = 3, "probes";
    /// Most connections of one front thread with an incomplete request.
    INCOMPLETE_MAX: usize = 1024, "connections";
    /// Most connections of one front thread and one address with an incomplete request.
    INCOMPLETE_PER_ADDRESS_MAX: usize = 128, "connections";
    /// Most bytes of incomplete requests one front thread keeps.
    INCOMPLETE_MAX_BYTES: usize = 64 << 20, "bytes";
    /// No further request is taken from a connection with this much unsent output: it holds at most this and
    /// one reply.
    OUTPUT_HIGH_BYTES: usize = PAGE_TARGET_BYTES, "bytes";
    /// Most bytes one front thread keeps for connections that do not take their replies: unsent replies (file
    /// ranges take none) and the requests behind them. The one longest without progress is closed.
    /// `OUTPUT_HIGH_BYTES` bounds each connection, but not a thousand of them.
    OUTPUT_MAX_BYTES: usize = 64 << 20, "bytes";
    /// Most connections of one front thread that files are sent to at a time, two descriptors each. Beyond it
    /// the one that has taken no byte for longest is closed.
    FILES_SENT_MAX: usize = 512, "connections";
    /// The same of one address.
    FILES_SENT_PER_ADDRESS_MAX: usize = 256, "connections";
    /// One address may have this part of `OUTPUT_MAX_BYTES`: one in so many.
    OUTPUT_SHARE: usize = 4, "to 1";
    /// Longest queue of work for a worker pool; beyond it a request is answered `busy`.
    POOL_QUEUE_MAX: usize = 1024, "jobs";

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

    /// A node waits this long for a connection to its tracker.
    TRACKER_CONNECT_MS: u64 = 2_000, "ms";
    /// A node waits this long for a tracker's reply.
    TRACKER_REPLY_MS: u64 = 5_000, "ms";
    /// A node that stops waits this long for its tracker to take note.
    LEAVE_MS: u64 = 1_000, "ms";
    /// A lost control connection is opened again after a random part of this time.
    RECONNECT_JITTER_MS: u64 = 1_000, "ms";

    /// Most candidates probed for one find.
    PROBE_CANDIDATES_MAX: usize = 256, "candidates";
    /// A probe round ends when nobody has answered for this long.
    PROBE_SILENCE_MS: u64 = 3_000, "ms";
    /// A probe round ends this long after the first answer.
    PROBE_AFTER_FIRST_MS: u64 = 300, "ms";

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
    /// Those that have a part only it asks this often which pieces they have by now, up to `SEARCH_AGAIN_MS`
    /// while they have no news ...
    SEARCH_PARTS_MS: u64 = 1_000, "ms";
    /// ... and less often the more there are, so that it asks no more than this.
    PARTS_ASKED_PER_S: u32 = 8, "questions/s";
    /// Most partial holders of which a download knows the pieces. Of more, half are the best ones, the others
    /// are taken at random at each search.
    PARTS_KNOWN_MAX: usize = 32, "holders";
    /// Most bytes an upload connection is sent before the next one has its turn.
    UPLOAD_TURN_BYTES: u64 = 256 << 10, "bytes";

    /// Most copies of a content that may be wished for.
    REPLICA_COPIES_MAX: u32 = 100, "copies";
    /// Most contents with a wish of their own at a tracker.
    REPLICA_WISHES_MAX: usize = 10_000, "contents";
    /// Most replicas that a node is asked to fetch at a time.
    REPLICA_TASKS_MAX: usize = 5, "tasks";
    /// A node that has gone has this long to come back before others are asked to take its place, and so have
    /// all nodes after a tracker's start.
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
    /// Most copies of nodes that have gone for which a tracker waits by name; where there are more it waits
    /// for all.
    REPLICA_LOSSES_MAX: usize = 4_000_000, "copies";

    /// Longest head of an HTTP request, its line included.
    HTTP_HEAD_MAX_BYTES: usize = HTTP_TARGET_MAX_BYTES + (8 << 10), "bytes";
    /// Longest target of an HTTP request as it is written, escapes included.
    HTTP_TARGET_MAX_BYTES: usize = 14 << 10, "bytes";
    /// Most header lines of an HTTP request.
    HTTP_HEADERS_MAX: usize = 64, "lines";
    /// Longest body of an HTTP request.
    HTTP_BODY_MAX_BYTES: usize = 64 << 10, "bytes";

    /// An HTTP connection is closed after being idle between requests for this long.
    HTTP_IDLE_MS: u64 = 15_000, "ms";
    /// Most idle HTTP connections of one front thread; the one idle for longest makes room.
    HTTP_IDLE_MAX: usize = 1024, "connections";
    /// Requests after which an HTTP connection is closed.
    HTTP_REQUESTS_MAX: u32 = 1000, "requests";
    /// Most HTTP requests that wait for a worker, and as many changes that wait for theirs.
    HTTP_JOBS_MAX: usize = 64, "requests";
    /// A log begins anew at this size at the earliest.
    LOG_MIN_BYTES: u64 = 64 << 10, "bytes";
    /// Events of a program that are kept for who reads them.
    EVENTS_KEPT_MAX: usize = 512, "events";
    /// Most event streams of one front thread.
    HTTP_STREAMS_MAX: usize = 64, "streams";
    /// An event stream without news is written to this often, so that one that nobody reads ends.
    HTTP_STREAM_REST_MS: u64 = 5_000, "ms";
    /// Event streams tell of changes at most this often.
    HTTP_STREAM_NEWS_MS: u64 = 1_000, "ms";
    /// Wrong tokens that an address may send before it has to wait.
    HTTP_TOKENS_WRONG_MAX: u32 = 10, "tokens";
    /// One further wrong token may come after this long.
    HTTP_TOKENS_WRONG_MS: u64 = 1_000, "ms";
    /// Most addresses whose wrong tokens are remembered; beyond it those that failed longest ago are
    /// forgotten.
    HTTP_ADDRESSES_MAX: usize = 4096, "addresses";
    /// Shortest token.
    HTTP_TOKEN_MIN_BYTES: usize = 16, "bytes";
    /// Most rows of one answer in JSON.
    HTTP_ROWS_MAX: usize = 500, "rows";
    /// Most rows of one page of HTML.
    HTTP_PAGE_ROWS: usize = 100, "rows";
    /// Most names that are passed over to get to those with a prefix.
    PASSED_OVER_MAX: usize = 100_000, "names";
    /// Finds that a tracker remembers to show them.
    RECENT_FINDS_MAX: usize = 100, "finds";

    /// After this long a node says that it listens, its first scan done or not.
    START_SCAN_WAIT_MS: u64 = 2_000, "ms";
    /// A finished download waits this long for the tracker before it is reported.
    OFFER_WAIT_MS: u64 = 1_000, "ms";
    /// A stop takes at most this long.
    STOP_DEADLINE_MS: u64 = 5_000, "ms";
    /// Longest line read from a prompt or a pipe.
    LINE_MAX_BYTES: usize = 64 << 10, "bytes";
    /// Longest time of `--timeout`.
    TIMEOUT_MAX_MS: u64 = 86_400_000_000, "ms";
    /// Longest file with a token.
    TOKEN_FILE_MAX_BYTES: u64 = 4096, "bytes";
    /// Contents of one name whose holders under other names are looked up for a download.
    CONTENTS_LOOKED_UP_MAX: usize = 4, "contents";
    /// Longest configuration file.
    CONFIG_MAX_BYTES: u64 = 1 << 20, "bytes";
    /// Lines of a prompt that are kept for the next one.
    HISTORY_LINES_MAX: usize = 1000, "lines";
    /// So much of the end of a file with such lines is read.
    HISTORY_MAX_BYTES: u64 = 16 << 20, "bytes";
    /// Longest line of what a running node answers a command of its directory.
    HANDOFF_LINE_MAX_BYTES: usize = 1 << 20, "bytes";
    /// Downloads that a node runs at once for commands of its directory, those that wait for their turn
    /// included.
    HANDOFF_DOWNLOADS_AT_ONCE: usize = 8, "commands";
    /// Other commands of its directory that it runs at once.
    HANDOFF_AT_ONCE: usize = 4, "commands";
    /// Commands of either sort that wait for one of them to end.
    HANDOFF_QUEUE_MAX: usize = 16, "commands";
    /// Connections that have not said yet what they want.
    HANDOFF_READING_MAX: usize = 16, "connections";
    /// They must have by then.
    HANDOFF_REQUEST_MS: u64 = 5_000, "ms";
    /// Who takes no byte of an answer for this long is gone.
    HANDOFF_STALL_MS: u64 = 5_000, "ms";
    /// Longest line at a prompt that edits: it is drawn anew whenever it reaches the edge of the terminal.
    PROMPT_LINE_MAX_BYTES: usize = 16 << 10, "bytes";
}

// A target is the longest name with each byte escaped, a path or parameter around it, and a digest.
const _: () = assert!(HTTP_TARGET_MAX_BYTES >= 3 * NAME_MAX_BYTES + 256);

/// A limit in milliseconds as a duration.
pub const fn ms(limit_ms: u64) -> Duration {
    Duration::from_millis(limit_ms)
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_limit_is_listed_once_with_its_unit() {
        let all = super::all();
        let mut names: Vec<_> = all.iter().map(|(name, ..)| *name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all.len());
        assert!(all.iter().all(|(_, value, unit)| *value > 0 && !unit.is_empty()));
    }
}
