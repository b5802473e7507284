//! `Service`: what a front calls for each message, and `ConnActions`: how a service acts on connections.
//!
//! A service never touches a socket and never blocks. To act on a connection it queues a command, which the
//! front runs as soon as the call returns.

use std::fs::File;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use crate::proto::{Decode, Decoder};

/// Number of a connection of one front; never used again for another connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnId(pub u64);

/// What a front does with a connection after a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextRead {
    /// Hand over the next message when it is complete.
    Next,
    /// Hand over no further message until [`ConnActions::release`]: the answer to this one comes later, and
    /// answers must be in order.
    Hold,
    /// Close the connection when all queued output has been sent.
    Close,
}

/// Why a connection has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Closed {
    /// The peer has closed it without an error.
    Peer,
    /// It was reset, its peer is unreachable, or another error of the socket. `UnexpectedEof`: a file that
    /// was being sent has become shorter.
    Error(std::io::ErrorKind),
    /// An outgoing connection was refused: no program listens there.
    Refused,
    /// A request, an answer or the connection itself was not complete in time, or the connection was idle for
    /// too long.
    Deadline,
    /// The peer took no byte of a waiting reply for too long.
    Stalled,
    /// The bytes were not messages; see [`Service::malformed_reply`].
    Malformed,
    /// The front had too many connections of one group; see `net/front/eviction.rs`.
    Evicted,
    /// The service closed it, or the front stops.
    Ours,
}

/// A connection that was removed from a front, for another front to adopt.
#[derive(Debug)]
pub struct DetachedConn<D = Decoder> {
    /// The connected, non-blocking socket.
    pub socket: TcpStream,
    /// Address of the peer.
    pub peer: SocketAddr,
    /// Holds the bytes received after the last message that was handed over.
    pub decoder: D,
    /// Output that was queued and not yet sent.
    pub unsent: Vec<u8>,
}

/// What a front calls. One service serves the connections of one front, on the front's thread.
pub trait Service {
    /// State that the service keeps for each connection.
    type Session;
    /// Event that other threads send through the mailbox.
    type Event: Send + 'static;
    /// Decoder that cuts the bytes of a connection into messages.
    type Decoder: Decode;

    /// A connection was accepted; returns its session. `local` is its local address.
    fn accepted(&mut self, peer: SocketAddr, local: SocketAddr) -> Self::Session;

    /// A message has arrived, on an accepted connection or one opened with [`ConnActions::connect`].
    fn message(
        &mut self,
        id: ConnId,
        session: &mut Self::Session,
        message: &<Self::Decoder as Decode>::Message,
        actions: &mut ConnActions<Self::Session, Self::Decoder>,
    ) -> NextRead;

    /// The bytes on an accepted connection are not a message. The front sends the returned bytes and closes
    /// the connection.
    fn malformed_reply(&mut self, error: &<Self::Decoder as Decode>::Error) -> Option<Vec<u8>>;

    /// An event came through the mailbox.
    fn event(&mut self, event: Self::Event, actions: &mut ConnActions<Self::Session, Self::Decoder>);

    /// The kernel has taken `_bytes` bytes of queued file ranges.
    fn file_sent(&mut self, _session: &mut Self::Session, _bytes: u64) {}

    /// The kernel has taken the last byte of the file range that was queued with `tag`.
    fn sent(
        &mut self,
        id: ConnId,
        session: &mut Self::Session,
        tag: u64,
        actions: &mut ConnActions<Self::Session, Self::Decoder>,
    );

    /// A connection has ended. The front calls this exactly once for each session, but not for one that it
    /// hands over to another front.
    fn closed(
        &mut self,
        id: ConnId,
        session: Self::Session,
        why: &Closed,
        actions: &mut ConnActions<Self::Session, Self::Decoder>,
    );
}

/// Queues the commands of a service for its front. The front ignores commands for a closed connection.
#[derive(Debug)]
pub struct ConnActions<S, D: Decode = Decoder> {
    commands: Vec<ConnCommand<S, D>>,
}

