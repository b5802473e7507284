//! What a download is to do, and with which parts of the node.

use std::sync::Arc;

use super::slots::DownloadSlots;
use crate::node::context::Context;
use crate::node::report::DownloadRequest;
use crate::rt::Stop;
use crate::store::ShareFolders;
use crate::types::{ContentKey, FileOrigin};

/// A download that runs.
pub(super) struct DownloadTask<'a> {
    pub(super) context: &'a Arc<Context>,
    pub(super) folders: &'a Arc<ShareFolders>,
    pub(super) slots: &'a DownloadSlots,
    pub(super) request: &'a DownloadRequest,
    /// What the file is in the share afterwards.
    pub(super) kind: FileOrigin,
    /// Only this content is fetched, whatever the name means now; `None`: what the name means.
    pub(super) only: Option<ContentKey>,
    pub(super) cancel: &'a Stop,
}

impl DownloadTask<'_> {
    /// True if no user waits for the download: it is a resumed one or a replica, and is tried again.
    pub(super) fn is_unattended(&self) -> bool {
        self.only.is_some()
    }
}
