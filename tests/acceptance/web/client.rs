//! A strict HTTP client that sends exactly the given bytes, and parses the answers.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};

use socket2::{Domain, Socket, Type};

use crate::support::DEADLINE;

/// One connection.
#[derive(Debug)]
pub(crate) struct Client {
    stream: TcpStream,
    /// Bytes read and not yet parsed.
    bytes: Vec<u8>,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Names are in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }
}

impl Client {
    pub(crate) fn connect(addr: SocketAddr) -> Client {
        Client::over(
            TcpStream::connect(addr).unwrap_or_else(|error| panic!("cannot connect to {addr}: {error}")),
        )
    }

    /// Connects from another address of this machine.
    pub(crate) fn connect_from(ip: IpAddr, addr: SocketAddr) -> Client {
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None).expect("a socket");
        socket.bind(&SocketAddr::new(ip, 0).into()).expect("an address of this machine");
        socket.connect(&addr.into()).expect("it listens");
        Client::over(socket.into())
    }

    /// Connects with a small receive buffer.
    pub(crate) fn connect_small(addr: SocketAddr) -> Client {
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None).expect("a socket");
        socket.set_recv_buffer_size(8 << 10).expect("a socket");
        socket.connect(&addr.into()).expect("it listens");
        Client::over(socket.into())
    }

    fn over(stream: TcpStream) -> Client {
        stream.set_read_timeout(Some(DEADLINE)).expect("a deadline");
        stream.set_write_timeout(Some(DEADLINE)).expect("a deadline");
        stream.set_nodelay(true).expect("a socket");
        Client { stream, bytes: Vec::new() }
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// True if the other end has neither closed nor sent anything.
    pub(crate) fn is_open(&self) -> bool {
        self.stream.set_nonblocking(true).expect("a socket");
        let peeked = self.stream.peek(&mut [0]);
        self.stream.set_nonblocking(false).expect("a socket");
        peeked.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }

    /// Sends exactly these bytes. Returns false if the other end has closed.
    pub(crate) fn say(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// Sends a request with a host, these header lines (each with its line end) and a body.
    pub(crate) fn request(&mut self, line: &str, headers: &str, body: &str) -> bool {
        let length =
            if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
        let text = format!("{line} HTTP/1.1\r\nHost: 127.0.0.1\r\n{headers}{length}\r\n{body}");
        self.say(text.as_bytes())
    }

    /// Sends `GET` on this connection.
    pub(crate) fn get(&mut self, path: &str) -> Answer {
        assert!(self.request(&format!("GET {path}"), "", ""), "closed before the request");
        self.answer(false).expect("an answer")
    }

    /// The next answer. `None` at the end of the connection. An answer to `HEAD` has no body, whatever its
    /// header says.
    ///
    /// # Panics
    /// If the bytes are no answer or a cut answer, or nothing comes by the deadline.
    pub(crate) fn answer(&mut self, is_head: bool) -> Option<Answer> {
        let head_end = loop {
            if let Some(at) = self.bytes.windows(4).position(|end| end == b"\r\n\r\n") {
                break at + 4;
            }
            if !self.read() {
                assert!(self.bytes.is_empty(), "cut: {}", String::from_utf8_lossy(&self.bytes));
                return None;
            }
        };
        let head: Vec<u8> = self.bytes.drain(..head_end).collect();
        let head = String::from_utf8(head).expect("an ASCII head");
        assert!(head.is_ascii() && !head.contains('\t'), "{head}");
        let mut lines = head.trim_end().split("\r\n");
        let first = lines.next().expect("a status line");
        let status =
            first.strip_prefix("HTTP/1.1 ").and_then(|rest| rest[..3].parse().ok()).expect("a status");
        let header = |line: &str| {
            let (name, value) = line.split_once(": ").unwrap_or_else(|| panic!("no header: `{line}`"));
            (name.to_ascii_lowercase(), value.to_owned())
        };
        let headers: Vec<(String, String)> = lines.map(header).collect();
        let mut answer = Answer { status, headers, body: Vec::new() };
        let is_stream = answer.header("content-type") == Some("text/event-stream");
        if is_head || status == 304 || is_stream {
            return Some(answer);
        }
        let len: usize =
            answer.header("content-length").and_then(|text| text.parse().ok()).expect("a length");
        while self.bytes.len() < len {
            assert!(self.read(), "cut: {} of {len} bytes came", self.bytes.len());
        }
        answer.body = self.bytes.drain(..len).collect();
        Some(answer)
    }

    /// All bytes until the other end closes, by an orderly close or a reset.
    pub(crate) fn rest(mut self) -> Vec<u8> {
        while self.read() {}
        self.bytes
    }

    /// Reads until `end` has come. Returns the bytes up to it.
    pub(crate) fn until(&mut self, end: &[u8]) -> Vec<u8> {
        loop {
            if let Some(at) = self.bytes.windows(end.len()).position(|part| part == end) {
                return self.bytes.drain(..at + end.len()).collect();
            }
            assert!(self.read(), "closed before {}", String::from_utf8_lossy(end));
        }
    }

    /// Returns exactly this many bytes.
    pub(crate) fn take(&mut self, len: usize) -> Vec<u8> {
        while self.bytes.len() < len {
            assert!(self.read(), "closed before {len} bytes");
        }
        self.bytes.drain(..len).collect()
    }

    /// Reads more bytes. Returns false at the end of the stream.
    fn read(&mut self) -> bool {
        let mut buffer = [0; 16 << 10];
        match self.stream.read(&mut buffer) {
            Ok(0) => false,
            Ok(len) => {
                self.bytes.extend_from_slice(&buffer[..len]);
                true
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => false,
            Err(error) => panic!("no answer by the deadline: {error}"),
        }
    }
}

/// Sends `GET` on a new connection.
pub(crate) fn get(addr: SocketAddr, path: &str) -> Answer {
    ask(addr, &format!("GET {path}"), "", "")
}

/// Sends a request on a new connection.
pub(crate) fn ask(addr: SocketAddr, line: &str, headers: &str, body: &str) -> Answer {
    let mut client = Client::connect(addr);
    client.request(line, &format!("Connection: close\r\n{headers}"), body);
    let answer = client.answer(line.starts_with("HEAD")).expect("an answer");
    assert_eq!(answer.header("connection"), Some("close"));
    assert!(client.rest().is_empty(), "nothing comes behind the answer");
    answer
}

/// Sends a change as a program does.
pub(crate) fn post(addr: SocketAddr, path: &str, json: &str) -> Answer {
    let kind = if json.is_empty() { "" } else { "Content-Type: application/json\r\n" };
    ask(addr, &format!("POST {path}"), kind, json)
}