/// A queued command; see the methods of [`ConnActions`].
pub(super) enum ConnCommand<S, D: Decode> {
    Send { to: ConnId, bytes: Vec<u8> },
    SendFile { to: ConnId, file: Arc<File>, range: Range<u64>, tag: u64 },
    Release { conn: ConnId },
    Close { conn: ConnId },
    KeepIdle { conn: ConnId, forever: bool },
    Connect { endpoint: SocketAddr, bind: Option<IpAddr>, session: S, first: Vec<u8>, deadline: Duration },
    HandOver { conn: ConnId, to: Box<dyn FnOnce(DetachedConn<D>) + Send> },
    Adopt { detached: DetachedConn<D>, session: S, message: <D::Message as ToOwned>::Owned },
}

impl<S, D: Decode> std::fmt::Debug for ConnCommand<S, D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            ConnCommand::Send { .. } => "Send",
            ConnCommand::SendFile { .. } => "SendFile",
            ConnCommand::Release { .. } => "Release",
            ConnCommand::Close { .. } => "Close",
            ConnCommand::KeepIdle { .. } => "KeepIdle",
            ConnCommand::Connect { .. } => "Connect",
            ConnCommand::HandOver { .. } => "HandOver",
            ConnCommand::Adopt { .. } => "Adopt",
        })
    }
}

impl<S, D: Decode> Default for ConnActions<S, D> {
    fn default() -> ConnActions<S, D> {
        ConnActions { commands: Vec::new() }
    }
}

impl<S, D: Decode> ConnActions<S, D> {
    /// Queues bytes, usually a message, after the output that is queued already.
    pub fn send(&mut self, to: ConnId, bytes: Vec<u8>) {
        self.commands.push(ConnCommand::Send { to, bytes });
    }

    /// Queues a range of a file, which the kernel sends without copying it through this process. When all of
    /// it is sent, the front calls [`Service::sent`] with `tag`. If the file is shorter than the range, the
    /// front closes the connection.
    pub fn send_file(&mut self, to: ConnId, file: Arc<File>, range: Range<u64>, tag: u64) {
        self.commands.push(ConnCommand::SendFile { to, file, range, tag });
    }

    /// Ends an [`NextRead::Hold`].
    pub fn release(&mut self, conn: ConnId) {
        self.commands.push(ConnCommand::Release { conn });
    }

    /// Closes the connection when all queued output is sent.
    pub fn close(&mut self, conn: ConnId) {
        self.commands.push(ConnCommand::Close { conn });
    }

    /// Sets whether the connection may be idle between requests without a limit, or (the default) for
    /// [`super::Deadlines::idle`].
    pub fn keep_idle(&mut self, conn: ConnId, forever: bool) {
        self.commands.push(ConnCommand::KeepIdle { conn, forever });
    }

    /// Opens a connection, from `bind` if given, and sends `first`. The connection must be established and
    /// its first message complete within `deadline`. [`Service::closed`] reports a failure.
    pub fn connect(
        &mut self,
        endpoint: SocketAddr,
        bind: Option<IpAddr>,
        session: S,
        first: Vec<u8>,
        deadline: Duration,
    ) {
        self.commands.push(ConnCommand::Connect { endpoint, bind, session, first, deadline });
    }

    /// Removes a connection from this front and passes it to `to`. Its session is dropped without a call of
    /// [`Service::closed`].
    pub fn hand_over(&mut self, conn: ConnId, to: impl FnOnce(DetachedConn<D>) + Send + 'static) {
        self.commands.push(ConnCommand::HandOver { conn, to: Box::new(to) });
    }

    /// Adds a connection of another front, and hands `message`, the one that caused the move, to
    /// [`Service::message`] first.
    pub fn adopt(&mut self, detached: DetachedConn<D>, session: S, message: <D::Message as ToOwned>::Owned) {
        self.commands.push(ConnCommand::Adopt { detached, session, message });
    }

    /// Removes and returns the queued commands.
    pub(super) fn take(&mut self) -> Vec<ConnCommand<S, D>> {
        std::mem::take(&mut self.commands)
    }
}
