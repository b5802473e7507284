//! Bare connections: a strict client of the protocol, a reader that takes its time, and streams that are no
//! protocol at all.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use rand::{Rng, RngCore, SeedableRng, rngs::SmallRng};
use serde::Serialize;
use serde::de::DeserializeOwned;
use socket2::{Domain, Protocol, Socket, Type};

use nearpeer::proto::frame::MAGIC;
use nearpeer::proto::peer::{PeerReply, PeerRequest};
use nearpeer::proto::{Decoder, decode, frame};
use nearpeer::types::{ContentKey, NodeId};

use super::DEADLINE;

/// An id that no other node has.
pub fn fresh_node_id() -> NodeId {
    NodeId(SmallRng::from_os_rng().random())
}

/// A connection that speaks in frames. Reading ends at the deadline with a panic.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    decoder: Decoder,
}

impl Client {
    pub fn connect(addr: SocketAddr) -> Client {
        Client::over(
            TcpStream::connect(addr).unwrap_or_else(|error| panic!("cannot connect to {addr}: {error}")),
        )
    }

    /// Takes over an open connection.
    pub fn over(stream: TcpStream) -> Client {
        stream.set_read_timeout(Some(DEADLINE)).expect("a deadline");
        stream.set_write_timeout(Some(DEADLINE)).expect("a deadline");
        stream.set_nodelay(true).expect("no delay");
        Client { stream, decoder: Decoder::new() }
    }

    pub fn send<T: Serialize>(&mut self, message: &T) {
        self.send_raw(&frame(message).expect("a message that fits a frame"));
    }

    pub fn send_raw(&mut self, bytes: &[u8]) {
        // A peer that has closed is seen by the next read.
        let _peer_has_closed = self.stream.write_all(bytes);
    }

    /// The next message, or `None` if the other end has closed.
    ///
    /// # Panics
    /// If nothing came until the deadline, or what came is no message.
    pub fn receive<T: DeserializeOwned>(&mut self) -> Option<T> {
        loop {
            if let Some(body) = self.decoder.next().expect("a frame") {
                return Some(decode(body).expect("a message"));
            }
            let mut buffer = [0; 16 << 10];
            match self.stream.read(&mut buffer) {
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    panic!("no reply by the deadline")
                }
                Ok(0) | Err(_) => return None,
                Ok(len) => self.decoder.push(&buffer[..len]),
            }
        }
    }

    /// Sends a request and returns the reply.
    pub fn ask<Q: Serialize, A: DeserializeOwned>(&mut self, request: &Q) -> A {
        self.send(request);
        self.receive().expect("a reply before the close")
    }

    /// Takes exactly `len` raw bytes, those that came with a frame first; `None` if the other end closes
    /// before.
    pub fn receive_raw(&mut self, len: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; len];
        let have = self.decoder.take_raw(&mut bytes);
        self.stream.read_exact(&mut bytes[have..]).ok().map(|()| bytes)
    }

    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Waits until the other end closes, whatever it says before; true if it did so by `deadline`.
    pub fn closed_within(mut self, deadline: Duration) -> bool {
        self.stream.set_read_timeout(Some(deadline)).expect("a deadline");
        let mut buffer = [0; 16 << 10];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) => return error.kind() == std::io::ErrorKind::ConnectionReset,
            }
        }
    }
}

/// A downloader that asks for every piece of a content and reads no more than the header of the first: one
/// upload, as long as it lives. The content should be larger than what two sockets buffer: 12 MiB are enough.
#[derive(Debug)]
pub struct ThrottledReader {
    client: Client,
    pub asker: NodeId,
}

impl ThrottledReader {
    /// Begins an upload at `source`; it counts when this returns.
    pub fn start(source: SocketAddr, asker: NodeId, content: ContentKey) -> ThrottledReader {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).expect("a socket");
        // Set before the connection is made, so that little is taken in.
        socket.set_recv_buffer_size(8 << 10).expect("a small buffer");
        socket.connect(&source.into()).expect("the source listens");
        let mut client = Client::over(socket.into());
        let pieces = content.size_bytes.div_ceil(1 << 20) as u32;
        // In one segment: asked for one by one, each could be sent whole before the next request is there,
        // and not count in between.
        let requests = (0..pieces).flat_map(|piece| PeerRequest::Piece { asker, content, piece }.framed());
        client.send_raw(&requests.collect::<Vec<_>>());
        match client.receive() {
            Some(PeerReply::Piece { piece: 0, .. }) => ThrottledReader { client, asker },
            other => panic!("no piece of {source}: {other:?}"),
        }
    }

    /// The connection that the upload runs on.
    pub fn client(&mut self) -> &mut Client {
        &mut self.client
    }
}

/// Load of a node and how much of it is the asker's own transfer of `content`.
pub fn load_of(node: SocketAddr, asker: NodeId, content: Option<ContentKey>) -> (u32, u8) {
    match Client::connect(node).ask(&PeerRequest::Load { asker, content }) {
        PeerReply::Load { load, yours, .. } => (load, yours),
        other => panic!("{node}: {other:?}"),
    }
}

/// Streams that are no conversation of this protocol, one per entry, with a name for the text of a failure.
pub fn hostile_streams(seed: u64) -> Vec<(&'static str, Vec<u8>)> {
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut noise = |len: usize| {
        let mut bytes = vec![0; len];
        rng.fill_bytes(&mut bytes);
        bytes
    };
    let framed = |len: u32, body: &[u8]| [&MAGIC[..], &len.to_le_bytes(), body].concat();
    let mut request = frame(&PeerRequest::Identify).expect("it fits");
    request.push(b'N');
    vec![
        ("noise", noise(4096)),
        ("one wrong byte", b"X".to_vec()),
        ("an http request", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec()),
        ("another version", [&b"NPR\x02"[..], &[4, 0, 0, 0], &[0; 4]].concat()),
        ("length 0", framed(0, &[])),
        ("length 2^32-1", framed(u32::MAX, &[0; 64])),
        ("length 2^31", framed(1 << 31, &[0; 64])),
        ("one more than the longest frame", framed((1 << 20) + 1, &[0; 64])),
        ("noise in a frame", framed(4096, &noise(4096))),
        ("an unknown message", framed(4, &u32::MAX.to_le_bytes())),
        ("a list of 2^64-1 entries", framed(12, &[&1_u32.to_le_bytes()[..], &[0xff; 8]].concat())),
        ("a message with bytes behind it", framed(64, &[0; 64])),
        ("a frame that is cut", framed(1 << 20, &noise(1000))),
        ("a header that is cut", MAGIC.to_vec()),
        ("half a header", framed(100, &[])[..6].to_vec()),
    ]
}

/// Sends each hostile stream on a connection of its own and ends that side of it. Every connection must be
/// closed by the other end, at once: an end of the stream leaves nothing to wait for.
pub fn send_hostile_streams(to: SocketAddr, seed: u64) {
    for (name, bytes) in hostile_streams(seed) {
        let mut client = Client::connect(to);
        client.send_raw(&bytes);
        let _closed_already = client.stream().shutdown(std::net::Shutdown::Write);
        assert!(client.closed_within(DEADLINE), "{to} keeps a connection after: {name}");
    }
}

/// Connections that say nothing.
pub fn silent_crowd(to: SocketAddr, count: usize) -> Vec<TcpStream> {
    (0..count)
        .map(|number| {
            TcpStream::connect_timeout(&to, DEADLINE)
                .unwrap_or_else(|error| panic!("connection {number} of {count} to {to}: {error}"))
        })
        .collect()
}
