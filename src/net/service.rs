//! What a front thread asks of the program above it: `Service`, and the `ConnActions` through which a service
//! acts on connections.
//!
//! A service is a function of messages and events: it never touches a socket and never blocks. It acts by
//! queueing commands, which the front carries out as soon as the call returns.

use std::fs::File;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use crate::proto::{Decode, Decoder};

/// One connection of one front, for as long as it lives; never used again for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnId(pub u64);

/// What becomes of a connection after a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextRead {
    /// The next message may be handed over, now or when it comes.
    Next,
    /// No further message is handed over until [`ConnActions::release`]: the answer to this one comes later
    /// and must come in order.
    Hold,
    /// Close once everything queued has been sent.
    Close,
}

/// Why a connection has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Closed {
    /// The other end closed it in order.
    Peer,
    /// Reset, or another socket error; for an outgoing connection also: unreachable. `UnexpectedEof`: a file
    /// that was being sent has become shorter.
    Error(std::io::ErrorKind),
    /// An outgoing connection was refused: nobody listens there.
    Refused,
    /// A request was not complete, or an answer or connection not there, in time.
    Deadline,
    /// The other end took no byte of a waiting reply for too long.
    Stalled,
    /// The bytes were no messages; [`Service::farewell`] was told why.
    Malformed,
    /// It made room: the caps on incomplete requests were reached and it was the oldest, or those on unsent
    /// output and it was without progress longest.
    Evicted,
    /// The service closed it, or handed it to another front, or the front stops.
    Ours,
}

/// A connection taken out of a front, to be adopted by another one.
#[derive(Debug)]
pub struct DetachedConn<D = Decoder> {
    pub socket: TcpStream,
    pub peer: SocketAddr,
    /// Holds what was received beyond the last message handed over.
    pub decoder: D,
    /// Output that was queued and not yet sent.
    pub unsent: Vec<u8>,
}

/// The program behind a front.
pub trait Service {
    /// What the service keeps for each connection.
    type Session;
    /// What other threads send to it through its mailbox.
    type Event: Send + 'static;
    /// What cuts the bytes of its connections into messages.
    type Decoder: Decode;

    /// A connection was accepted. `local` is our end of it.
    fn accepted(&mut self, peer: SocketAddr, local: SocketAddr) -> Self::Session;

    /// A message has arrived, on an accepted connection or one opened with [`ConnActions::connect`].
    fn message(
        &mut self,
        id: ConnId,
        session: &mut Self::Session,
        message: &<Self::Decoder as Decode>::Message,
        actions: &mut ConnActions<Self::Session, Self::Decoder>,
    ) -> NextRead;

    /// The bytes on an accepted connection were no message. What is returned is sent before it is closed.
    fn farewell(&mut self, error: &<Self::Decoder as Decode>::Error) -> Option<Vec<u8>>;

    /// Something came through the mailbox.
    fn event(&mut self, event: Self::Event, actions: &mut ConnActions<Self::Session, Self::Decoder>);

    /// So many bytes of queued file ranges were handed to the system just now.
    fn file_sent(&mut self, _session: &mut Self::Session, _bytes: u64) {}

    /// The last byte of a file range queued with `tag` was handed to the system.
    fn sent(
        &mut self,
        id: ConnId,
        session: &mut Self::Session,
        tag: u64,
        actions: &mut ConnActions<Self::Session, Self::Decoder>,
    );

    /// A connection has ended, whoever ended it. Called exactly once for each session but those handed over.
    fn closed(
        &mut self,
        id: ConnId,
        session: Self::Session,
        why: &Closed,
        actions: &mut ConnActions<Self::Session, Self::Decoder>,
    );
}

/// What a service may do to the connections of its front. Commands for a connection that has ended meanwhile
/// are void.
#[derive(Debug)]
pub struct ConnActions<S, D: Decode = Decoder> {
    commands: Vec<ConnCommand<S, D>>,
}

/// One queued act.
pub(super) enum ConnCommand<S, D: Decode> {
    Send { to: ConnId, bytes: Vec<u8> },
    SendFile { to: ConnId, file: Arc<File>, range: Range<u64>, tag: u64 },
    Release { conn: ConnId },
    Close { conn: ConnId },
    KeepIdle { conn: ConnId, forever: bool },
    Connect { endpoint: SocketAddr, bind: Option<IpAddr>, session: S, first: Vec<u8>, deadline: Duration },
    HandOver { conn: ConnId, to: Box<dyn FnOnce(DetachedConn<D>) + Send> },
    Adopt { parts: DetachedConn<D>, session: S, message: <D::Message as ToOwned>::Owned },
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
    /// Queues bytes, usually a message, behind what is queued already.
    pub fn send(&mut self, to: ConnId, bytes: Vec<u8>) {
        self.commands.push(ConnCommand::Send { to, bytes });
    }

    /// Queues a range of a file, sent by the system without passing through this process; [`Service::sent`]
    /// is called with `tag` at its end. If the file turns out shorter, the connection is closed.
    pub fn send_file(&mut self, to: ConnId, file: Arc<File>, range: Range<u64>, tag: u64) {
        self.commands.push(ConnCommand::SendFile { to, file, range, tag });
    }

    /// Ends an [`NextRead::Hold`].
    pub fn release(&mut self, conn: ConnId) {
        self.commands.push(ConnCommand::Release { conn });
    }

    /// Closes once everything queued has been sent.
    pub fn close(&mut self, conn: ConnId) {
        self.commands.push(ConnCommand::Close { conn });
    }

    /// Whether the connection may be idle between requests for as long as it likes, or (as at first) for
    /// [`super::Deadlines::idle`].
    pub fn keep_idle(&mut self, conn: ConnId, forever: bool) {
        self.commands.push(ConnCommand::KeepIdle { conn, forever });
    }

    /// Opens a connection, from `bind` if given, sends `first` and waits for one message until `deadline`
    /// from now. [`Service::closed`] tells of a failure.
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

    /// Takes a connection out of this front and gives it to `to`, once and for good. Its session is dropped
    /// without a call of [`Service::closed`].
    pub fn hand_over(&mut self, conn: ConnId, to: impl FnOnce(DetachedConn<D>) + Send + 'static) {
        self.commands.push(ConnCommand::HandOver { conn, to: Box::new(to) });
    }

    /// Takes in a connection of another front and actions `message`, with which it moved, to
    /// [`Service::message`] first.
    pub fn adopt(&mut self, parts: DetachedConn<D>, session: S, message: <D::Message as ToOwned>::Owned) {
        self.commands.push(ConnCommand::Adopt { parts, session, message });
    }

    pub(super) fn take(&mut self) -> Vec<ConnCommand<S, D>> {
        std::mem::take(&mut self.commands)
    }
}
