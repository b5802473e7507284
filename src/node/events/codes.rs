//! The error code of each error of a node.

use crate::node::error::{CommandError, DownloadError, NodeStartError};
use crate::proto::event::ErrorCode;

impl From<&NodeStartError> for ErrorCode {
    fn from(error: &NodeStartError) -> ErrorCode {
        match error {
            NodeStartError::AddressInUse { .. } => ErrorCode::AddressInUse,
            NodeStartError::Listen { .. } => ErrorCode::Network,
            NodeStartError::NoSuchDirectory { .. } => ErrorCode::Usage,
            NodeStartError::ShareInUse { .. } | NodeStartError::Share { .. } => ErrorCode::LocalIo,
            NodeStartError::Latency { .. } => ErrorCode::LatencyFile,
            NodeStartError::System(_) => ErrorCode::Other,
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
