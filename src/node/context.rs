//! The parts of a running node that its commands use. No job and no thread is among them.

use std::sync::Arc;

use super::find::peers::Peers;
use super::index::IndexerHandle;
use super::notices::Notices;
use super::state::NodeState;
use crate::discovery::{Directory, TrackerSession};

/// Parts that the commands and downloads of a node share. Each folder of `node` uses only some of them.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) state: Arc<NodeState>,
    pub(crate) directory: Directory,
    pub(crate) tracker: Arc<dyn TrackerSession>,
    pub(crate) indexer: IndexerHandle,
    pub(crate) peers: Peers,
    pub(crate) notices: Notices,
}
