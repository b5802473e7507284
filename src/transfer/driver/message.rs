//! Messages from the threads of a download to its driver.

use std::net::SocketAddr;

use crate::transfer::ports::SearchError;
use crate::transfer::search::{HeldPieces, SearchResult};
use crate::transfer::source::{SourceError, SourceReport};
use crate::transfer::verifier::CheckedPiece;
use crate::types::Manifest;

/// From a thread of the download to the driver.
#[derive(Debug)]
pub(super) enum Message {
    /// A report of the thread with the number `thread`. After a source was left and opened again, the number
    /// tells late reports of its old thread from those of the new one.
    Source { source: SocketAddr, thread: u64, report: SourceReport },
    /// The answer to the request with this number for the manifest. The driver may not wait for it any more.
    Manifest { from: SocketAddr, request: u64, outcome: Result<Manifest, SourceError> },
    /// Verdicts on a batch of pieces.
    Checked(Vec<CheckedPiece>),
    /// The result of a search for holders.
    Search(Result<SearchResult, SearchError>),
    /// The pieces of the partial holders that answered.
    HeldPieces(Result<HeldPieces, SearchError>),
}
