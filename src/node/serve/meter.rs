//! What a node uploads.

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

    /// Answers from memory.
    pub fn now(&self) -> Uploads {
        let peers = self.0.ledger.lock().peers();
        Uploads { sent_bytes: self.0.sent_bytes.load(Ordering::Relaxed), peers }
    }
}
