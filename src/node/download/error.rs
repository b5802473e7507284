//! Makes errors of discovery, disk and transfer the errors of a download.

use crate::logic::transfer::SourceFailure;
use crate::node::error::{CommandError, DownloadError};
use crate::node::report::Attempt;
use crate::store::PartialError;
use crate::transfer::{SearchError, TransferError};
use crate::types::FileName;

/// Why one attempt has failed.
#[derive(Debug)]
pub(super) enum AttemptError {
    /// A further attempt is of no use.
    Final(DownloadError),
    /// The name means another content now, and the holders of the old one do not cover it. Contains the error
    /// for the case that this was the last attempt.
    Replaced(DownloadError),
}

impl AttemptError {
    pub(super) fn from_transfer(name: &FileName, error: TransferError) -> AttemptError {
        AttemptError::Final(match error {
            TransferError::Cancelled => CommandError::Cancelled.into(),
            TransferError::Disk(error) => disk_error(name, &error),
            TransferError::Read(error) => read_error(name, &error),
            TransferError::System(error) => CommandError::System(error.to_string()).into(),
            TransferError::Bug(what) => CommandError::Bug(what).into(),
            TransferError::AllFailed(failures) => all_failed(name, failures),
            TransferError::Replaced(failures) => return AttemptError::Replaced(all_failed(name, failures)),
        })
    }

    pub(super) fn into_error(self) -> DownloadError {
        match self {
            AttemptError::Final(error) | AttemptError::Replaced(error) => error,
        }
    }
}

impl<E: Into<DownloadError>> From<E> for AttemptError {
    fn from(error: E) -> AttemptError {
        AttemptError::Final(error.into())
    }
}

impl From<SearchError> for DownloadError {
    fn from(error: SearchError) -> DownloadError {
        DownloadError::Command(match error {
            SearchError::Cancelled => CommandError::Cancelled,
            // Discovery is not asked where this conversion is used.
            SearchError::NoAnswer(why) => CommandError::System(why),
            SearchError::System(error) => CommandError::System(error.to_string()),
        })
    }
}

fn all_failed(name: &FileName, failures: Vec<SourceFailure>) -> DownloadError {
    DownloadError::AllFailed {
        name: name.clone(),
        all_by_digest: !failures.is_empty() && failures.iter().all(|failure| failure.sent_wrong_data),
        attempts: failures
            .into_iter()
            // `why` may quote a peer. The text was made printable where it arrived.
            .map(|failure| Attempt { endpoint: failure.source, why: failure.why })
            .collect(),
    }
}

/// The error for a partial file that cannot be opened, written or placed.
pub(super) fn disk_error(name: &FileName, error: &PartialError) -> DownloadError {
    let name = name.clone();
    match error {
        PartialError::NoSpace { .. } | PartialError::TooLarge { .. } => {
            DownloadError::NoSpace { name, why: error.to_string() }
        }
        PartialError::Exists { .. } => DownloadError::Exists { name },
        _ => DownloadError::Disk { name, why: error.to_string() },
    }
}

/// The error for a path or file that cannot be read.
pub(super) fn read_error(name: &FileName, error: &std::io::Error) -> DownloadError {
    DownloadError::Disk { name: name.clone(), why: error.to_string() }
}
