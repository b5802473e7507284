//! The threads of a node: how they start, and in which order they stop.

pub(super) mod node_threads;
mod start;
