//! Limits of the command line: the prompt, the files that it reads, and the local socket of a node.

use super::table::limits;

limits! {
    input {
        /// Longest line read from a prompt or a pipe.
        LINE_MAX_BYTES: usize = 64 << 10, "bytes";
        /// Longest time of `--timeout`.
        TIMEOUT_MAX_MS: u64 = 86_400_000_000, "ms";
        /// Longest file with a token.
        TOKEN_FILE_MAX_BYTES: u64 = 4096, "bytes";
    }

    files_and_local_socket {
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
        /// Longest line at a prompt that edits: it is drawn anew whenever it reaches the edge of the
        /// terminal.
        PROMPT_LINE_MAX_BYTES: usize = 16 << 10, "bytes";
    }
}
