//! The site of a tracker: holders, nodes and recent finds. It answers from memory and changes nothing.

mod api;
mod context;
mod metrics;
mod pages;
mod site;

pub use site::serve_tracker;
