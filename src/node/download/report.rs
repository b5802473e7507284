//! What the threads of a download tell the one that drives it.

use std::net::SocketAddr;

use super::buffers::Buffer;
use super::peer::SourceError;
use super::search::{HeldPieces, Searched};
use super::verifier::Checked;
use crate::node::error::CommandError;
use crate::types::Manifest;

/// News for [`super::fetch`].
#[derive(Debug)]
pub(super) enum SourceMessage {
    /// `thread` tells late words of a source that was left from those of the same source used again.
    Arrived {
        source: SocketAddr,
        thread: u64,
        piece: u32,
        bytes: Buffer,
    },
    /// The source does not have a piece that it was asked for, and goes on.
    Lacks {
        source: SocketAddr,
        thread: u64,
        piece: u32,
    },
    SourceFailed {
        source: SocketAddr,
        thread: u64,
        why: String,
        by_digest: bool,
    },
    /// `request` tells the answer that is awaited from one that was given up.
    PieceList {
        from: SocketAddr,
        request: u64,
        outcome: Result<Manifest, SourceError>,
    },
    Checked(Vec<Checked>),
    Searched(Result<Searched, CommandError>),
    /// What those that have a part only have by now, as far as they have told.
    Have(Result<HeldPieces, CommandError>),
}
