//! `Client`: a connection for a thread that may block: it sends, receives, reads raw bytes and waits.
//!
//! Each wait ends at its deadline, however slowly the peer sends, and at once when its [`Stop`] is triggered.
//! Invariant: after an error other than `Codec` the connection is not usable any more.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::BorrowedFd;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, poll};
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use super::listen::{begin_dial, finish_dial};
use crate::proto::{CodecError, Decoder, FrameError, decode, frame};
use crate::rt::{Stop, clock};

/// Maximum number of bytes of one read while a frame is incomplete.
const RECEIVE_BYTES: usize = 16 << 10;

/// Why an exchange with a peer failed, and whose fault it is.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ClientError {
    /// No fault: the stop of the connection is triggered.
    #[error("stopped")]
    Stopped,
    /// The peer's side: its machine answers, but no program listens on the port.
    #[error("connection refused: no program listens there")]
    Refused,
    /// The peer's or the network's fault: the deadline has passed.
    #[error("no answer in time")]
    Deadline,
    /// The peer's side: it has closed the connection.
    #[error("the other end closed the connection")]
    Closed,
    /// This node's configuration: the addresses are of different families.
    #[error("one address is IPv4 and the other IPv6: give the node an address of the same kind")]
    Family,
    /// This node's configuration: no packet can go from its address to the other, as from 127.0.0.1 to
    /// another machine.
    #[error("this node's address cannot reach that network: give the node an address in it, or 0.0.0.0")]
    Route,
    /// The network's fault, or this node's (`bind` is not an address of this machine, no descriptor is left).
    #[error("{0}")]
    Io(ErrorKind),
    /// The peer's fault: its bytes are not a frame.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A received message cannot be decoded: the peer's fault. Or a message of this program does not fit a
    /// frame: a bug.
    #[error(transparent)]
    Codec(#[from] CodecError),
}

impl From<io::Error> for ClientError {
    fn from(error: io::Error) -> ClientError {
        match error.kind() {
            ErrorKind::ConnectionRefused => ClientError::Refused,
            ErrorKind::BrokenPipe => ClientError::Closed,
            // From `begin_dial`.
            ErrorKind::Unsupported => ClientError::Family,
            // `EINVAL` of `connect`: the local address is bound to a loopback address.
            ErrorKind::InvalidInput => ClientError::Route,
            kind => ClientError::Io(kind),
        }
    }
}

/// What has ended [`Client::wait`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Woken {
    /// The descriptor of the mailbox is readable.
    Mail,
    /// The connection is readable, has ended or has failed: the next receive does not wait for its first
    /// byte.
    Socket,
    /// The deadline has passed.
    Deadline,
}

/// A connection to a peer, owned by one thread.
#[derive(Debug)]
pub struct Client {
    socket: TcpStream,
    local: SocketAddr,
    peer: SocketAddr,
    decoder: Decoder,
    stop: Stop,
}

impl Client {
    /// Connects to `endpoint`, from `bind` unless that is `None` or unspecified.
    ///
    /// # Errors
    /// `Stopped`, `Refused`, `Deadline`, `Family`, `Route` or `Io`.
    pub fn connect(
        endpoint: SocketAddr,
        bind: Option<IpAddr>,
        deadline: Instant,
        stop: &Stop,
    ) -> Result<Client, ClientError> {
        let socket = begin_dial(endpoint, bind)?;
        wait_until_ready(&socket, PollFlags::OUT, stop, deadline)?;
        let local = finish_dial(&socket)?;
        Ok(Client { socket, local, peer: endpoint, decoder: Decoder::new(), stop: stop.clone() })
    }

    /// The local address of the connection.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// The peer's address.
    pub fn peer_addr(&self) -> SocketAddr {
        self.peer
    }

    /// Replaces the stop that ends the waits.
    pub fn set_stop(&mut self, stop: Stop) {
        self.stop = stop;
    }

