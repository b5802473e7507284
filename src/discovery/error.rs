//! The errors of discovery.

use std::net::SocketAddr;

use thiserror::Error;

/// Why a finder gave no answer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DiscoveryError {
    /// The tracker gave no usable answer, or the network failed. Another attempt may succeed.
    #[error("no tracker at {tracker}: {why}")]
    NoTracker {
        /// The tracker's address.
        tracker: SocketAddr,
        /// The failure, for the user.
        why: String,
    },
    /// The tracker refused the request.
    #[error("the tracker at {tracker} refused: {why}")]
    Refused {
        /// The tracker's address.
        tracker: SocketAddr,
        /// The tracker's reason.
        why: String,
    },
    /// A finder other than a tracker failed. Another attempt may succeed.
    #[error("{finder}: {why}")]
    NoAnswer {
        /// See [`Finder::name`](super::Finder::name).
        finder: String,
        /// The failure, for the user.
        why: String,
    },
    /// The caller cancelled the request.
    #[error("cancelled")]
    Cancelled,
}
