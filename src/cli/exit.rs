//! Exit codes: one number for each way in which a program or a command can end, stable because scripts read them.
//!
//! The only place that knows the numbers. Every error of the floors below has exactly one code.

use std::process::ExitCode;

use crate::node::{CommandError, DownloadError, StartError};
use crate::tracker;

/// How a program or a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// All went well; also a tracker or a headless node that INT or TERM has stopped.
    Success,
    /// A fault of this program or of the system.
    Other,
    /// Bad arguments, an unknown command, no such directory.
    Usage,
    /// No node has the file.
    NotFound,
    /// No tracker that serves us.
    NoTracker,
    /// Holders are known, but none could deliver.
    SourcesFailed,
    /// A peer cannot be reached, or an address cannot be listened on.
    Network,
    /// Cancelled with work unfinished.
    Interrupted,
    /// Bytes or a digest that do not match.
    Digest,
    NoSpace,
    /// The share cannot be read or written, or is in use.
    LocalIo,
    /// Something else has that name.
    Exists,
    /// A bad or missing latency file.
    LatencyFile,
    AddressInUse,
    /// A name means several contents.
    Ambiguous,
    /// Ended by the signal of this number, at a prompt or in a pipe.
    Signal(u8),
}

impl Exit {
    pub const fn code(self) -> u8 {
        match self {
            Exit::Success => 0,
            Exit::Other => 1,
            Exit::Usage => 2,
            Exit::NotFound => 3,
            Exit::NoTracker => 4,
            Exit::SourcesFailed => 5,
            Exit::Network => 6,
            Exit::Interrupted => 7,
            Exit::Digest => 8,
            Exit::NoSpace => 9,
            Exit::LocalIo => 10,
            Exit::Exists => 11,
            Exit::LatencyFile => 14,
            Exit::AddressInUse => 15,
            Exit::Ambiguous => 16,
            Exit::Signal(number) => 128 + number % 128,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.code())
    }
}

impl From<&StartError> for Exit {
    fn from(error: &StartError) -> Exit {
        match error {
            StartError::AddressInUse { .. } => Exit::AddressInUse,
            StartError::Listen { .. } => Exit::Network,
            StartError::NoSuchDirectory { .. } => Exit::Usage,
            StartError::ShareInUse { .. } | StartError::Share { .. } => Exit::LocalIo,
            StartError::Latency { .. } => Exit::LatencyFile,
            StartError::System(_) => Exit::Other,
        }
    }
}

impl From<&tracker::StartError> for Exit {
    fn from(error: &tracker::StartError) -> Exit {
        match error {
            tracker::StartError::AddressInUse { .. } => Exit::AddressInUse,
            tracker::StartError::Listen { .. } => Exit::Network,
            tracker::StartError::System(_) => Exit::Other,
        }
    }
}

impl From<&CommandError> for Exit {
    fn from(error: &CommandError) -> Exit {
        match error {
            CommandError::NoTracker { .. } | CommandError::TrackerRefused { .. } => Exit::NoTracker,
            CommandError::Unreachable { .. } => Exit::Network,
            CommandError::NoneAnswered(_) => Exit::SourcesFailed,
            CommandError::Latency { .. } => Exit::LatencyFile,
            CommandError::Share(_) => Exit::LocalIo,
            CommandError::System(_) => Exit::Other,
            CommandError::Cancelled => Exit::Interrupted,
        }
    }
}

impl From<&DownloadError> for Exit {
    fn from(error: &DownloadError) -> Exit {
        match error {
            DownloadError::Command(error) => Exit::from(error),
            DownloadError::NotFound(_) => Exit::NotFound,
            DownloadError::Ambiguous { .. } => Exit::Ambiguous,
            DownloadError::Exists { .. } => Exit::Exists,
            DownloadError::AllFailed { all_by_digest: true, .. } | DownloadError::Checksum { .. } => {
                Exit::Digest
            }
            DownloadError::AllFailed { .. } => Exit::SourcesFailed,
            DownloadError::NoSpace { .. } => Exit::NoSpace,
            DownloadError::Disk { .. } => Exit::LocalIo,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::FileName;
    use std::net::SocketAddr;

    fn name() -> FileName {
        FileName::new("a.bin").expect("a name")
    }

    fn addr() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 5001))
    }

    #[test]
    fn each_way_a_start_fails_has_its_code() {
        let (path, why) = ("d".to_owned(), "w".to_owned());
        let broken = || std::io::Error::other("none left");
        for (error, code) in [
            (StartError::AddressInUse { addr: addr(), why: why.clone() }, 15),
            (StartError::Listen { addr: addr(), why: why.clone() }, 6),
            (StartError::NoSuchDirectory { path: path.clone(), why: why.clone() }, 2),
            (StartError::ShareInUse { path: path.clone() }, 10),
            (StartError::Latency { path, why: why.clone() }, 14),
            (StartError::System(broken()), 1),
        ] {
            assert_eq!(Exit::from(&error).code(), code, "{error}");
        }
        for (error, code) in [
            (tracker::StartError::AddressInUse { addr: addr(), why: why.clone() }, 15),
            (tracker::StartError::Listen { addr: addr(), why }, 6),
            (tracker::StartError::System(broken()), 1),
        ] {
            assert_eq!(Exit::from(&error).code(), code, "{error}");
        }
    }

    #[test]
    fn each_way_a_command_fails_has_its_code() {
        let why = || "w".to_owned();
        let failed =
            |all_by_digest| DownloadError::AllFailed { name: name(), attempts: vec![], all_by_digest };
        for (error, code) in [
            (CommandError::NoTracker { tracker: addr(), why: why() }.into(), 4),
            (CommandError::TrackerRefused { tracker: addr(), why: why() }.into(), 4),
            (CommandError::Unreachable { endpoint: addr(), why: why() }.into(), 6),
            (CommandError::NoneAnswered(vec![(addr(), why())]).into(), 5),
            (CommandError::Latency { path: "latency.txt".into(), why: why() }.into(), 14),
            (CommandError::Share(why()).into(), 10),
            (CommandError::Cancelled.into(), 7),
            (DownloadError::NotFound(why()), 3),
            (DownloadError::Ambiguous { name: name(), variants: vec![] }, 16),
            (DownloadError::Exists { name: name() }, 11),
            (failed(false), 5),
            (failed(true), 8),
            (DownloadError::Checksum { name: name(), checksum: why() }, 8),
            (DownloadError::NoSpace { name: name(), why: why() }, 9),
            (DownloadError::Disk { name: name(), why: why() }, 10),
        ] {
            assert_eq!(Exit::from(&error).code(), code, "{error}");
        }
    }

    #[test]
    fn signals_end_with_128_and_their_number() {
        for (number, code) in [(1, 129), (2, 130), (15, 143)] {
            assert_eq!(Exit::Signal(number).code(), code);
        }
    }
}
