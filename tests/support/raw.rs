//! Bare connections: a strict client of the protocol, a slow reader, and streams that are not the protocol.

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

/// A connection that sends and receives frames. Reads panic at the deadline.
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

    /// Wraps an open connection.
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
        // The next read detects a closed peer.
        let _peer_has_closed = self.stream.write_all(bytes);
    }

    /// The next message, or `None` if the other end has closed.
    ///
    /// # Panics
    /// If no message came by the deadline, or the bytes are no message.
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

    /// Reads exactly `len` raw bytes, starting with those that arrived with a frame. `None` if the other end
    /// closes earlier.
    pub fn receive_raw(&mut self, len: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; len];
        let have = self.decoder.take_raw(&mut bytes);
        self.stream.read_exact(&mut bytes[have..]).ok().map(|()| bytes)
    }

    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Waits until the other end closes, and discards its bytes. Returns true if it closed by `deadline`.
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

/// A downloader that requests every piece of a content and reads only the header of the first. It counts as
/// one upload while it lives. The content should be larger than two socket buffers: 12 MiB are enough.
#[derive(Debug)]
pub struct ThrottledReader {
    client: Client,
    pub requester: NodeId,
}

impl ThrottledReader {
    /// Begins an upload at `source`. It counts as load when this returns.
    pub fn start(source: SocketAddr, requester: NodeId, content: ContentKey) -> ThrottledReader {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).expect("a socket");
        // Set before the connection is made, so that the receive buffer stays small.
        socket.set_recv_buffer_size(8 << 10).expect("a small buffer");
        socket.connect(&source.into()).expect("the source listens");
        let mut client = Client::over(socket.into());
        let pieces = content.size_bytes.div_ceil(1 << 20) as u32;
        // All requests go in one segment. Otherwise the source could finish each piece before the next
        // request arrives, and would count no load in between.
        let requests =
            (0..pieces).flat_map(|piece| PeerRequest::Piece { asker: requester, content, piece }.framed());
        client.send_raw(&requests.collect::<Vec<_>>());
        match client.receive() {
            Some(PeerReply::Piece { piece: 0, .. }) => ThrottledReader { client, requester },
            other => panic!("no piece of {source}: {other:?}"),
        }
    }

    /// The connection of the upload.
    pub fn client(&mut self) -> &mut Client {
        &mut self.client
    }
}

/// Load of a node, and how much of it is the asking node's own transfer of `content`.
pub fn load_of(node: SocketAddr, requester: NodeId, content: Option<ContentKey>) -> (u32, u8) {
    match Client::connect(node).ask(&PeerRequest::Load { asker: requester, content }) {
        PeerReply::Load { load, yours, .. } => (load, yours),
        other => panic!("{node}: {other:?}"),
    }
}

/// Streams that are not this protocol, one per entry, with a name for failure messages.
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

/// Sends each hostile stream on its own connection and ends that side of it. The other end must close every
/// connection at once, because no more bytes can come.
pub fn send_hostile_streams(to: SocketAddr, seed: u64) {
    for (name, bytes) in hostile_streams(seed) {
        let mut client = Client::connect(to);
        client.send_raw(&bytes);
        let _closed_already = client.stream().shutdown(std::net::Shutdown::Write);
        assert!(client.closed_within(DEADLINE), "{to} keeps a connection after: {name}");
    }
}

/// Connections that send nothing.
pub fn silent_crowd(to: SocketAddr, count: usize) -> Vec<TcpStream> {
    (0..count)
        .map(|number| {
            TcpStream::connect_timeout(&to, DEADLINE)
                .unwrap_or_else(|error| panic!("connection {number} of {count} to {to}: {error}"))
        })
        .collect()
}
