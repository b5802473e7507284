//! `Request`: a checked request, and what the form of its answer depends on.

use super::error::RequestError;
use super::target::{self, Parameters};
use crate::types::limits;

/// The methods that this program serves. `OPTIONS` is not among them: it would serve pages of other sites,
/// which must not use this program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Reads.
    Get,
    /// Reads the head of the answer only.
    Head,
    /// Changes something.
    Post,
    /// Changes something.
    Put,
    /// Changes something.
    Delete,
}

impl Method {
    /// Returns true if and only if the method asks for a change.
    pub fn changes(self) -> bool {
        !matches!(self, Method::Get | Method::Head)
    }
}

/// The version of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    Http11,
}

/// What the form of an answer depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Manner {
    /// The version of the request, which the answer uses too.
    pub version: Version,
    /// The answer has no body: the request's method is `HEAD`.
    pub is_head: bool,
    /// The connection may serve a further request.
    pub keep_alive: bool,
}

impl Manner {
    /// For an answer to bytes that are not a request: the connection ends with it.
    pub const LAST: Manner = Manner { version: Version::Http11, is_head: false, keep_alive: false };
}

/// A complete request. It has each header of `SINGLE` at most once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// The path, without escapes. It begins with `/` and has no control characters.
    pub path: String,
    /// The parameters of the target.
    pub query: Parameters,
    /// What the form of the answer depends on.
    pub manner: Manner,
    /// Names in lower case, values without spaces around them, in the order sent.
    headers: Vec<(String, Vec<u8>)>,
    /// The body; empty if there is none.
    pub body: Vec<u8>,
}

/// Headers with a single value. Programs would read a second line, or bytes beyond ASCII, differently: such a
/// request is refused.
const SINGLE: [&str; 17] = [
    "authorization",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "if-modified-since",
    "if-range",
    "if-unmodified-since",
    "last-event-id",
    "origin",
    "proxy-authorization",
    "range",
    "sec-fetch-mode",
    "sec-fetch-site",
    "transfer-encoding",
    "user-agent",
];

impl Request {
    /// Reads a complete head. It ends with an empty line, and the decoder has checked that it has neither
    /// bare line ends nor control characters. Returns the request without its body, and the length of the
    /// body.
    pub(super) fn from_head(head: &[u8]) -> Result<(Request, usize), RequestError> {
        let mut lines = [httparse::EMPTY_HEADER; limits::HTTP_HEADERS_MAX];
        let mut parsed = httparse::Request::new(&mut lines);
        match parsed.parse(head) {
            Ok(httparse::Status::Complete(len)) if len == head.len() => {}
            Err(httparse::Error::TooManyHeaders) => return Err(RequestError::TooManyHeaders),
            Err(httparse::Error::HeaderName) => return Err(RequestError::Malformed("a header name")),
            Err(httparse::Error::HeaderValue) => return Err(RequestError::Malformed("a header value")),
            _ => return Err(RequestError::Malformed("its head")),
        }
        let (Some(method), Some(target), Some(minor)) = (parsed.method, parsed.path, parsed.version) else {
            return Err(RequestError::Malformed("its first line"));
        };
        let headers: Vec<(String, Vec<u8>)> =
            parsed.headers.iter().map(|line| (line.name.to_ascii_lowercase(), line.value.to_vec())).collect();
        let version = if minor == 0 { Version::Http10 } else { Version::Http11 };
        let manner = Manner { version, is_head: false, keep_alive: false };
        let (method, path) = (method_of(method.as_bytes())?, String::new());
        let mut request =
            Request { method, path, query: Parameters::new(), manner, headers, body: Vec::new() };
        request.check_single_headers()?;
        (request.path, request.query) = target::parse(target)?;
        if request.header("transfer-encoding").is_some() {
            return Err(RequestError::TransferEncoding);
        }
        if request.header("expect").is_some() {
            return Err(RequestError::Expectation);
        }
        request.check_host()?;
        let body_bytes = request.body_bytes()?;
        request.manner =
            Manner { is_head: method == Method::Head, keep_alive: request.keeps_alive(), ..manner };
        Ok((request, body_bytes))
    }

