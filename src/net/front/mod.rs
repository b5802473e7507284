//! A front: one thread that serves many connections through a readiness loop.
//!
//! It waits in one place only. In each round every ready connection gets a bounded slice of work (bytes read,
//! messages handed over, bytes sent), so that no connection delays the others. No failure of a peer or of the
//! system ends the loop or makes it spin. Invariants: only this thread touches its connections; each session
//! ends in exactly one call of `closed`, unless its connection was handed over or the front itself was
//! dropped.

mod accept;
mod commands;
mod connections;
mod event_loop;
mod eviction;
mod slice;
mod state;
#[cfg(test)]
mod tests;
mod timers;

pub use event_loop::run;
