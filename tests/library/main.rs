//! Trackers and nodes that start and stop within this process, and the bytes of the protocol.
//!
//! These tests stay apart from those in `tests/acceptance/`: they close ports and locks and take them again at
//! once. A program that another test starts at that moment holds a copy of every descriptor until it runs.

mod faulty_disk;
mod replication;
mod wire;

#[path = "../support/mod.rs"]
mod support;