    /// The value of a header of `SINGLE`; `name` is in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        debug_assert!(SINGLE.contains(&name), "`{name}` may be sent in several lines");
        self.values(name).next()
    }

    /// The elements of a header that is a list, from all of its lines; `name` is in lower case. Lines that
    /// are not ASCII are left out. A `,` in quotes separates elements too: no list that this program reads
    /// has one.
    pub fn list(&self, name: &str) -> impl Iterator<Item = &str> {
        self.values(name).flat_map(|value| value.split(',')).map(str::trim).filter(|one| !one.is_empty())
    }

    /// The value of the parameter `name` in the target: empty if it has no `=`, `None` if there is no such
    /// parameter.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Returns true if and only if the header `Accept` names JSON and does not name HTML.
    pub fn prefers_json(&self) -> bool {
        let accepts = |kind: &str| {
            self.list("accept").any(|one| one.split(';').next().is_some_and(|one| one.trim() == kind))
        };
        accepts("application/json") && !accepts("text/html")
    }

    /// Host name or address in the header `Host`, without the port.
    pub fn host(&self) -> Option<&str> {
        self.header("host").map(without_port)
    }

    /// Media type of the body, without its parameters.
    pub fn content_type(&self) -> Option<&str> {
        self.header("content-type").map(|value| value.split(';').next().unwrap_or_default().trim())
    }

    fn values(&self, name: &str) -> impl Iterator<Item = &str> {
        let lines = self.headers.iter().filter(move |(known, _)| known == name);
        lines.filter_map(|(_, value)| str::from_utf8(value).ok().filter(|text| text.is_ascii()))
    }

    fn check_single_headers(&self) -> Result<(), RequestError> {
        for name in SINGLE {
            let mut lines = self.headers.iter().filter(|(known, _)| known == name);
            let Some((_, value)) = lines.next() else { continue };
            if lines.next().is_some() {
                return Err(RequestError::Malformed("a header is given twice"));
            }
            if !value.is_ascii() {
                return Err(RequestError::Malformed("a header value is not ASCII"));
            }
        }
        Ok(())
    }

    /// Checks that the header `Host` is a host name, an IPv4 address or an IPv6 address in brackets, and
    /// possibly a port. HTTP/1.0 needs no such header.
    fn check_host(&self) -> Result<(), RequestError> {
        let Some(host) = self.header("host") else {
            return match self.manner.version {
                Version::Http10 => Ok(()),
                Version::Http11 => Err(RequestError::Malformed("it has no header Host")),
            };
        };
        let name = without_port(host);
        let port = host.strip_prefix(name).and_then(|rest| rest.strip_prefix(':'));
        let is_port = port.is_none_or(|port| {
            !port.is_empty() && port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit())
        });
        let inner = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let is_host = match inner {
            Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
            None => {
                let is_of_name =
                    |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
                !name.is_empty() && name.len() <= 255 && name.bytes().all(is_of_name)
            }
        };
        if is_host && is_port {
            Ok(())
        } else {
            Err(RequestError::Malformed("the header Host is not a host and port"))
        }
    }

    /// The length of the body.
    fn body_bytes(&self) -> Result<usize, RequestError> {
        let Some(text) = self.header("content-length") else { return Ok(0) };
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(RequestError::Malformed("the header Content-Length is not a number"));
        }
        // A number that does not fit 64 bits is too long anyway.
        let claimed: u64 = text.parse().unwrap_or(u64::MAX);
        match usize::try_from(claimed) {
            Ok(bytes) if bytes <= limits::HTTP_BODY_MAX_BYTES => Ok(bytes),
            _ => Err(RequestError::BodyTooLong(claimed)),
        }
    }

    fn keeps_alive(&self) -> bool {
        let says = |what: &str| self.list("connection").any(|token| token.eq_ignore_ascii_case(what));
        !says("close") && (self.manner.version == Version::Http11 || says("keep-alive"))
    }
}

/// The method with this name. The case of letters counts.
pub(super) fn method_of(name: &[u8]) -> Result<Method, RequestError> {
    match name {
        b"GET" => Ok(Method::Get),
        b"HEAD" => Ok(Method::Head),
        b"POST" => Ok(Method::Post),
        b"PUT" => Ok(Method::Put),
        b"DELETE" => Ok(Method::Delete),
        b"CONNECT" | b"OPTIONS" | b"TRACE" | b"PATCH" => Err(RequestError::Method),
        _ => Err(RequestError::UnknownMethod),
    }
}

fn without_port(host: &str) -> &str {
    match host.find(']') {
        Some(end) if host.starts_with('[') => &host[..=end],
        _ => host.split(':').next().unwrap_or_default(),
    }
}
