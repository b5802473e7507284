//! HTTP for people and programs: pages, a JSON interface, metrics, and on a node the files themselves.
//!
//! This module shows the state of a tracker or a node, and passes changes to a node. Its own state is small:
//! open streams, counts of wrong tokens, and the recent traffic of a node for plots. Fronts, as in the native
//! protocol, answer from memory or send a file. Workers ask peers. Without a token only programs on the same
//! machine can reach the server; see `service::access`.

mod node;
mod service;
mod tracker;
mod view;

pub use node::serve_node;
pub use service::server::{WebConfig, WebError, WebServer};
pub use tracker::serve_tracker;
