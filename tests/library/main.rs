//! Tests that start and stop trackers and nodes within this process, and tests of the bytes of the protocol.
//!
//! These tests are separate from `tests/acceptance/`, because they close ports and locks and take them again
//! at once. A program that another test starts at that moment holds a copy of every descriptor until it runs
//! `exec`.

mod faulty_disk;
mod replication;
mod wire;

#[path = "../support/mod.rs"]
mod support;
