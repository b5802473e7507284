//! Cuts a byte stream into requests, however the stream was split on the way.
//!
//! The decoder checks each byte of a head once, in order, and refuses the head at the first byte that makes
//! it unacceptable. So the result does not depend on the split. Invariant: before a request is returned, the
//! decoder keeps at most one head and one body at their limits, and the bytes of the last push.

use super::error::RequestError;
use super::request::{Request, method_of};
use crate::proto::Decode;
use crate::types::limits;

/// Maximum length of the first line without the target: the method, two spaces, the version.
const LINE_REST_BYTES: usize = 32;

/// Cuts requests out of a stream of bytes.
#[derive(Debug, Default)]
pub struct RequestDecoder {
    bytes: Vec<u8>,
    /// Number of bytes at the front that belong to returned requests.
    taken: usize,
    /// Number of bytes after them that are checked and acceptable.
    scanned: usize,
    /// The first line of the head is complete.
    has_line: bool,
    /// The next request, if its head is complete and its body is not.
    awaiting: Option<Awaiting>,
    /// The request that was returned last: the caller borrows it.
    current: Option<Request>,
}

/// A request without its body, and the lengths of both.
#[derive(Debug)]
struct Awaiting {
    request: Request,
    head_bytes: usize,
    body_bytes: usize,
}

impl RequestDecoder {
    /// A decoder that has no bytes yet.
    pub fn new() -> RequestDecoder {
        RequestDecoder::default()
    }

    /// Appends received bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.taken > 0 {
            self.bytes.drain(..self.taken);
            self.taken = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// The next complete request; `None`: more bytes are needed.
    ///
    /// # Errors
    /// As soon as a byte shows that the request is not acceptable, without waiting for the rest of it.
    #[allow(clippy::should_implement_trait, reason = "an iterator could not borrow from itself")]
    pub fn next(&mut self) -> Result<Option<&Request>, RequestError> {
        if self.taken == self.bytes.len() {
            // An idle connection keeps no memory, however long its last request was.
            *self = RequestDecoder::new();
            return Ok(None);
        }
        if self.awaiting.is_none() {
            let Some(head_bytes) = self.scan()? else { return Ok(None) };
            let head = &self.bytes[self.taken..self.taken + head_bytes];
            let (request, body_bytes) = Request::from_head(head)?;
            self.awaiting = Some(Awaiting { request, head_bytes, body_bytes });
        }
        let waiting_bytes = self.waiting_bytes();
        let complete = self.awaiting.take_if(|next| waiting_bytes >= next.head_bytes + next.body_bytes);
        let Some(Awaiting { mut request, head_bytes, body_bytes }) = complete else { return Ok(None) };
        let body_at = self.taken + head_bytes;
        request.body = self.bytes[body_at..body_at + body_bytes].to_vec();
        self.taken = body_at + body_bytes;
        (self.scanned, self.has_line) = (0, false);
        Ok(Some(self.current.insert(request)))
    }

    /// Number of received bytes that are not part of a returned request.
    pub fn waiting_bytes(&self) -> usize {
        self.bytes.len() - self.taken
    }

    /// Checks the bytes of a head that have come since the last call. Returns the length of the head when its
    /// last line is complete.
    fn scan(&mut self) -> Result<Option<usize>, RequestError> {
        let waiting = &self.bytes[self.taken..];
        for at in self.scanned..waiting.len() {
            if at >= limits::HTTP_HEAD_MAX_BYTES {
                return Err(RequestError::HeadTooLong);
            }
            if !self.has_line && at >= limits::HTTP_TARGET_MAX_BYTES + LINE_REST_BYTES {
                return Err(RequestError::TargetTooLong);
            }
            let is_after_cr = at > 0 && waiting[at - 1] == b'\r';
            match waiting[at] {
                b'\n' if !is_after_cr => {
                    return Err(RequestError::Malformed("a line does not end with CR LF"));
                }
                b'\n' if !self.has_line => {
                    check_line(&waiting[..at - 1])?;
                    self.has_line = true;
                }
                b'\n' if waiting[..at - 1].ends_with(b"\r\n") => return Ok(Some(at + 1)),
                b'\n' => {}
                _ if is_after_cr => return Err(RequestError::Malformed("CR without LF")),
                b'\r' | b'\t' => {}
                byte if byte.is_ascii_control() => {
                    return Err(RequestError::Malformed("a control character"));
                }
                _ => {}
            }
        }
        self.scanned = waiting.len();
        Ok(None)
    }
}

