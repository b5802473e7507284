//! HTTP for people and programs: pages, a JSON interface, metrics, and on a node the files themselves.
//!
//! A translator in front of what a tracker or a node knows: it keeps nothing of its own but open streams.
//! Answers from memory on the same kind of fronts as the native protocol. Reachable from loopback alone
//! unless a token is set; see `gate`.

mod access;
mod assets;
mod http_service;
mod metalink;
mod metrics;
mod node;
mod page;
mod params;
mod peers;
mod plot;
mod response;
mod server;
mod sources;
mod tracker;

pub use node::serve_node;
pub use server::{WebConfig, WebError, WebServer};
pub use tracker::serve_tracker;
