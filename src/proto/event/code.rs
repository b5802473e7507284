//! Error codes: the reason of a failure as a word for programs, and the exit code that belongs to it.

use serde::{Deserialize, Serialize};

/// Why a command, a download or a program failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// A bug of the program, or a failure of the system.
    Other,
    /// Bad arguments, an unknown command, a directory that does not exist.
    Usage,
    /// No node has the file.
    NotFound,
    /// No tracker answers, or it refuses this node.
    NoTracker,
    /// Holders are known, but none of them answered or delivered.
    SourcesFailed,
    /// A peer cannot be reached, or the program cannot listen on an address.
    Network,
    /// The command took longer than the given time.
    TimedOut,
    /// The command was cancelled before its end.
    Interrupted,
    /// Bytes do not match their digest.
    Digest,
    /// The disk is full.
    NoSpace,
    /// A directory or file cannot be read or written, or another program uses it.
    LocalIo,
    /// Another content has the name.
    Exists,
    /// A bad or missing configuration file.
    Config,
    /// A bad or missing latency file.
    LatencyFile,
    /// Another program listens on the address.
    AddressInUse,
    /// A name means several contents.
    Ambiguous,
}

impl ErrorCode {
    /// The exit code of a program that fails for this reason.
    pub const fn exit_code(self) -> u8 {
        match self {
            ErrorCode::Other => 1,
            ErrorCode::Usage => 2,
            ErrorCode::NotFound => 3,
            ErrorCode::NoTracker => 4,
            ErrorCode::SourcesFailed => 5,
            ErrorCode::Network | ErrorCode::TimedOut => 6,
            ErrorCode::Interrupted => 7,
            ErrorCode::Digest => 8,
            ErrorCode::NoSpace => 9,
            ErrorCode::LocalIo => 10,
            ErrorCode::Exists => 11,
            ErrorCode::Config | ErrorCode::LatencyFile => 14,
            ErrorCode::AddressInUse => 15,
            ErrorCode::Ambiguous => 16,
        }
    }
}
