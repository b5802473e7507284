//! One download from many sources as a machine: which source to request which piece from, which sources to
//! open and leave, when to search, when to end.
//!
//! Events go in and actions come out; it moves no byte and waits for nothing. Missing pieces are not assigned
//! in advance: every scheduling pass allocates all of them again by the selection rule, so that they move
//! freely as scores change. Done pieces are never requested again, and no piece is requested from more than
//! two sources at once.
//!
//! A partial source gets requests only for pieces that it has reported, and makes room for another one that
//! has pieces which no source in use has. Full sources get requests for pieces that no partial source has,
//! chosen at random, so that nodes which download a content together get different pieces.

mod allocation;
mod events;
mod in_flight;
mod interface;
mod machine;
#[cfg(test)]
mod model;
mod pieces;
mod sources;
#[cfg(test)]
mod tests;

pub use interface::{Action, Event, Plan, RankedSource};
pub use machine::Transfer;
pub use sources::SourceFailure;
