//! Why bytes are no request that is served here, and which status says so.

use thiserror::Error;

use super::target::BadTarget;
use crate::types::limits;

/// Always the sender's fault. After one of these the stream cannot be read further: it is answered with
/// [`RequestError::status`] and closed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RequestError {
    /// The bytes are no HTTP request; says why.
    #[error("malformed request: {0}")]
    Malformed(&'static str),
    /// The target of the request is malformed.
    #[error("malformed target: {0}")]
    Target(#[from] BadTarget),
    /// A method of the standard that is not served.
    #[error("this method is not served: use GET, HEAD, POST, PUT or DELETE")]
    Method,
    /// No method of the standard.
    #[error("unknown method: use GET, HEAD, POST, PUT or DELETE")]
    UnknownMethod,
    /// The body is longer than [`limits::HTTP_BODY_MAX_BYTES`]; its length in bytes.
    #[error("body of {0} bytes: at most {max} are allowed", max = limits::HTTP_BODY_MAX_BYTES)]
    BodyTooLong(u64),
    /// The target is longer than [`limits::HTTP_TARGET_MAX_BYTES`].
    #[error("target longer than {max} bytes", max = limits::HTTP_TARGET_MAX_BYTES)]
    TargetTooLong,
    /// The request has a header `Expect`.
    #[error("expectations are not met: send the request without the header Expect")]
    Expectation,
    /// The head is longer than [`limits::HTTP_HEAD_MAX_BYTES`].
    #[error("head longer than {max} bytes", max = limits::HTTP_HEAD_MAX_BYTES)]
    HeadTooLong,
    /// The head has more than [`limits::HTTP_HEADERS_MAX`] lines.
    #[error("more than {max} header lines", max = limits::HTTP_HEADERS_MAX)]
    TooManyHeaders,
    /// The body has a transfer encoding.
    #[error("transfer encodings are not taken: give the length of the body in Content-Length")]
    TransferEncoding,
    /// The version is neither HTTP/1.0 nor HTTP/1.1.
    #[error("this version of HTTP is not spoken here: use HTTP/1.1")]
    Version,
}

impl RequestError {
    /// The status to answer with.
    pub fn status(&self) -> u16 {
        match self {
            RequestError::Malformed(_) | RequestError::Target(_) => 400,
            RequestError::Method => 405,
            RequestError::BodyTooLong(_) => 413,
            RequestError::TargetTooLong => 414,
            RequestError::Expectation => 417,
            RequestError::HeadTooLong | RequestError::TooManyHeaders => 431,
            RequestError::UnknownMethod | RequestError::TransferEncoding => 501,
            RequestError::Version => 505,
        }
    }
}
