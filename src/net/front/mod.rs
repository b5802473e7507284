//! A front: one thread that serves many connections through a readiness loop.
//!
//! It waits in one place only: for epoll. In each round of the loop every ready connection gets one turn: a
//! bounded number of bytes is read, of messages handed over, and of bytes sent. So no connection delays the
//! others. A failure of a peer, or a lack of descriptors or memory, does not end the loop or make it spin.
//! Invariants: only this thread touches its connections; each session ends in exactly one call of `closed`,
//! unless its connection was handed over or the front itself was dropped.

mod accept;
mod commands;
mod connections;
mod event_loop;
mod eviction;
mod state;
#[cfg(test)]
mod tests;
mod timers;
mod turn;

pub use event_loop::run;
