//! What a download has to do, and the parts of the node that it uses.

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
    /// The origin of the file after it was placed.
    pub(super) origin: FileOrigin,
    /// The download fetches only this content, whatever the name means; `None`: what the name means now.
    pub(super) only: Option<ContentKey>,
    pub(super) cancel: &'a Stop,
}

impl DownloadTask<'_> {
    /// True if no user waits for the download: it is resumed or a replica, and the node tries it again. Only
    /// such downloads have `only`.
    pub(super) fn is_unattended(&self) -> bool {
        self.only.is_some()
    }
}
