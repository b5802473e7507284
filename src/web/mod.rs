//! HTTP for people and programs: pages, a JSON interface, metrics, and on a node the files themselves.
//!
//! This floor translates what a tracker or a node knows. It keeps no state of its own except open streams. It
//! answers from memory, on the same kind of fronts as the native protocol. Without a token only programs on
//! the same machine can reach it; see `service::access`.

mod node;
mod service;
mod tracker;
mod view;

pub use node::serve_node;
pub use service::server::{WebConfig, WebError, WebServer};
pub use tracker::serve_tracker;
