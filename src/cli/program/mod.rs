//! The programs: how `node` and `tracker` start, run and stop.

pub mod node;
pub mod tracker;
