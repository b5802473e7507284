//! The traits that a download needs from the program around it. The node implements them.

use std::fs::File;
use std::sync::Arc;

use thiserror::Error;

use crate::logic::select::LiveHolder;
use crate::rt::Stop;
use crate::types::{ContentKey, FileEntry, Manifest, Provider, Query};

/// Finds the holders of a content and probes them.
pub trait HolderSearch: Send + Sync {
    /// All known holders, without this node. Blocks until discovery has answered.
    ///
    /// # Errors
    /// [`SearchError`]. An empty answer is not an error.
    fn find(&self, query: &Query, stop: &Stop) -> Result<Vec<Provider>, SearchError>;

    /// Probes `providers`: asks them for their load, and returns those that answer, in any order. Blocks
    /// until the probe ends.
    ///
    /// # Errors
    /// [`SearchError::Cancelled`] and [`SearchError::System`].
    fn probe(&self, providers: Vec<Provider>, stop: &Stop) -> Result<Vec<LiveHolder>, SearchError>;
}

/// Why a search has no result.
#[derive(Debug, Error)]
pub enum SearchError {
    /// The stop was triggered.
    #[error("cancelled")]
    Cancelled,
    /// Discovery gives no answer now. The text says why. A later search may succeed.
    #[error("{0}")]
    NoAnswer(String),
    /// The system refuses a thread, a descriptor or a socket.
    #[error("{0}")]
    System(std::io::Error),
}

/// Makes the verified pieces of a running download available to other nodes.
pub trait PieceOffer: Send + Sync {
    /// Begins to serve the content of `manifest` from `file`. No piece of it is available yet.
    fn begin(&self, manifest: Arc<Manifest>, file: Arc<File>);

    /// Makes one more piece available, which is verified and written. Returns the number of available
    /// pieces. For a content that is not being served it does nothing and returns 0.
    fn add(&self, content: &ContentKey, piece: u32) -> u32;

    /// Stops to serve the manifest, which contains a wrong MD5. The pieces stay available.
    fn withhold_manifest(&self, content: &ContentKey);

    /// Publishes that this node holds a part of a content.
    fn publish(&self, entry: FileEntry);

    /// Stops to serve the content. Pieces that are being sent are sent to their end.
    fn end(&self, content: &ContentKey);
}

/// Receives messages for the user.
pub trait Notices: Send + Sync {
    /// Reports something that the user should know and that does not end the download.
    fn warn(&self, text: String);
}
