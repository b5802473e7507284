//! Bytes to messages and back: a decoder gets bytes and returns a checked message or an error. No code here
//! has a socket or knows the state of a program.
//!
//! `docs/PROTOCOL.md` describes every frame of the native protocol byte by byte. Only `codec` knows the
//! encoding of a message, and only `frame` the frame around it. `tracker` has the messages between a node and
//! a tracker, `peer` those between two nodes. `http` and `event` are the interfaces to other programs.

pub mod codec;
pub mod decode;
pub mod event;
pub mod frame;
pub mod http;
pub mod peer;
pub mod tracker;

pub use codec::{CodecError, decode, encode};
pub use decode::Decode;
pub use frame::{Decoder, FrameError, frame};
