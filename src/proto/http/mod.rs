//! HTTP/1.0 and 1.1 as this program serves it: bytes to checked requests, answers to bytes. No socket, no
//! clock, no file.
//!
//! Strict on what comes in: whatever two programs could read differently is refused with the right status and
//! ends the connection; nothing is repaired. Follows RFC 9110 (meaning), RFC 9112 (syntax), RFC 8187 (names
//! in headers).

mod conditions;
mod date;
mod decoder;
mod error;
mod head;
mod names;
mod request;
mod target;

pub use conditions::{Selection, Validators, select};
pub use date::HttpDate;
pub use decoder::RequestDecoder;
pub use error::RequestError;
pub use head::{BadHeaderValue, Framing, Head, HeaderValue, chunk, reason_phrase};
pub use names::{content_disposition, escape_path, escape_value};
pub use request::{Manner, Method, Request, Version};
pub use target::{BadTarget, Parameters, parameters};
