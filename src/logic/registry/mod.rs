//! The tracker's whole state: which node has what, which nodes are alive, and what control connections have
//! sent so far.
//!
//! A pure machine: no socket, thread, lock or clock, and no wire message; `now` comes in and answers go out.
//! Reads take `&self`, so that many finds may run at once under a read lock. Invariants: an endpoint has at
//! most one verified node. A node id has at most one unverified registration. A node id alone takes nothing
//! from a verified node, because every peer can know it. A session speaks only for the one registration that
//! it made. A registration or an update is in effect whole or not at all.

mod admission;
mod entry;
mod index;
mod liveness;
mod node_list;
mod reachability;
mod registration;
mod replicas;
mod staging;
mod state;
#[cfg(test)]
mod tests;

pub use admission::{Limits, RegistryError};
pub use entry::{CallBack, Claim, Origin, Reachability, SessionId};
pub use liveness::CallBackResult;
pub use state::Registry;
