//! Sockets: listeners, fronts, client connections, one request to many peers at once. A front is a thread
//! that serves many connections in a loop.
//!
//! This folder moves bytes, cuts them into messages, and enforces deadlines and limits. What a request means,
//! a `Service` decides.

pub mod client;
pub mod config;
mod conn;
pub mod front;
pub mod listen;
pub mod multi_request;
mod output;
pub mod rate_limit;
pub mod service;

pub use client::{Client, ClientError, Woken};
pub use config::{Deadlines, FrontConfig};
pub use listen::{listen, raise_file_limit};
pub use multi_request::{Request, Response, Timeouts, request_all};
pub use rate_limit::{Grant, TokenBucket};
pub use service::{Closed, ConnActions, ConnId, DetachedConn, NextRead, Service};
