//! One download from many sources as a machine: which source to ask for which piece, whom to open and leave,
//! when to search, when to end.
//!
//! It is told what happened and says what to do; it moves no byte and waits for nothing. A missing piece
//! belongs to nobody: on each look all of them are shared out anew by the selection rule, so that they move
//! freely as scores change. Done pieces are never asked for again, and no piece is asked of more than two
//! sources at once.
//!
//! A partial source is asked only for pieces that it has told of, and makes room when others have what nobody
//! in use has. Others are asked for what no partial source has, and at random, so that those who fetch a
//! content together come to have different pieces.

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
