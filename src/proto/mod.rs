//! Bytes <-> messages. No sockets, no state of the system: what comes in is bytes, what goes out is a checked
//! message or an error.
//!
//! `docs/PROTOCOL.md` describes every frame byte by byte. `codec` alone knows the encoding, `frame` the
//! envelope; `tracker` and `peer` are the two conversations.

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
