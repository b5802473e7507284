//! The frame around a message: 4 bytes magic and version, the length of the body as a little-endian `u32`,
//! the body.
//!
//! The decoder refuses a length before it allocates memory for it. Between frames a connection may carry raw
//! bytes of a file; `take_raw` returns those that the decoder has received already.

use serde::Serialize;
use thiserror::Error;

use super::codec::{self, CodecError};
use super::decode::Decode;
use crate::types::limits;

/// "NPR" and the protocol version.
pub const MAGIC: [u8; 4] = *b"NPR\x01";
/// Bytes before the body.
pub const HEADER_BYTES: usize = 8;

/// Why a byte stream is not a stream of frames. The stream cannot be read further after such an error.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FrameError {
    /// It does not begin with [`MAGIC`].
    #[error("not a nearpeer connection: it begins with the bytes {0:02x?}")]
    Magic([u8; 4]),
    /// It is of another version of the protocol.
    #[error("protocol version {0} is not supported, only version 1")]
    Version(u8),
    /// The frame is longer than allowed.
    #[error("frame of {claimed} bytes: at most {max} are allowed")]
    TooLong {
        /// The length in the header.
        claimed: u32,
        /// The maximum length of the body.
        max: usize,
    },
    /// The frame has no body.
    #[error("frame without a body")]
    Empty,
}

/// Encodes `message` as a frame.
///
/// # Errors
/// [`CodecError::TooLong`] if it does not fit a frame.
pub fn frame<T: Serialize>(message: &T) -> Result<Vec<u8>, CodecError> {
    let body = codec::encode(message)?;
    let mut bytes = Vec::with_capacity(HEADER_BYTES + body.len());
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&(body.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&body);
    Ok(bytes)
}

/// Cuts a byte stream into frame bodies, however the stream was split on the way.
#[derive(Debug)]
pub struct Decoder {
    bytes: Vec<u8>,
    /// Bytes at the front that were returned already.
    taken: usize,
    body_max_bytes: usize,
}

impl Default for Decoder {
    fn default() -> Decoder {
        Decoder::new()
    }
}

impl Decoder {
    /// A decoder for any frame of the protocol.
    pub fn new() -> Decoder {
        Decoder::up_to(limits::FRAME_MAX_BYTES)
    }

    /// A decoder that accepts bodies of at most `body_max_bytes` and at most [`limits::FRAME_MAX_BYTES`].
    pub fn up_to(body_max_bytes: usize) -> Decoder {
        Decoder { bytes: Vec::new(), taken: 0, body_max_bytes: body_max_bytes.min(limits::FRAME_MAX_BYTES) }
    }

    /// Appends received bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.taken > 0 {
            self.bytes.drain(..self.taken);
            self.taken = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// The body of the next complete frame; `None`: more bytes are needed.
    ///
    /// # Errors
    /// [`FrameError`] as soon as the header shows that this is not an acceptable frame: a wrong first byte is
    /// enough.
    #[allow(clippy::should_implement_trait, reason = "an iterator could not borrow from itself")]
    pub fn next(&mut self) -> Result<Option<&[u8]>, FrameError> {
        if self.taken == self.bytes.len() {
            // An idle connection keeps no memory, however long its last frame was.
            *self = Decoder::up_to(self.body_max_bytes);
            return Ok(None);
        }
        let waiting = &self.bytes[self.taken..];
        let magic_len = waiting.len().min(MAGIC.len());
        if waiting[..magic_len] != MAGIC[..magic_len] {
            let mut start = [0; 4];
            start[..magic_len].copy_from_slice(&waiting[..magic_len]);
            return Err(match start {
                [b'N', b'P', b'R', version] if magic_len == 4 => FrameError::Version(version),
                _ => FrameError::Magic(start),
            });
        }
        let Some(header) = waiting.first_chunk::<HEADER_BYTES>() else { return Ok(None) };
        let claimed = u32::from_le_bytes([header[4], header[5], header[6], header[7]]);
        let len = claimed as usize;
        if len > self.body_max_bytes {
            return Err(FrameError::TooLong { claimed, max: self.body_max_bytes });
        }
        if len == 0 {
            return Err(FrameError::Empty);
        }
        if waiting.len() - HEADER_BYTES < len {
            return Ok(None);
        }
        let start = self.taken + HEADER_BYTES;
        self.taken = start + len;
        Ok(Some(&self.bytes[start..start + len]))
    }

