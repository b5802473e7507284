//! One download: it fetches a content from many sources at once and verifies every piece.
//!
//! [`Driver`] connects the decisions of [`crate::logic::transfer`] with threads, sockets and the partial
//! file. It reaches sources through [`SourceConnector`]. Nodes are the only kind of source today; another
//! kind needs another connector. The module does not know the node: the node gives it a [`TransferConfig`]
//! and implements the traits [`HolderSearch`], [`PieceOffer`] and [`Notices`].

mod announcer;
mod config;
mod driver;
mod have_schedule;
mod manifest_search;
mod piece_check;
mod ports;
mod search;
mod source;
#[cfg(test)]
mod tests;
mod verifier;

pub use announcer::PartialAnnouncer;
pub use config::{ReplyDelays, TransferConfig};
pub use driver::{Driver, FetchedContent, LeftoverPieces, TransferError};
pub use piece_check::PieceCheck;
pub use ports::{HolderSearch, Notices, PieceOffer, SearchError};
pub use search::{HeldPieces, held_pieces, ranking};
pub use source::{NativeConnector, Reply, SourceConnection, SourceConnector, SourceError};
