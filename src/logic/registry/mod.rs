//! The whole state of a tracker: which node has which content, which nodes are live, and the messages of
//! control connections that are not complete yet.
//!
//! A pure machine: no socket, thread, lock or clock, and no wire message. The caller passes the time as
//! `now`. Reads take `&self`, so that many finds may run at once under a read lock. Words: a session is a
//! control connection that has said hello. A call-back is a connection of the tracker to the endpoint of a
//! node, which verifies that the node answers there. A suspect is a node whose control connection or
//! heartbeats have ended.
//!
//! Invariants: an endpoint has at most one verified node. A node id has at most one unverified registration.
//! With a node id alone nobody can change a verified node, because every peer can know the id. A session can
//! change only the one registration that it made. A registration or an update takes effect as a whole or not
//! at all.

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
