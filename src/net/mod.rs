//! Sockets: listening, the front threads' readiness loop, client connections, asking many at once.
//!
//! Mechanism alone: bytes arrive, frames are cut, deadlines and caps are kept. What a request means is
//! decided by a `Service`.

pub mod ask;
pub mod bucket;
mod caps;
pub mod client;
pub mod config;
mod conn;
pub mod front;
pub mod listen;
mod obey;
mod output;
pub mod service;
mod timers;

pub use ask::{Answer, Patience, Question, ask_all};
pub use bucket::{Bucket, Grant};
pub use client::{Client, ClientError, Woken};
pub use config::{Deadlines, FrontConfig};
pub use listen::{listen, raise_file_limit};
pub use service::{After, Closed, ConnId, Hands, Parts, Service};
