//! Which failed downloads a restarted node resumes, and which partial files are removed.

use crate::store::PartialError;
use crate::transfer::TransferError;

/// What happens to the partial file of a failed download, and to the record beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Disposition {
    /// It stays, and its record keeps the ending `.resume`: a restarted node resumes the download.
    KeepResumable,
    /// It stays for the next download of the content. Its record gets the ending `.kept`: a restarted node
    /// does not resume the download.
    Quarantine,
    /// It is removed, and its record too.
    Discard,
}

/// What happens to the partial file after this error. `is_unattended`: no user waits for the download, and
/// the node tries it again by itself.
pub(crate) fn disposition(error: &TransferError, is_unattended: bool) -> Disposition {
    match error {
        // The node stops, or a user ends the run. After the commands `pause` and `cancel` the thread of the
        // job quarantines the file.
        TransferError::Cancelled => Disposition::KeepResumable,
        // Sources may come, the user may free space, and other downloads return threads and descriptors.
        TransferError::AllFailed(_)
        | TransferError::Disk(PartialError::NoSpace { .. })
        | TransferError::System(_)
            if is_unattended =>
        {
            Disposition::KeepResumable
        }
        // No node has the whole content, and the known partial holders do not cover it.
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
    fn each_error_of_a_transfer_keeps_quarantines_or_discards_the_partial_file() {
        let no_space = || {
            TransferError::Disk(PartialError::NoSpace { needed_bytes: 2, free_bytes: 1, errno: Errno::NOSPC })
        };
        let touched = || TransferError::Disk(PartialError::Touched);
        let system = || TransferError::System(std::io::Error::other("no descriptor"));
        let unreadable = || TransferError::Read(std::io::Error::other("no such device"));
        let bug = || TransferError::Bug("a panic");
        use Disposition::{Discard, KeepResumable, Quarantine};
        for (error, unattended, attended) in [
            (TransferError::Cancelled, KeepResumable, KeepResumable),
            (TransferError::AllFailed(Vec::new()), KeepResumable, Quarantine),
            (no_space(), KeepResumable, Quarantine),
            (touched(), Quarantine, Quarantine),
            (TransferError::Replaced(Vec::new()), Discard, Discard),
            (unreadable(), Quarantine, Quarantine),
            (system(), KeepResumable, Quarantine),
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
