//! Why bytes are no request that is served here, and which status says so.

use thiserror::Error;

use super::target::BadTarget;
use crate::types::limits;

/// Always the sender's fault. After one of these the stream cannot be read further: it is answered with
/// [`RequestError::status`] and closed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RequestError {
    #[error("malformed request: {0}")]
    Malformed(&'static str),
    #[error("malformed target: {0}")]
    Target(#[from] BadTarget),
    /// A method of the standard that is not served.
    #[error("this method is not served: use GET, HEAD, POST, PUT or DELETE")]
    Method,
    #[error("unknown method: use GET, HEAD, POST, PUT or DELETE")]
    UnknownMethod,
    #[error("body of {0} bytes: at most {max} are allowed", max = limits::HTTP_BODY_MAX_BYTES)]
    BodyTooLong(u64),
    #[error("target longer than {max} bytes", max = limits::HTTP_TARGET_MAX_BYTES)]
    TargetTooLong,
    #[error("expectations are not met: send the request without the header Expect")]
    Expectation,
    #[error("head longer than {max} bytes", max = limits::HTTP_HEAD_MAX_BYTES)]
    HeadTooLong,
    #[error("more than {max} header lines", max = limits::HTTP_HEADERS_MAX)]
    TooManyHeaders,
    #[error("transfer encodings are not taken: give the length of the body in Content-Length")]
    TransferEncoding,
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
