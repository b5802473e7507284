//! What drives one download: it fetches a content from many sources at once and verifies every piece.
//!
//! [`Driver`] connects the decisions of [`crate::logic::transfer`] with threads, sockets and the partial
//! file. Sources come through [`SourceConnector`], so that the same machine fetches from nodes today and can
//! fetch from other kinds of sources. The module does not know the node: what it needs of it are the traits
//! [`HolderSearch`], [`PieceOffer`] and [`Notices`], and [`TransferConfig`].

mod announcer;
mod config;
mod driver;
mod have_schedule;
mod holders;
mod manifest;
mod message;
mod piece_check;
mod ports;
mod search;
mod source;
#[cfg(test)]
mod tests;
mod verifier;

pub use announcer::PartialAnnouncer;
pub use config::{ReplyDelays, TransferConfig};
pub use driver::{Driver, Fetched, LeftoverPieces, TransferError};
pub use piece_check::PieceCheck;
pub use ports::{HolderSearch, Notices, PieceOffer, SearchError};
pub use search::{HeldPieces, held_pieces, ranking};
pub use source::{NativeConnector, Reply, SourceConnection, SourceConnector, SourceError};
