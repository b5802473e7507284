//! Limits of the command line: the prompt, the files that it reads, and the local socket of a node.

use super::table::limits;

limits! {
    input {
        /// Maximum length of a line that a prompt or a pipe reads.
        LINE_MAX_BYTES: usize = 64 << 10, "bytes";
        /// Largest value of `--timeout`.
        TIMEOUT_MAX_MS: u64 = 86_400_000_000, "ms";
        /// Maximum length of a file with a token.
        TOKEN_FILE_MAX_BYTES: u64 = 4096, "bytes";
    }

    files_and_local_socket {
        /// Maximum length of a configuration file.
        CONFIG_MAX_BYTES: u64 = 1 << 20, "bytes";
        /// Number of the last lines of a prompt that are kept for the next start.
        HISTORY_LINES_MAX: usize = 1000, "lines";
        /// A prompt reads at most this much of a history file, from its end.
        HISTORY_MAX_BYTES: u64 = 16 << 20, "bytes";
        /// Maximum length of a line of an answer on the local socket of a node.
        HANDOFF_LINE_MAX_BYTES: usize = 1 << 20, "bytes";
        /// Maximum number of `download` commands of the local socket that a node runs at once, including
        /// downloads that wait for other downloads.
        HANDOFF_DOWNLOADS_AT_ONCE: usize = 8, "commands";
        /// Maximum number of other commands of the local socket that a node runs at once.
        HANDOFF_AT_ONCE: usize = 4, "commands";
        /// Maximum number of commands that wait: of `download` commands, and of the others.
        HANDOFF_QUEUE_MAX: usize = 16, "commands";
        /// Maximum number of connections that have not sent their command yet.
        HANDOFF_READING_MAX: usize = 16, "connections";
        /// A connection must send its command within this time.
        HANDOFF_REQUEST_MS: u64 = 5_000, "ms";
        /// The node closes a connection whose client reads no byte of an answer for this long.
        HANDOFF_STALL_MS: u64 = 5_000, "ms";
        /// Maximum length of a line at a prompt with editing, which redraws the whole line when it reaches
        /// the edge of the terminal.
        PROMPT_LINE_MAX_BYTES: usize = 16 << 10, "bytes";
    }
}
