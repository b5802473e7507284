//! The programs: how `node` and `tracker` start, run and stop.

pub(crate) mod lifecycle;
pub mod node;
pub(crate) mod pages;
pub mod tracker;
