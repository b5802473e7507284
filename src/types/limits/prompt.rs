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
        /// Lines of a prompt that are kept for the next start.
        HISTORY_LINES_MAX: usize = 1000, "lines";
        /// Only so many bytes at the end of a history file are read.
        HISTORY_MAX_BYTES: u64 = 16 << 20, "bytes";
        /// Longest line of an answer on the local socket of a node.
        HANDOFF_LINE_MAX_BYTES: usize = 1 << 20, "bytes";
        /// Downloads that a node runs at once for commands on its local socket, waiting ones included.
        HANDOFF_DOWNLOADS_AT_ONCE: usize = 8, "commands";
        /// Other commands of the local socket that a node runs at once.
        HANDOFF_AT_ONCE: usize = 4, "commands";
        /// Most commands of either kind that wait.
        HANDOFF_QUEUE_MAX: usize = 16, "commands";
        /// Most connections that have not sent their command yet.
        HANDOFF_READING_MAX: usize = 16, "connections";
        /// A connection must send its command within this time.
        HANDOFF_REQUEST_MS: u64 = 5_000, "ms";
        /// A connection is closed if its peer reads no byte of an answer for this long.
        HANDOFF_STALL_MS: u64 = 5_000, "ms";
        /// Longest line at a prompt with editing, which redraws the whole line when it reaches the edge of
        /// the terminal.
        PROMPT_LINE_MAX_BYTES: usize = 16 << 10, "bytes";
    }
}
