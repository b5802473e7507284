//! Bytes <-> messages. No sockets and no state of the system: bytes come in, and a checked message or an
//! error goes out.
//!
//! `docs/PROTOCOL.md` describes every frame byte by byte. Only `codec` knows the encoding, and only `frame`
//! the envelope. `tracker` and `peer` are the two conversations.

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
