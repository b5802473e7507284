//! How a download talks to one source, whatever protocol the source speaks.
//!
//! Blocking, with one thread for each source. A connection never holds a piece buffer: the source's thread
//! takes one when the bytes of a piece are there.

use std::fmt::Debug;
use std::net::SocketAddr;
use std::time::Duration;

use crate::net::client::ClientError;
use crate::proto::peer::PeerRefusal;
use crate::rt::Stop;
use crate::types::{Manifest, ManifestError, limits};

/// Connects to sources of one kind for one content.
pub trait SourceConnector: Debug + Send + Sync {
    /// Connects to a source; blocks until the connection is there. `stop` ends this and every later wait of
    /// the connection.
    ///
    /// # Errors
    /// Why the source cannot be used; [`SourceError::Stopped`] after `stop`.
    fn connect(&self, endpoint: SocketAddr, stop: &Stop) -> Result<Box<dyn SourceConnection>, SourceError>;

    /// Fetches the manifest of the content from a source; blocks until all of it is there.
    ///
    /// # Errors
    /// Why the source gives none; [`SourceError::Manifest`] if it is not the manifest of the content.
    fn fetch_manifest(&self, endpoint: SocketAddr, stop: &Stop) -> Result<Manifest, SourceError>;

    /// How long replies of the source are held back on purpose, to emulate a latency.
    fn reply_delay(&self, _endpoint: SocketAddr) -> Duration {
        Duration::ZERO
    }
}

/// A connection to one source. Requests may be sent ahead; pieces come in the order of the requests.
pub trait SourceConnection: Send {
    /// Sends the request for a piece and does not wait for the reply. `len_bytes`: the length of the piece.
    ///
    /// # Errors
    /// Why the source cannot be used any more.
    fn request(&mut self, piece: u32, len_bytes: u64) -> Result<(), SourceError>;

    /// Waits for the reply to the oldest request that has none yet. After [`Reply::Piece`] all bytes of the
    /// piece must be read.
    ///
    /// # Errors
    /// Why the source cannot be used any more.
    fn reply(&mut self) -> Result<Reply, SourceError>;

    /// Reads bytes of the piece that [`SourceConnection::reply`] has announced, at least one, and returns how
    /// many. `bytes` is not empty and no longer than the rest of the piece.
    ///
    /// # Errors
    /// Why the source cannot be used any more.
    fn read(&mut self, bytes: &mut [u8]) -> Result<usize, SourceError>;
}

/// The reply to a request for a piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// The bytes of the piece follow.
    Piece,
    /// The source does not have the piece. It can still be asked for other pieces.
    Lacks,
}

/// Why a source cannot be used.
#[derive(Debug)]
pub enum SourceError {
    /// The stop was triggered. No fault of the source.
    Stopped,
    /// The connection failed.
    Client(ClientError),
    /// The source refused a request.
    Refused(PeerRefusal),
    /// The manifest is not the manifest of the content.
    Manifest(ManifestError),
    /// The source broke its protocol. The text says how.
    Protocol(String),
}

impl From<ClientError> for SourceError {
    fn from(error: ClientError) -> SourceError {
        match error {
            ClientError::Stopped => SourceError::Stopped,
            error => SourceError::Client(error),
        }
    }
}

impl SourceError {
    /// The reason, as a text for the user.
    pub fn why(&self) -> String {
        match self {
            SourceError::Stopped => "stopped".into(),
            SourceError::Client(ClientError::Deadline) => {
                format!("stalled: no byte in {} s", limits::SOURCE_SILENCE_MS / 1000)
            }
            SourceError::Client(error) => error.to_string(),
            SourceError::Refused(refusal) => refusal.to_string(),
            SourceError::Manifest(error) => error.to_string(),
            SourceError::Protocol(why) => why.clone(),
        }
    }

    /// Returns true if and only if the reason is a digest that does not match.
    pub fn is_by_digest(&self) -> bool {
        matches!(self, SourceError::Manifest(_))
    }
}
