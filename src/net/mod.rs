//! Sockets: listening, the front threads' readiness loop, client connections, asking many at once.
//!
//! Mechanism alone: bytes arrive, frames are cut, deadlines and caps are kept. What a request means is
//! decided by a `Service`.

pub mod client;
pub mod config;
mod conn;
mod eviction;
pub mod front;
pub mod listen;
pub mod multi_request;
mod output;
pub mod rate_limit;
pub mod service;
mod timers;

pub use client::{Client, ClientError, Woken};
pub use config::{Deadlines, FrontConfig};
pub use listen::{listen, raise_file_limit};
pub use multi_request::{Request, Response, Timeouts, ask_all};
pub use rate_limit::{Grant, TokenBucket};
pub use service::{Closed, ConnActions, ConnId, DetachedConn, NextRead, Service};
