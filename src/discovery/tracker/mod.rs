//! Discovery through a tracker.

pub(super) mod client;
pub(super) mod control;
pub(super) mod session;
