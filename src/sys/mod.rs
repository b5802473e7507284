//! What the processor does best when asked in its own words: MD5 of many buffers side by side.
//!
//! The only folder with `unsafe`, which is denied in the rest of the crate and allowed here by one line.
//! Nothing here opens, waits or decides: bytes in, digests out, the same on every machine and only faster on
//! some.

#[allow(unsafe_code, reason = "vector loads and stores; a call compiled for the processor found at run time")]
mod md5_lanes;

pub use md5_lanes::md5_of_many;
