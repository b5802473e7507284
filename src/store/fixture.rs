//! Shares for tests.

use std::sync::Arc;

use tempfile::TempDir;

use super::disk::{Disk, RealDisk};
use super::share::Share;

/// An empty share.
pub(super) fn share() -> (TempDir, Arc<Share>) {
    share_on(Arc::new(RealDisk))
}

/// An empty share on `disk`.
pub(super) fn share_on(disk: Arc<dyn Disk>) -> (TempDir, Arc<Share>) {
    let dir = tempfile::tempdir().expect("a directory");
    let share = Share::open(dir.path(), disk).expect("a share");
    (dir, Arc::new(share))
}
