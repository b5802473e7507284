//! Drives one [`Transfer`](crate::logic::transfer::Transfer): the program around the machine.
//!
//! [`event_loop`] waits for messages and executes the machine's actions. The other files add what [`Driver`]
//! does with holders, with the manifest and with pieces.

mod event_loop;
mod holders;
mod interface;
mod manifest;
mod message;
mod pieces;

pub use interface::{Driver, FetchedContent, LeftoverPieces, TransferError};