    /// Sends `message` as one frame; returns when the kernel has taken all of it.
    ///
    /// # Errors
    /// `Codec` if it does not fit a frame, or the reason why it could not be sent by `deadline`.
    pub fn send<T: Serialize>(&mut self, message: &T, deadline: Instant) -> Result<(), ClientError> {
        let bytes = frame(message)?;
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            match self.socket.write(rest) {
                Ok(len) => rest = &rest[len..],
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.wait_ready(PollFlags::OUT, deadline)?
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Receives one frame and decodes it.
    ///
    /// # Errors
    /// `Closed` if the connection ends before the frame does, `Deadline` if the frame is not complete by
    /// then, or an error of the frame or message.
    pub fn receive<T: DeserializeOwned>(&mut self, deadline: Instant) -> Result<T, ClientError> {
        let mut scratch = [0; RECEIVE_BYTES];
        loop {
            if let Some(body) = self.decoder.next()? {
                return Ok(decode(body)?);
            }
            let len = self.read(&mut scratch, deadline)?;
            self.decoder.push(&scratch[..len]);
        }
    }

    /// Reads at least one and at most `out.len()` raw bytes: first those received together with the last
    /// frame, then from the socket. `out` must not be empty.
    ///
    /// # Errors
    /// `Closed`, `Deadline` if no byte comes by `deadline`, `Stopped` or `Io`.
    pub fn read_raw(&mut self, out: &mut [u8], deadline: Instant) -> Result<usize, ClientError> {
        debug_assert!(!out.is_empty(), "an empty buffer would look like the end of the connection");
        match self.decoder.take_raw(out) {
            0 => self.read(out, deadline),
            len => Ok(len),
        }
    }

    /// Waits until the connection or `mail` is ready, at most until `deadline`. If both are ready, the result
    /// is `Socket`.
    ///
    /// # Errors
    /// `Stopped`, or `Io` if `poll` fails.
    pub fn wait(&mut self, mail: BorrowedFd<'_>, deadline: Instant) -> Result<Woken, ClientError> {
        if self.decoder.waiting_bytes() > 0 {
            return Ok(Woken::Socket);
        }
        let mut watched = [
            PollFd::new(&self.socket, PollFlags::IN),
            PollFd::from_borrowed_fd(mail, PollFlags::IN),
            PollFd::new(&self.stop, PollFlags::IN),
        ];
        poll_until(&mut watched, deadline)?;
        if self.stop.is_triggered() {
            return Err(ClientError::Stopped);
        }
        Ok(match watched.each_ref().map(|one| one.revents().is_empty()) {
            [false, ..] => Woken::Socket,
            [_, false, _] => Woken::Mail,
            _ => Woken::Deadline,
        })
    }

    /// Reads from the socket, and waits only if no byte has arrived. It always checks the stop, but the
    /// deadline only if no byte has arrived: bytes in the socket were in time, even if this process did not
    /// run for a while. A fast peer cannot use this to pass the deadline for long, because frames and pieces
    /// have limited lengths.
    fn read(&mut self, out: &mut [u8], deadline: Instant) -> Result<usize, ClientError> {
        loop {
            if self.stop.is_triggered() {
                return Err(ClientError::Stopped);
            }
            match self.socket.read(out) {
                Ok(0) => return Err(ClientError::Closed),
                Ok(len) => return Ok(len),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.wait_for_bytes(deadline)?,
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn wait_for_bytes(&self, deadline: Instant) -> Result<(), ClientError> {
        let mut watched = [PollFd::new(&self.socket, PollFlags::IN), PollFd::new(&self.stop, PollFlags::IN)];
        poll_until(&mut watched, deadline)?;
        let is_late = watched[0].revents().is_empty() && !self.stop.is_triggered();
        if is_late { Err(ClientError::Deadline) } else { Ok(()) }
    }

    fn wait_ready(&self, interest: PollFlags, deadline: Instant) -> Result<(), ClientError> {
        wait_until_ready(&self.socket, interest, &self.stop, deadline)
    }
}

/// Waits until `socket` is ready for `interest`, or has failed. Whether it has failed, the next call on the
/// socket reports.
fn wait_until_ready(
    socket: &TcpStream,
    interest: PollFlags,
    stop: &Stop,
    deadline: Instant,
) -> Result<(), ClientError> {
    let mut watched = [PollFd::new(socket, interest), PollFd::new(stop, PollFlags::IN)];
    poll_until(&mut watched, deadline)?;
    if stop.is_triggered() {
        Err(ClientError::Stopped)
    } else if watched[0].revents().is_empty() || clock::now() >= deadline {
        Err(ClientError::Deadline)
    } else {
        Ok(())
    }
}

/// Waits until one of `watched` is ready or `deadline` has passed. The `revents` of each say whether it is
/// ready.
///
/// # Errors
/// When `poll` fails, for instance because the kernel is out of memory.
pub(super) fn poll_until(watched: &mut [PollFd<'_>], deadline: Instant) -> io::Result<()> {
    loop {
        match poll(watched, Some(&clock::timespec_until(deadline))) {
            Ok(_) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rt::mailbox;
    use std::net::TcpListener;
    use std::os::fd::AsFd;
    use std::time::Duration;

    fn soon() -> Instant {
        clock::now() + Duration::from_secs(10)
    }

    /// A client, and the other end of its connection, which the test uses.
    fn pair() -> (Client, TcpStream, Stop) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let stop = Stop::new().expect("a descriptor");
        let endpoint = listener.local_addr().expect("bound");
        let client = Client::connect(endpoint, None, soon(), &stop).expect("it listens");
        let (peer, from) = listener.accept().expect("it has connected");
        assert_eq!((client.local_addr(), client.peer_addr()), (from, endpoint));
        (client, peer, stop)
    }

    #[test]
    fn messages_go_both_ways_and_raw_bytes_follow_a_frame() {
        let (mut client, mut peer, _stop) = pair();
        client.send(&"request", soon()).expect("taken");
        let mut got = vec![0; frame(&"request").expect("fits").len()];
        peer.read_exact(&mut got).expect("sent");
        assert_eq!(got, frame(&"request").expect("fits"));
        let mut bytes = frame(&7u32).expect("fits");
        bytes.extend_from_slice(b"raw ");
        peer.write_all(&bytes).expect("taken");
        assert_eq!(client.receive::<u32>(soon()), Ok(7));
        peer.write_all(b"and more").expect("taken");
        drop(peer);
        let (mut raw, mut buffer) = (Vec::new(), [0; 5]);
        let end = loop {
            match client.read_raw(&mut buffer, soon()) {
                Ok(len) => raw.extend_from_slice(&buffer[..len]),
                Err(end) => break end,
            }
        };
        assert_eq!((&raw[..], end), (&b"raw and more"[..], ClientError::Closed));
    }

    #[test]
    fn a_large_message_passes_a_slow_reader_unchanged() {
        let (mut client, mut peer, _stop) = pair();
        let message = "x".repeat(1_000_000);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut bytes = vec![0; frame(&message).expect("fits").len()];
                peer.read_exact(&mut bytes).expect("sent");
                peer.write_all(&bytes).expect("taken");
            });
            client.send(&message, soon()).expect("taken");
            assert_eq!(client.receive::<String>(soon()).as_ref(), Ok(&message));
        });
    }

    #[test]
    fn a_wrong_message_and_a_wrong_frame_are_different_errors() {
        let (mut client, mut peer, _stop) = pair();
        peer.write_all(&frame(&1u8).expect("fits")).expect("taken");
        assert!(matches!(client.receive::<u64>(soon()), Err(ClientError::Codec(_))));
        peer.write_all(b"HTTP/1.1 400").expect("taken");
        assert_eq!(client.receive::<u64>(soon()), Err(ClientError::Frame(FrameError::Magic(*b"HTTP"))));
    }

    #[test]
    fn a_receive_ends_at_its_deadline_although_bytes_trickle_in() {
        let (mut client, mut peer, _stop) = pair();
        let bytes = frame(&"x".repeat(100_000)).expect("fits");
        std::thread::scope(|scope| {
            let received = scope.spawn(move || {
                let deadline = clock::now() + Duration::from_millis(100);
                let outcome = client.receive::<String>(deadline);
                assert!(clock::now() >= deadline);
                outcome // The client is dropped here, so that the peer's writes fail.
            });
            // Without the last byte the frame is never complete.
            for byte in &bytes[..bytes.len() - 1] {
                if peer.write_all(&[*byte]).is_err() {
                    break;
                }
            }
            assert_eq!(received.join().expect("no panic"), Err(ClientError::Deadline));
        });
    }

    #[test]
    fn a_stop_ends_a_blocked_receive_and_a_connect() {
        let (mut client, _peer, stop) = pair();
        std::thread::scope(|scope| {
            let receive = scope.spawn(move || client.receive::<u8>(clock::now() + Duration::from_secs(60)));
            stop.trigger();
            assert_eq!(receive.join().expect("no panic"), Err(ClientError::Stopped));
        });
        let stopped = Client::connect("127.0.0.1:9".parse().expect("an address"), None, soon(), &stop);
        assert!(matches!(stopped, Err(ClientError::Stopped | ClientError::Refused)));
    }

    #[test]
    fn a_connection_comes_from_the_bound_address_and_a_refused_one_is_reported() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let endpoint = listener.local_addr().expect("bound");
        let stop = Stop::new().expect("a descriptor");
        let from = Some("127.0.0.2".parse().expect("an address"));
        let client = Client::connect(endpoint, from, soon(), &stop).expect("it listens");
        assert_eq!(Some(client.local_addr().ip()), from);
        let unspecified = Some("0.0.0.0".parse().expect("an address"));
        assert!(Client::connect(endpoint, unspecified, soon(), &stop).is_ok());
        drop(listener);
        let refused = Client::connect(endpoint, None, soon(), &stop).map(|_| ());
        assert_eq!(refused, Err(ClientError::Refused));
        assert_eq!(ClientError::Refused.to_string(), "connection refused: no program listens there");
        assert_eq!(ClientError::Io(ErrorKind::ConnectionReset).to_string(), "connection reset");
    }

    #[test]
    fn wait_distinguishes_mail_socket_and_deadline() {
        let (mut client, mut peer, stop) = pair();
        let (post, mail) = mailbox::<u8>(4).expect("a descriptor");
        let past = clock::now();
        assert_eq!(client.wait(mail.as_fd(), past), Ok(Woken::Deadline));
        post.send(1).expect("room");
        assert_eq!(client.wait(mail.as_fd(), soon()), Ok(Woken::Mail));
        mail.clear();
        let two = [frame(&1u8).expect("fits"), frame(&2u8).expect("fits")].concat();
        peer.write_all(&two).expect("taken");
        assert_eq!(client.wait(mail.as_fd(), soon()), Ok(Woken::Socket));
        assert_eq!(client.receive::<u8>(soon()), Ok(1));
        assert_eq!(client.wait(mail.as_fd(), soon()), Ok(Woken::Socket), "the decoder holds the second");
        assert_eq!(client.receive::<u8>(soon()), Ok(2));
        drop(peer);
        assert_eq!(client.wait(mail.as_fd(), soon()), Ok(Woken::Socket));
        assert_eq!(client.receive::<u8>(soon()), Err(ClientError::Closed));
        stop.trigger();
        assert_eq!(client.wait(mail.as_fd(), soon()), Err(ClientError::Stopped));
    }
}
