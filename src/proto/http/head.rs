//! Heads of answers: the status, the headers, and how the client knows where the body ends.
//!
//! Invariant: a header value has no control character, so no foreign text can end a line. Every head says
//! how long its body is and whether the connection may serve a further request.

use std::fmt::{Display, Write as _};

use thiserror::Error;

use super::date::HttpDate;
use super::request::{Manner, Version};

/// A value that may stand in a header: ASCII without control characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderValue(String);

/// A text cannot be a header value: a bug, such as a foreign text that was not escaped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("not a header value: it has a control character or one beyond ASCII")]
pub struct BadHeaderValue;

impl HeaderValue {
    /// Checks `text` and makes it a header value.
    ///
    /// # Errors
    /// [`BadHeaderValue`] for each character that is neither visible ASCII nor a space.
    pub fn new(text: String) -> Result<HeaderValue, BadHeaderValue> {
        let is_allowed = text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
        if is_allowed { Ok(HeaderValue(text)) } else { Err(BadHeaderValue) }
    }

    /// The text of the value.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&'static str> for HeaderValue {
    /// # Panics
    /// If `text` is not a header value: a bug.
    fn from(text: &'static str) -> HeaderValue {
        HeaderValue::new(text.to_owned()).expect("a text of this program is written to be a header value")
    }
}

impl From<HttpDate> for HeaderValue {
    fn from(date: HttpDate) -> HeaderValue {
        HeaderValue(date.to_string())
    }
}

impl From<u64> for HeaderValue {
    fn from(number: u64) -> HeaderValue {
        HeaderValue(number.to_string())
    }
}

/// How the client knows where the body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// The body has this number of bytes. An answer to `HEAD` gives the number without a body. An answer with
    /// status 304 has neither.
    Length(u64),
    /// Chunks follow, as [`chunk`] makes them, until the connection ends. HTTP/1.0 has no chunks: the bytes
    /// follow as they are.
    Stream,
}

/// Status and headers of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    status: u16,
    headers: Vec<(&'static str, HeaderValue)>,
}

impl Head {
    /// A head with this status and no headers.
    pub fn new(status: u16) -> Head {
        Head { status, headers: Vec::new() }
    }

    /// The status.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The same headers with another status.
    pub fn with_status(self, status: u16) -> Head {
        Head { status, ..self }
    }

    /// Adds a header.
    pub fn with(mut self, name: &'static str, value: impl Into<HeaderValue>) -> Head {
        self.headers.push((name, value.into()));
        self
    }

    /// The bytes before the body. `date` is the present time.
    pub fn write(&self, manner: Manner, framing: Framing, date: HttpDate) -> Vec<u8> {
        let mut text = String::with_capacity(512);
        let mut line = |name: &str, value: &dyn Display| {
            write!(text, "{name}{value}\r\n").expect("a string takes any text");
        };
        line("HTTP/1.1 ", &format_args!("{} {}", self.status, reason_phrase(self.status)));
        line("Date: ", &date);
        for (name, value) in &self.headers {
            line(name, &format_args!(": {}", value.as_str()));
        }
        match framing {
            Framing::Length(_) if self.status == 304 => {}
            Framing::Length(len) => line("Content-Length: ", &len),
            Framing::Stream if manner.version == Version::Http11 => line("Transfer-Encoding: ", &"chunked"),
            Framing::Stream => {}
        }
        match (manner.keep_alive, manner.version) {
            (false, _) => line("Connection: ", &"close"),
            (true, Version::Http10) => line("Connection: ", &"keep-alive"),
            (true, Version::Http11) => {}
        }
        text.push_str("\r\n");
        text.into_bytes()
    }
}

/// `body`, not empty, as one chunk (RFC 9112, section 7.1).
pub fn chunk(body: &[u8]) -> Vec<u8> {
    debug_assert!(!body.is_empty(), "an empty chunk would end the body");
    [format!("{:x}\r\n", body.len()).as_bytes(), body, b"\r\n"].concat()
}

/// The reason phrase of a status that this program uses.
pub fn reason_phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        202 => "Accepted",
        206 => "Partial Content",
        303 => "See Other",
        304 => "Not Modified",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        409 => "Conflict",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
        417 => "Expectation Failed",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => "Unnamed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_with_a_control_character_or_beyond_ascii_is_refused() {
        for text in ["a\r\nX: y", "a\n", "\r", "a\0", "\t", "größe", "\u{7f}"] {
            assert_eq!(HeaderValue::new(text.to_owned()), Err(BadHeaderValue), "{text:?}");
        }
        assert!(HeaderValue::new("W/\"a b\"; c=d".to_owned()).is_ok());
    }

    #[test]
    fn a_head_says_how_long_its_body_is_and_whether_the_connection_is_kept() {
        let head = Head::new(200).with("Content-Type", "text/plain").with("Age", 7);
        let start = "HTTP/1.1 200 OK\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\nContent-Type: text/plain\r\nAge: 7\r\n";
        for (version, keep_alive, framing, rest) in [
            (Version::Http11, true, Framing::Length(5), "Content-Length: 5\r\n\r\n"),
            (Version::Http11, false, Framing::Length(0), "Content-Length: 0\r\nConnection: close\r\n\r\n"),
            (
                Version::Http10,
                true,
                Framing::Length(5),
                "Content-Length: 5\r\nConnection: keep-alive\r\n\r\n",
            ),
            (Version::Http11, true, Framing::Stream, "Transfer-Encoding: chunked\r\n\r\n"),
            (Version::Http10, false, Framing::Stream, "Connection: close\r\n\r\n"),
        ] {
            let manner = Manner { version, is_head: false, keep_alive };
            let bytes = head.write(manner, framing, HttpDate::from_seconds(0));
            assert_eq!(String::from_utf8(bytes).expect("ASCII"), format!("{start}{rest}"));
        }
        assert_eq!(chunk(&[b'x'; 26]), [b"1a\r\n", &[b'x'; 26][..], b"\r\n"].concat());
    }
}
