//! The meter of a node's uploads.

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

    /// The uploads at this moment. Does not wait.
    pub fn now(&self) -> Uploads {
        let peers = self.0.load_counter.lock().requesters();
        Uploads { sent_bytes: self.0.sent_bytes.load(Ordering::Relaxed), peers }
    }
}
