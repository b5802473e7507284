//! Code for special instructions of the processor: MD5 of many buffers at once.
//!
//! This is the only folder with `unsafe`: the crate denies it, and one line here allows it. Code here opens
//! no file, never waits and decides nothing. Its results are the same on every machine.

#[allow(unsafe_code, reason = "vector loads and stores; a call compiled for the processor found at run time")]
mod md5_lanes;

pub use md5_lanes::md5_of_many;
