//! Limits of a node: its latency file, its control connection, its probes, its start and its stop.

use super::table::limits;

limits! {
    latency_file {
        /// Maximum number of lines of a latency file: one for each ordered pair of 512 nodes.
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
        /// Maximum number of holders that a node probes for one find. A probe asks a holder for its load.
        PROBE_CANDIDATES_MAX: usize = 256, "candidates";
        /// A node waits this long for the first answer to the probes of a find.
        PROBE_SILENCE_MS: u64 = 3_000, "ms";
        /// After the first answer a node waits this long for the other answers.
        PROBE_AFTER_FIRST_MS: u64 = 300, "ms";
    }

    files {
        /// Maximum number of names at which a node looks again because they could not be hashed. Only the
        /// next scan looks at further ones.
        LOOK_RETRIES_MAX: usize = 4096, "names";
    }

    start_and_stop {
        /// A node that starts waits this long for its first scan. Then it reports itself ready without the
        /// number of its files.
        START_SCAN_WAIT_MS: u64 = 2_000, "ms";
        /// A finished download waits this long for the tracker to learn of the file. Then it is reported.
        OFFER_WAIT_MS: u64 = 1_000, "ms";
        /// A stop takes at most this long.
        STOP_DEADLINE_MS: u64 = 5_000, "ms";
    }
}
