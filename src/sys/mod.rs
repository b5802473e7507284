//! Code for special instructions of the processor: MD5 of many buffers side by side.
//!
//! The only folder with `unsafe`, which is denied in the rest of the crate and allowed here by one line. Code
//! here opens no file, never waits and decides nothing. Its results are the same on every machine.

#[allow(unsafe_code, reason = "vector loads and stores; a call compiled for the processor found at run time")]
mod md5_lanes;

pub use md5_lanes::md5_of_many;
