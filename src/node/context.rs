//! What the commands of a running node work with. It knows no job and no thread.

use std::sync::Arc;

use super::find::peers::Peers;
use super::index::IndexerHandle;
use super::notices::Notices;
use super::state::NodeState;
use crate::discovery::{Directory, TrackerSession};

/// Parts that the commands of a node share. Each room of the node uses only some of them.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) state: Arc<NodeState>,
    pub(crate) directory: Directory,
    pub(crate) tracker: Arc<dyn TrackerSession>,
    pub(crate) indexer: IndexerHandle,
    pub(crate) peers: Peers,
    pub(crate) notices: Notices,
}