/// Checks method, target and version when the first line is complete. A client of another HTTP version may
/// send nothing after it, and must get an answer.
fn check_line(line: &[u8]) -> Result<(), RequestError> {
    let parts: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    let [method, target, version] = parts[..] else {
        return Err(RequestError::Malformed("its first line is not a method, a target and a version"));
    };
    if method.is_empty() || target.is_empty() {
        return Err(RequestError::Malformed("its first line is not a method, a target and a version"));
    }
    match version {
        b"HTTP/1.0" | b"HTTP/1.1" => {}
        _ if version.starts_with(b"HTTP/") => return Err(RequestError::Version),
        _ => return Err(RequestError::Malformed("its first line has no version")),
    }
    if target.len() > limits::HTTP_TARGET_MAX_BYTES {
        return Err(RequestError::TargetTooLong);
    }
    method_of(method).map(|_| ())
}

impl Decode for RequestDecoder {
    type Message = Request;
    type Error = RequestError;

    fn push(&mut self, bytes: &[u8]) {
        RequestDecoder::push(self, bytes);
    }

    fn next(&mut self) -> Result<Option<&Request>, RequestError> {
        RequestDecoder::next(self)
    }

    fn waiting_bytes(&self) -> usize {
        RequestDecoder::waiting_bytes(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::http::{BadTarget, Method, Version};
    use proptest::prelude::*;

    type Decoded = (Vec<Request>, Option<RequestError>);

    /// The requests of `stream`, and the error after them. The stream is pushed in parts whose lengths are
    /// `cuts` again and again.
    fn decode(stream: &[u8], cuts: &[usize]) -> Decoded {
        let mut decoder = RequestDecoder::new();
        let (mut got, mut rest) = (Vec::new(), stream);
        for cut in cuts.iter().cycle() {
            let (now, later) = rest.split_at(rest.len().min(*cut));
            decoder.push(now);
            loop {
                match decoder.next() {
                    Ok(Some(request)) => got.push(request.clone()),
                    Ok(None) => break,
                    Err(error) => return (got, Some(error)),
                }
            }
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        (got, None)
    }

    fn one(text: &str) -> Result<Request, RequestError> {
        let (mut got, error) = decode(text.as_bytes(), &[text.len().max(1)]);
        match error {
            Some(error) => Err(error),
            None => Ok(got.pop().unwrap_or_else(|| panic!("no request: {text:?}"))),
        }
    }

    #[test]
    fn a_malformed_or_ambiguous_request_is_refused_with_its_status_for_every_cut_of_the_stream() {
        let host = "Host: a\r\n";
        let target = |len: usize| format!("GET /{} HTTP/1.1\r\n", "x".repeat(len - 1));
        let header = |len: usize| format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "x".repeat(len));
        let lines =
            |count: usize| format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(count - 1));
        let post = |headers: &str| format!("POST / HTTP/1.1\r\nHost: a\r\n{headers}\r\n\r\n");
        let get = |headers: &str| format!("GET / HTTP/1.1\r\n{headers}\r\n");
        for (text, status) in [
            // Line ends and characters.
            ("GET / HTTP/1.1\n".to_owned(), 400),
            (get("Host: a\n"), 400),
            (get("Host: a\rX: b\r\n"), 400),
            (get("Host: a\r\nX: b\0c\r\n"), 400),
            (get("Host: a\r\nX: \u{1b}[31m\r\n"), 400),
            (get("Host: a\r\nX: b\r\n c\r\n"), 400),
            (get("Host: a\r\n X: b\r\n"), 400),
            (get("Host: a\r\nX : b\r\n"), 400),
            (get("Host: a\r\nX\r\n"), 400),
            (get("Host: a\r\n: b\r\n"), 400),
            ("\r\nGET / HTTP/1.1\r\n".into(), 400),
            ("\x16\x03\x01\x02\0\x01".into(), 400),
            // First lines of others.
            ("GET /\r\n".into(), 400),
            ("GET / \r\n".into(), 400),
            ("GET  / HTTP/1.1\r\n".into(), 400),
            ("GET / HTTP/1.1 \r\n".into(), 400),
            ("GET\t/\tHTTP/1.1\r\n".into(), 400),
            (" / HTTP/1.1\r\n".into(), 400),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(), 505),
            ("GET / HTTP/1.2\r\n".into(), 505),
            ("GET / HTTP/3\r\n".into(), 505),
            ("GET / http/1.1\r\n".into(), 400),
            ("CONNECT a:443 HTTP/1.1\r\n".into(), 405),
            ("TRACE / HTTP/1.1\r\n".into(), 405),
            ("OPTIONS * HTTP/1.1\r\n".into(), 405),
            ("BREW / HTTP/1.1\r\n".into(), 501),
            ("get / HTTP/1.1\r\n".into(), 501),
            (format!("GET http://a/ HTTP/1.1\r\n{host}\r\n"), 400),
            (format!("GET * HTTP/1.1\r\n{host}\r\n"), 400),
            (format!("GET /%zz HTTP/1.1\r\n{host}\r\n"), 400),
            // Hosts.
            (get(""), 400),
            (get("Host: a\r\nHost: a\r\n"), 400),
            (get("Host: a, b\r\n"), 400),
            (get("Host: \r\n"), 400),
            (get("Host: u@a\r\n"), 400),
            (get("Host: a/b\r\n"), 400),
            (get("Host: a:x\r\n"), 400),
            (get("Host: a:\r\n"), 400),
            (get("Host: [1\r\n"), 400),
            (get("Host: ::1\r\n"), 400),
            (get("Host: \u{e4}\r\n"), 400),
            // Lengths.
            (post("Transfer-Encoding: chunked"), 501),
            (post("Transfer-Encoding: identity"), 501),
            (post("Content-Length: 1\r\nTransfer-Encoding: chunked"), 501),
            (post("Content-Length: 1\r\nContent-Length: 1"), 400),
            (post("Content-Length: 1, 1"), 400),
            (post("Content-Length: +1"), 400),
            (post("Content-Length: -1"), 400),
            (post("Content-Length: 0x1"), 400),
            (post("Content-Length: "), 400),
            (post("Content-Length: 65537"), 413),
            (post("Content-Length: 99999999999999999999999"), 413),
            (post("Content-Length: 5\r\nExpect: 100-continue"), 417),
            (post("Origin: a\r\nOrigin: b"), 400),
            (target(limits::HTTP_TARGET_MAX_BYTES + 1), 414),
            (format!("GET /{}", "x".repeat(limits::HTTP_TARGET_MAX_BYTES + LINE_REST_BYTES)), 414),
            (header(limits::HTTP_HEAD_MAX_BYTES), 431),
            (lines(limits::HTTP_HEADERS_MAX + 1), 431),
        ] {
            for cuts in [&[text.len()][..], &[1], &[3, 1, 7]] {
                let (got, error) = decode(text.as_bytes(), cuts);
                assert_eq!(error.map(|error| error.status()), Some(status), "{text:?}");
                assert!(got.is_empty(), "{text:?}");
            }
        }
    }

