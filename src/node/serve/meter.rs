//! The meter of the uploads of a node.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::node::report::Uploads;
use crate::node::state::NodeState;

/// Reads what a node uploads, on any thread.
#[derive(Debug, Clone)]
pub struct UploadMeter(Arc<NodeState>);

impl UploadMeter {
    pub(crate) fn new(state: Arc<NodeState>) -> UploadMeter {
        UploadMeter(state)
    }

    /// The uploads now, read from memory.
    pub fn now(&self) -> Uploads {
        let peers = self.0.load_counter.lock().requesters();
        Uploads { sent_bytes: self.0.sent_bytes.load(Ordering::Relaxed), peers }
    }
}
