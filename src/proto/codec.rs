//! The encoding of frame bodies: bincode 2, little endian, fixed-width integers. Only this file names
//! bincode.
//!
//! Decoding is strict: a body is one value and nothing more. A claimed length beyond the limit is refused,
//! and a sequence grows with the received bytes, not with the claimed number of elements. No wire type is
//! zero-sized or recursive: a small body cannot become a large value.

use bincode::config::{self, Configuration, Fixint, Limit, LittleEndian};
use bincode::error::DecodeError;
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use crate::types::limits;

type Strict = Configuration<LittleEndian, Fixint, Limit<{ limits::FRAME_MAX_BYTES }>>;

const CONFIG: Strict = config::legacy().with_limit::<{ limits::FRAME_MAX_BYTES }>();

/// Why bytes are not a message, or a message is too large for the wire.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CodecError {
    /// The peer's fault: the bytes are not a value of the expected type.
    #[error("not a message of this protocol version: {0}")]
    Malformed(String),
    /// The peer's fault: bytes are left after the value.
    #[error("{0} bytes after the end of the message")]
    Trailing(usize),
    /// A bug of this program: the value is longer than a frame may be.
    #[error("message of {0} bytes: at most {max} fit a frame", max = limits::FRAME_MAX_BYTES)]
    TooLong(usize),
}

/// Encodes `message` as a frame body.
///
/// # Errors
/// [`CodecError::TooLong`] if the body would be longer than [`limits::FRAME_MAX_BYTES`];
/// [`CodecError::Malformed`] if the type has no encoding, a bug.
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, CodecError> {
    let body = bincode::serde::encode_to_vec(message, CONFIG)
        .map_err(|error| CodecError::Malformed(error.to_string()))?;
    if body.len() > limits::FRAME_MAX_BYTES {
        return Err(CodecError::TooLong(body.len()));
    }
    Ok(body)
}

/// Decodes a frame body that must be exactly one `T`.
///
/// # Errors
/// [`CodecError::Malformed`] or [`CodecError::Trailing`]; both are the peer's fault.
pub fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, CodecError> {
    let (message, used) = bincode::serde::decode_from_slice(body, CONFIG)
        .map_err(|error| CodecError::Malformed(error_text(error)))?;
    match body.len() - used {
        0 => Ok(message),
        left => Err(CodecError::Trailing(left)),
    }
}

/// The text of a decoding error. bincode wraps the texts of serde in a form that prints as Rust source.
fn error_text(error: DecodeError) -> String {
    match error {
        DecodeError::OtherString(text) => text,
        error => error.to_string(),
    }
}