    /// Number of received bytes that are not part of a returned frame.
    pub fn waiting_bytes(&self) -> usize {
        self.bytes.len() - self.taken
    }

    /// Moves up to `out.len()` waiting bytes into `out` as raw bytes: the bytes of a piece after the frame
    /// that announces it. Returns how many.
    pub fn take_raw(&mut self, out: &mut [u8]) -> usize {
        let len = out.len().min(self.waiting_bytes());
        out[..len].copy_from_slice(&self.bytes[self.taken..self.taken + len]);
        self.taken += len;
        len
    }
}

impl Decode for Decoder {
    type Message = [u8];
    type Error = FrameError;

    fn push(&mut self, bytes: &[u8]) {
        Decoder::push(self, bytes);
    }

    fn next(&mut self) -> Result<Option<&[u8]>, FrameError> {
        Decoder::next(self)
    }

    fn waiting_bytes(&self) -> usize {
        Decoder::waiting_bytes(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_length_up_to_the_limit_is_accepted_and_a_longer_one_is_refused_at_the_header() {
        let most = limits::FRAME_MAX_BYTES;
        for (max, claimed, is_accepted) in [
            (most, 1, true),
            (most, most as u32, true),
            (most, most as u32 + 1, false),
            (most, i32::MAX as u32, false),
            (most, u32::MAX, false),
            (25, 25, true),
            (25, 26, false),
        ] {
            let mut decoder = Decoder::up_to(max);
            decoder.push(&MAGIC);
            decoder.push(&claimed.to_le_bytes());
            let expected = if is_accepted { Ok(None) } else { Err(FrameError::TooLong { claimed, max }) };
            assert_eq!(decoder.next(), expected, "length {claimed} of {max}");
        }
        let mut decoder = Decoder::up_to(2);
        decoder.push(&frame(&7u16).expect("fits"));
        assert_eq!(decoder.next().map(|body| body.map(<[u8]>::len)), Ok(Some(2)));
        // The limit still holds after a frame.
        assert_eq!(decoder.next(), Ok(None));
        decoder.push(&frame(&7u32).expect("fits"));
        assert_eq!(decoder.next(), Err(FrameError::TooLong { claimed: 4, max: 2 }));
        decoder = Decoder::new();
        decoder.push(&[&MAGIC[..], &[0; 4]].concat());
        assert_eq!(decoder.next(), Err(FrameError::Empty));
    }

    #[test]
    fn bytes_that_are_not_a_frame_are_refused_at_the_first_wrong_byte() {
        for (start, expected) in [
            (&b"G"[..], FrameError::Magic([b'G', 0, 0, 0])),
            (b"GET / HTTP/1.1", FrameError::Magic(*b"GET ")),
            (b"NPX", FrameError::Magic([b'N', b'P', b'X', 0])),
            (b"NPR\x02", FrameError::Version(2)),
        ] {
            let mut decoder = Decoder::new();
            decoder.push(start);
            assert_eq!(decoder.next(), Err(expected));
        }
    }

    #[test]
    fn a_decoder_without_waiting_bytes_keeps_no_memory() {
        let mut decoder = Decoder::new();
        decoder.push(&frame(&vec![7u8; 1 << 19]).expect("it fits"));
        assert!(decoder.next().expect("a frame").is_some());
        assert_eq!(decoder.next(), Ok(None));
        assert_eq!(decoder.bytes.capacity(), 0);
    }

    proptest! {
        #[test]
        fn any_split_of_the_stream_gives_the_same_frames(
            bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..50), 1..8),
            cuts in prop::collection::vec(1usize..40, 1..60),
        ) {
            let mut stream = Vec::new();
            for body in &bodies {
                stream.extend_from_slice(&MAGIC);
                stream.extend_from_slice(&(body.len() as u32).to_le_bytes());
                stream.extend_from_slice(body);
            }
            let mut decoder = Decoder::new();
            let mut got = Vec::new();
            let mut rest = &stream[..];
            for cut in cuts.iter().cycle() {
                let (now, later) = rest.split_at(rest.len().min(*cut));
                decoder.push(now);
                while let Some(body) = decoder.next().expect("valid stream") {
                    got.push(body.to_vec());
                }
                rest = later;
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(got, bodies);
            prop_assert_eq!(decoder.waiting_bytes(), 0);
        }
    }
}
