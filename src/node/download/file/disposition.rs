//! What happens to the partial file of a download that failed.

use crate::store::PartialError;
use crate::transfer::TransferError;

/// What happens to a partial file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Disposition {
    /// It stays, and a restarted node resumes the download.
    Keep,
    /// It stays for the next download of the content. A restarted node does not resume it.
    Quarantine,
    /// It is removed.
    Discard,
}

/// What happens to the partial file after this error. `is_unattended`: no user waits for the download, and it
/// is tried again.
pub(crate) fn disposition(error: &TransferError, is_unattended: bool) -> Disposition {
    match error {
        TransferError::Cancelled => Disposition::Keep,
        // Sources may come, or space.
        TransferError::AllFailed(_) | TransferError::Disk(PartialError::NoSpace { .. }) if is_unattended => {
            Disposition::Keep
        }
        // No node has this content any more.
        TransferError::Replaced(_) => Disposition::Discard,
        TransferError::AllFailed(_)
        | TransferError::Disk(_)
        | TransferError::Read(_)
        | TransferError::System(_)
        | TransferError::Bug(_) => Disposition::Quarantine,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::Errno;

    #[test]
    fn the_partial_file_of_a_failed_download_is_kept_quarantined_or_discarded() {
        let no_space = || {
            TransferError::Disk(PartialError::NoSpace { needed_bytes: 2, free_bytes: 1, errno: Errno::NOSPC })
        };
        let touched = || TransferError::Disk(PartialError::Touched);
        let system = || TransferError::System(std::io::Error::other("no descriptor"));
        let unreadable = || TransferError::Read(std::io::Error::other("no such device"));
        let bug = || TransferError::Bug("a panic");
        use Disposition::{Discard, Keep, Quarantine};
        for (error, unattended, attended) in [
            (TransferError::Cancelled, Keep, Keep),
            (TransferError::AllFailed(Vec::new()), Keep, Quarantine),
            (no_space(), Keep, Quarantine),
            (touched(), Quarantine, Quarantine),
            (TransferError::Replaced(Vec::new()), Discard, Discard),
            (unreadable(), Quarantine, Quarantine),
            (system(), Quarantine, Quarantine),
            (bug(), Quarantine, Quarantine),
        ] {
            assert_eq!(
                (disposition(&error, true), disposition(&error, false)),
                (unattended, attended),
                "{error:?}"
            );
        }
    }
}
