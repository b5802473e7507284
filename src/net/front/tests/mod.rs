//! Tests of the front over real sockets.

mod eviction;
mod files;
mod harness;
mod lifecycle;
mod requests;
