//! Errors of a node as error codes.

use crate::node::error::{CommandError, DownloadError, StartError};
use crate::proto::event::ErrorCode;

impl From<&StartError> for ErrorCode {
    fn from(error: &StartError) -> ErrorCode {
        match error {
            StartError::AddressInUse { .. } => ErrorCode::AddressInUse,
            StartError::Listen { .. } => ErrorCode::Network,
            StartError::NoSuchDirectory { .. } => ErrorCode::Usage,
            StartError::ShareInUse { .. } | StartError::Share { .. } => ErrorCode::LocalIo,
            StartError::Latency { .. } => ErrorCode::LatencyFile,
            StartError::System(_) => ErrorCode::Other,
        }
    }
}

impl From<&CommandError> for ErrorCode {
    fn from(error: &CommandError) -> ErrorCode {
        match error {
            CommandError::NoTracker { .. }
            | CommandError::TrackerRefused { .. }
            | CommandError::NoAnswer { .. } => ErrorCode::NoTracker,
            CommandError::Unreachable { .. } => ErrorCode::Network,
            CommandError::NoneAnswered(_) => ErrorCode::SourcesFailed,
            CommandError::Latency { .. } => ErrorCode::LatencyFile,
            CommandError::Share(_) => ErrorCode::LocalIo,
            CommandError::System(_) | CommandError::Bug(_) => ErrorCode::Other,
            CommandError::Cancelled => ErrorCode::Interrupted,
        }
    }
}

impl From<&DownloadError> for ErrorCode {
    fn from(error: &DownloadError) -> ErrorCode {
        match error {
            DownloadError::Command(error) => ErrorCode::from(error),
            DownloadError::NotFound(_) => ErrorCode::NotFound,
            DownloadError::Ambiguous { .. } => ErrorCode::Ambiguous,
            DownloadError::Exists { .. } => ErrorCode::Exists,
            DownloadError::AllFailed { all_by_digest: true, .. } | DownloadError::Checksum { .. } => {
                ErrorCode::Digest
            }
            DownloadError::AllFailed { .. } => ErrorCode::SourcesFailed,
            DownloadError::NoSpace { .. } => ErrorCode::NoSpace,
            DownloadError::NoDirectory | DownloadError::Disk { .. } => ErrorCode::LocalIo,
        }
    }
}
