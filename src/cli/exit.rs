//! Exit codes: one number for each way in which a program or a command can end. The numbers never change,
//! because scripts read them.
//!
//! [`ErrorCode`], which is part of the events, has the numbers of errors. This module adds success and
//! signals.

use std::process::ExitCode;

pub use crate::proto::event::ErrorCode;
use crate::proto::event::Event;
use crate::store::{DatasetError, ShareError};
use crate::tracker;

/// How a program or a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Success; also a tracker or a headless node that INT or TERM has stopped.
    Success,
    /// A failure.
    Error(ErrorCode),
    /// The signal of this number ended the program, at a prompt or in a pipe.
    Signal(u8),
}

impl Exit {
    /// The exit code of the process.
    pub const fn code(self) -> u8 {
        match self {
            Exit::Success => 0,
            Exit::Error(code) => code.exit_code(),
            Exit::Signal(number) => 128 + number % 128,
        }
    }

    /// The code of a failure as a word; `None` after success.
    pub const fn error_code(self) -> Option<ErrorCode> {
        match self {
            Exit::Error(code) => Some(code),
            Exit::Signal(_) => Some(ErrorCode::Interrupted),
            Exit::Success => None,
        }
    }

    /// The last event of a program or command with this exit.
    pub const fn end(self) -> Event {
        Event::End { exit_code: self.code(), code: self.error_code() }
    }

    /// The exit that [`Exit::end`] was made from.
    pub const fn of_end(exit_code: u8, code: Option<ErrorCode>) -> Exit {
        match (code, exit_code) {
            (_, 129..) => Exit::Signal(exit_code - 128),
            (Some(code), _) => Exit::Error(code),
            (None, 1..) => Exit::Error(ErrorCode::Other),
            (None, 0) => Exit::Success,
        }
    }
}

impl From<ErrorCode> for Exit {
    fn from(code: ErrorCode) -> Exit {
        Exit::Error(code)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.code())
    }
}

/// The code of a tracker that does not start.
pub fn tracker_error_code(error: &tracker::TrackerStartError) -> ErrorCode {
    match error {
        tracker::TrackerStartError::AddressInUse { .. } => ErrorCode::AddressInUse,
        tracker::TrackerStartError::Listen { .. } => ErrorCode::Network,
        tracker::TrackerStartError::System(_) => ErrorCode::Other,
    }
}

/// The code of a directory that cannot be shared or read.
pub fn share_code(error: &ShareError) -> ErrorCode {
    match error {
        ShareError::NoSuchDirectory { .. } => ErrorCode::Usage,
        ShareError::InUse { .. } | ShareError::Io { .. } => ErrorCode::LocalIo,
    }
}

/// The code of a data set that cannot be generated.
pub fn dataset_error_code(error: &DatasetError) -> ErrorCode {
    match error {
        DatasetError::Prefix(_) => ErrorCode::Usage,
        DatasetError::NoSpace { .. } => ErrorCode::NoSpace,
        DatasetError::Look(_) | DatasetError::Disk { .. } => ErrorCode::LocalIo,
        DatasetError::Stopped => ErrorCode::Interrupted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;

    #[test]
    fn each_start_error_of_a_tracker_has_its_code() {
        let (addr, why) = (SocketAddr::from(([127, 0, 0, 1], 5001)), "w".to_owned());
        for (error, code) in [
            (tracker::TrackerStartError::AddressInUse { addr, why: why.clone() }, 15),
            (tracker::TrackerStartError::Listen { addr, why }, 6),
            (tracker::TrackerStartError::System(std::io::Error::other("none left")), 1),
        ] {
            assert_eq!(tracker_error_code(&error).exit_code(), code, "{error}");
        }
    }

    #[test]
    fn a_signal_gives_128_plus_its_number() {
        for (number, code) in [(1, 129), (2, 130), (15, 143)] {
            assert_eq!(Exit::Signal(number).code(), code);
            assert_eq!(Exit::of_end(code, Some(ErrorCode::Interrupted)), Exit::Signal(number));
        }
    }
}
