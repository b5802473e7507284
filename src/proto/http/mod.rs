//! HTTP/1.0 and 1.1 for a server: bytes to checked requests, and heads of answers to bytes. No code here has
//! a socket, a clock or a file.
//!
//! The decoder is strict: a request that two programs could read differently is refused with a fitting
//! status, and the connection ends. It repairs nothing. Source: RFC 9110 (semantics), RFC 9112 (syntax), RFC
//! 8187 (file names in headers).

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
