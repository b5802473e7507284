//! The bytes of every message of the protocol.

mod frames;
mod messages;
mod second_format;
