//! Messages: from the threads of a download to its driver, and from the driver to its caller.

use std::net::SocketAddr;
use std::time::Duration;

use super::ports::SearchError;
use super::search::{HeldPieces, Searched};
use super::source::{SourceError, SourceReport};
use super::verifier::Checked;
use crate::types::{Manifest, Ranked};

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

/// What happens in a download, for its caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TransferEvent {
    /// A new round begins with these sources, best first.
    Ranked(Vec<Ranked>),
    /// Pieces are now fetched from this source too.
    SourceOpened(SocketAddr),
    /// A source is not used any more. Without a reason nothing is wrong with it.
    SourceLeft { endpoint: SocketAddr, why: Option<String> },
    /// `done_bytes` are verified and written; `fetched_bytes` of them came from sources in this run.
    Progressed { done_bytes: u64, fetched_bytes: u64 },
    /// All sources have failed; round `round` of `of` begins after `pause`.
    Paused { round: u32, of: u32, pause: Duration },
}