    #[test]
    fn a_request_at_its_limits_is_accepted() {
        let target = format!("/{}", "x".repeat(limits::HTTP_TARGET_MAX_BYTES - 1));
        assert_eq!(
            one(&format!("DELETE {target} HTTP/1.1\r\nHost: a\r\n\r\n")).map(|one| one.path),
            Ok(target)
        );
        let head = "GET / HTTP/1.1\r\nHost: a\r\nX: ";
        let rest = limits::HTTP_HEAD_MAX_BYTES - head.len() - 4;
        assert!(one(&format!("{head}{}\r\n\r\n", "x".repeat(rest))).is_ok());
        assert_eq!(one(&format!("{head}{}\r\n\r\n", "x".repeat(rest + 1))), Err(RequestError::HeadTooLong));
        let lines = "X: y\r\n".repeat(limits::HTTP_HEADERS_MAX - 1);
        assert!(one(&format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n")).is_ok());
        let body = "b".repeat(limits::HTTP_BODY_MAX_BYTES);
        let text = format!("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        assert_eq!(one(&text).map(|one| one.body.len()), Ok(body.len()));
    }

    #[test]
    fn method_path_version_and_headers_of_a_request_are_read() {
        let text = "GET /a%20b?q=1 HTTP/1.1\r\nHost: [::1]:80\r\nAccept: application/json;q=0.9\r\nX: \u{e4}\r\n\r\n";
        let request = one(text).expect("a request");
        assert_eq!(
            (request.method, request.path.as_str(), request.parameter("q")),
            (Method::Get, "/a b", Some("1"))
        );
        assert_eq!((request.host(), request.prefers_json()), (Some("[::1]"), true));
        assert_eq!((request.parameter("x"), request.content_type()), (None, None));
        for (line, headers, version, keep_alive) in [
            ("GET / HTTP/1.1", "Host: a:1", Version::Http11, true),
            ("GET / HTTP/1.1", "Host: a\r\nConnection: x, Close", Version::Http11, false),
            ("GET / HTTP/1.0", "X: y", Version::Http10, false),
            ("GET / HTTP/1.0", "Connection: Keep-Alive", Version::Http10, true),
            ("GET / HTTP/1.0", "Connection: keep-alive\r\nConnection: close", Version::Http10, false),
        ] {
            let manner = one(&format!("{line}\r\n{headers}\r\n\r\n")).expect("a request").manner;
            assert_eq!(
                (manner.version, manner.keep_alive, manner.is_head),
                (version, keep_alive, false),
                "{headers}"
            );
        }
        let page = one("HEAD / HTTP/1.1\r\nHost: a\r\nAccept: text/html, application/json\r\n\r\n")
            .expect("a request");
        assert!(page.manner.is_head && !page.prefers_json());
        let bad = one("GET /?a=1&a=2 HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(bad, Err(RequestError::Target(BadTarget::Twice)));
    }

    #[test]
    fn a_decoder_without_waiting_bytes_keeps_no_memory() {
        let mut decoder = RequestDecoder::new();
        decoder.push(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 60000\r\n\r\n");
        assert_eq!(decoder.next(), Ok(None));
        assert!(decoder.waiting_bytes() > 0, "its head is here");
        decoder.push(&[7; 60_000]);
        assert!(decoder.next().expect("a request").is_some());
        assert_eq!(decoder.next(), Ok(None));
        assert_eq!((decoder.waiting_bytes(), decoder.bytes.capacity()), (0, 0));
    }

    fn stream() -> impl Strategy<Value = Vec<u8>> {
        let line = prop::sample::select(vec![
            "GET /a%20b?x=y HTTP/1.1\r\nHost: a\r\n\r\n",
            "HEAD / HTTP/1.0\r\n\r\n",
            "POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nbo\r\ny",
            "POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
            "GET / HTTP/1.1\r\nhost:b\r\nx:  y \r\nx:z\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nGET",
            "GET / HTTP/1.1\r\nHost: a\r\nX: y\nZ: z\r\n\r\n",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            "\0",
        ]);
        prop::collection::vec(line, 1..8).prop_map(|lines| lines.concat().into_bytes())
    }

    proptest! {
        #[test]
        fn any_split_of_the_stream_gives_the_same_requests(
            stream in stream(),
            cuts in prop::collection::vec(1usize..30, 1..40),
        ) {
            prop_assert_eq!(decode(&stream, &cuts), decode(&stream, &[stream.len()]));
        }

        #[test]
        fn any_bytes_give_requests_or_a_refusal(
            mut stream in stream(),
            noise in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
            cuts in prop::collection::vec(1usize..30, 1..40),
        ) {
            for (at, byte) in noise {
                let at = at.index(stream.len());
                stream[at] = byte;
            }
            let (got, error) = decode(&stream, &[stream.len()]);
            prop_assert_eq!(decode(&stream, &cuts), (got.clone(), error.clone()));
            prop_assert!(error.is_none_or(|error| (400..=505).contains(&error.status())));
            prop_assert!(got.iter().all(|one| one.path.starts_with('/') && !one.path.contains(char::is_control)));
        }
    }
}
