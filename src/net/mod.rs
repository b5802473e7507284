//! Sockets: listening, the front threads' readiness loop, client connections, asking many at once.
//!
//! Mechanism alone: bytes arrive, frames are cut, deadlines and caps are kept. What a request means is decided by a `Service`.

pub mod service;

pub use service::{After, Closed, ConnId, Hands, Parts, Service};
