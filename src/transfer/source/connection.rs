//! The traits through which a download talks to a source, whatever protocol the source speaks.
//!
//! All calls block; each source has a thread for them. A connection never holds a piece buffer: the thread of
//! the source takes a buffer only after the source has announced the bytes of a piece.

use std::fmt::Debug;
use std::net::SocketAddr;
use std::time::Duration;

use crate::net::client::ClientError;
use crate::proto::peer::PeerRefusal;
use crate::rt::Stop;
use crate::types::{Manifest, ManifestError, limits};

/// Connects to sources of one kind for one content.
pub trait SourceConnector: Debug + Send + Sync {
    /// Connects to a source; blocks until the source accepts. `stop` ends this wait and every later wait of
    /// the connection.
    ///
    /// # Errors
    /// Why the source cannot be used; [`SourceError::Stopped`] after `stop`.
    fn connect(&self, endpoint: SocketAddr, stop: &Stop) -> Result<Box<dyn SourceConnection>, SourceError>;

    /// Fetches the manifest of the content from a source; blocks until all of it has arrived.
    ///
    /// # Errors
    /// Why the source gives none; [`SourceError::Manifest`] if it gives a manifest of another content.
    fn fetch_manifest(&self, endpoint: SocketAddr, stop: &Stop) -> Result<Manifest, SourceError>;

    /// The delay of replies from the source that emulates a latency.
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

    /// Waits for the reply to the oldest request that has none yet. After
    /// [`Reply::PieceFollows`] the caller must read all bytes of the piece.
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
    /// The source has the piece, and its bytes follow.
    PieceFollows,
    /// The source does not have the piece. It can still be asked for other pieces.
    LacksPiece,
}

/// Why the use of a source ended.
#[derive(Debug)]
pub enum SourceError {
    /// The stop was triggered. The source has no fault.
    Stopped,
    /// The source did not accept a connection in [`limits::SOURCE_CONNECT_MS`].
    ConnectDeadline,
    /// No byte came for [`limits::SOURCE_SILENCE_MS`].
    Stalled,
    /// The pages of the manifest came too slowly.
    ManifestDeadline,
    /// The connection failed in another way.
    Client(ClientError),
    /// The source refused a request.
    Refused(PeerRefusal),
    /// The source gave a manifest that is not the one of the content.
    Manifest(ManifestError),
    /// The source broke its protocol. The text says how.
    Protocol(String),
}

impl From<ClientError> for SourceError {
    fn from(error: ClientError) -> SourceError {
        match error {
            ClientError::Stopped => SourceError::Stopped,
            ClientError::Deadline => SourceError::Stalled,
            error => SourceError::Client(error),
        }
    }
}

impl SourceError {
    /// The reason, as a text for the user.
    pub fn why(&self) -> String {
        match self {
            SourceError::Stopped => "stopped".into(),
            SourceError::ConnectDeadline => {
                format!("no connection in {} s", limits::SOURCE_CONNECT_MS / 1000)
            }
            SourceError::Stalled => format!("stalled: no byte in {} s", limits::SOURCE_SILENCE_MS / 1000),
            SourceError::ManifestDeadline => {
                let rate = limits::SOURCE_RATE_MIN_BYTES_PER_S >> 10;
                format!("its manifest comes slower than {rate} KiB/s")
            }
            SourceError::Client(error) => error.to_string(),
            SourceError::Refused(refusal) => refusal.to_string(),
            SourceError::Manifest(error) => error.to_string(),
            SourceError::Protocol(why) => why.clone(),
        }
    }

    /// Returns true if and only if the source sent a manifest that is not the one of the content.
    pub fn is_wrong_data(&self) -> bool {
        matches!(self, SourceError::Manifest(_))
    }
}
