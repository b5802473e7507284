//! Sockets: listening, the front threads' readiness loop, client connections, asking many at once.
//!
//! Mechanism alone: bytes arrive, frames are cut, deadlines and caps are kept. What a request means is decided by a `Service`.

pub mod ask;
pub mod client;
pub mod listen;
pub mod service;

pub use ask::{Answer, Patience, Question, ask_all};
pub use client::{Client, ClientError, Woken};
pub use listen::{listen, raise_file_limit};
pub use service::{After, Closed, ConnId, Hands, Parts, Service};
