//! Reads and quarantines the records of unfinished downloads in the directory of downloads.

use crate::node::report::DownloadRequest;
use crate::store::{self, Record, Share};
use crate::types::{ContentKey, FileName};

/// The record of the unfinished download of `content` under `name`; `None` if there is none or it is
/// quarantined.
pub(super) fn record_of(downloads: &Share, name: &FileName, content: ContentKey) -> Option<Record> {
    store::resumable_record(downloads, content).filter(|record| record.name == *name)
}

/// The request that resumes the download of `record`. It never replaces a file: the permission to do so was
/// given for the file that existed then.
pub(super) fn request_of(record: Record) -> DownloadRequest {
    let Record { name, checksum, verify_whole, .. } = record;
    DownloadRequest { name, checksum, verify_whole, force: false }
}

/// Quarantines the unfinished downloads of `name`: a restarted node does not resume them. What was fetched
/// stays for the next download of the content.
pub(super) fn quarantine(downloads: &Share, name: &FileName) {
    let unfinished = store::resumable(downloads);
    for (_, content) in unfinished.iter().filter(|(unfinished, _)| unfinished == name) {
        store::quarantine(downloads, *content);
    }
}
