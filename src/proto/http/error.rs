//! Why a request is refused before a service sees it, and the status of the answer.

use thiserror::Error;

use super::target::BadTarget;
use crate::types::limits;

/// Why bytes are not a request that this program serves. The fault is always the client's. The stream cannot
/// be read further after it: the server answers with [`RequestError::status`] and closes the connection.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RequestError {
    /// The bytes are not an HTTP request, with the reason.
    #[error("malformed request: {0}")]
    Malformed(&'static str),
    /// The target of the request is malformed.
    #[error("malformed target: {0}")]
    Target(#[from] BadTarget),
    /// The method is one of the standard that this program does not serve.
    #[error("this method is not served: use GET, HEAD, POST, PUT or DELETE")]
    Method,
    /// The method is not one of the standard.
    #[error("unknown method: use GET, HEAD, POST, PUT or DELETE")]
    UnknownMethod,
    /// The body is longer than [`limits::HTTP_BODY_MAX_BYTES`]. With its length in bytes.
    #[error("body of {0} bytes: at most {max} are allowed", max = limits::HTTP_BODY_MAX_BYTES)]
    BodyTooLong(u64),
    /// The target is longer than [`limits::HTTP_TARGET_MAX_BYTES`].
    #[error("target longer than {max} bytes", max = limits::HTTP_TARGET_MAX_BYTES)]
    TargetTooLong,
    /// The request has a header `Expect`.
    #[error("the header Expect is not supported: send the request without it")]
    Expectation,
    /// The head is longer than [`limits::HTTP_HEAD_MAX_BYTES`].
    #[error("head longer than {max} bytes", max = limits::HTTP_HEAD_MAX_BYTES)]
    HeadTooLong,
    /// The head has more than [`limits::HTTP_HEADERS_MAX`] lines.
    #[error("more than {max} header lines", max = limits::HTTP_HEADERS_MAX)]
    TooManyHeaders,
    /// The body has a transfer encoding.
    #[error("transfer encodings are not supported: give the length of the body in Content-Length")]
    TransferEncoding,
    /// The version is neither HTTP/1.0 nor HTTP/1.1.
    #[error("this version of HTTP is not supported: use HTTP/1.1")]
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
