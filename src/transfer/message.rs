//! Messages: from the threads of a download to its driver, and from the driver to its caller.

use std::net::SocketAddr;

use super::ports::SearchError;
use super::search::{HeldPieces, Searched};
use super::source::{SourceError, SourceReport};
use super::verifier::Checked;
use crate::types::Manifest;

/// From a thread of the download to the driver.
#[derive(Debug)]
pub(super) enum Message {
    /// `thread` tells late reports of a source that was left from reports of the same source used again.
    Source { source: SocketAddr, thread: u64, report: SourceReport },
    /// `request` tells the awaited answer from one that is not awaited any more.
    Manifest { from: SocketAddr, request: u64, outcome: Result<Manifest, SourceError> },
    /// Verdicts on a batch of pieces.
    Checked(Vec<Checked>),
    /// The result of a search for holders.
    Searched(Result<Searched, SearchError>),
    /// The pieces that the partial holders which answered have now.
    Have(Result<HeldPieces, SearchError>),
}
