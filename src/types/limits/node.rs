//! Limits of a node: its latency file, its control connection, its probes, its start and its stop.

use super::table::limits;

limits! {
    latency_file {
        /// Longest latency file: every pair of 512 nodes.
        LATENCY_LINES_MAX: usize = 1 << 18, "lines";
    }

    control_connection {
        /// A node waits this long for a connection to its tracker.
        TRACKER_CONNECT_MS: u64 = 2_000, "ms";
        /// A node waits this long for a tracker's reply.
        TRACKER_REPLY_MS: u64 = 5_000, "ms";
        /// A node that stops waits this long for its tracker's reply.
        LEAVE_MS: u64 = 1_000, "ms";
        /// A lost control connection is opened again after a random part of this time.
        RECONNECT_JITTER_MS: u64 = 1_000, "ms";
    }

    probes {
        /// Most candidates probed for one find.
        PROBE_CANDIDATES_MAX: usize = 256, "candidates";
        /// A probe round without an answer ends after this long.
        PROBE_SILENCE_MS: u64 = 3_000, "ms";
        /// A probe round ends this long after the first answer.
        PROBE_AFTER_FIRST_MS: u64 = 300, "ms";
    }

    start_and_stop {
        /// A node reports that it listens after this long, even if its first scan is not done.
        START_SCAN_WAIT_MS: u64 = 2_000, "ms";
        /// A finished download waits this long for the tracker before it is reported.
        OFFER_WAIT_MS: u64 = 1_000, "ms";
        /// A stop takes at most this long.
        STOP_DEADLINE_MS: u64 = 5_000, "ms";
    }
}
