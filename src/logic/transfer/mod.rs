//! One download from many sources as a machine. It decides which source gets which request, which sources to
//! open and leave, when to search, and when to end.
//!
//! Events go in and actions come out; the machine moves no byte and waits for nothing. It works in rounds: a
//! round ends when no source can send anything, and the next one begins with a search. Missing pieces are not
//! assigned in advance: every scheduling pass allocates all of them again by the selection rule, so that they
//! move freely as scores change. Done pieces are never requested again, and no piece is requested from more
//! than two sources at once.
//!
//! A full source has the whole content, a partial source some pieces. A partial source gets requests only for
//! pieces that it has reported, and makes room for another source with pieces that no source in use has.
//! While there are partial sources, full ones get requests for pieces that no partial source has, chosen at
//! random: so nodes that download a content together get different pieces.

mod allocation;
mod connection;
mod events;
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
