//! The site of a node: search with latency, load and score, its files, its downloads.
//!
//! Workers ask peers and read the share. File fronts send files. Only `POST` and `PUT` change something,
//! after the access check.

mod api;
mod context;
mod downloads;
mod files;
mod metrics;
mod pages;
mod past;
mod paths;
mod site;
mod stats;

pub use site::serve_node;
