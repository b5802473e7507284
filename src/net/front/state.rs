//! `Front`: the state of one front thread.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::net::TcpListener;
use std::os::fd::OwnedFd;

use rustix::event::epoll::{self, EventData, EventFlags};

use super::eviction::EvictionPolicy;
use super::timers::Timers;
use crate::net::config::FrontConfig;
use crate::net::conn::Conn;
use crate::net::service::{Closed, ConnActions, ConnId, Service};
use crate::rt::{Mailbox, Stop};

/// Maximum number of bytes that one turn reads; one buffer of this size serves all connections.
const READ_MAX_BYTES: usize = 64 << 10;

// What epoll reports for descriptors that are not connections. Ids of connections count up from 1 and do not
// reach these numbers.
pub(super) const LISTENER: u64 = u64::MAX;
pub(super) const MAILBOX: u64 = u64::MAX - 1;
pub(super) const STOP: u64 = u64::MAX - 2;

/// What the timers wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Timer {
    /// The deadline of a connection may have passed.
    Deadline(ConnId),
    /// The rate allows a connection to send again.
    Pace(ConnId),
    /// The front accepts connections again after a pause.
    Accept,
}

/// A connection with its session.
pub(super) struct ConnEntry<T, D> {
    pub(super) conn: Conn<D>,
    /// `None` while the connection lingers: the session has ended, and the front only reads and drops input.
    pub(super) session: Option<T>,
}

/// The state of a front thread.
pub(super) struct Front<S: Service> {
    pub(super) service: S,
    pub(super) config: FrontConfig,
    pub(super) mailbox: Mailbox<S::Event>,
    pub(super) stop: Stop,
    pub(super) epoll: OwnedFd,
    pub(super) conns: HashMap<ConnId, ConnEntry<S::Session, S::Decoder>>,
    next_id: u64,
    /// Connections that get a turn in the next round, even if epoll does not report them.
    pub(super) scheduled: VecDeque<ConnId>,
    pub(super) timers: Timers<Timer>,
    pub(super) eviction: EvictionPolicy,
    pub(super) actions: ConnActions<S::Session, S::Decoder>,
    /// Bytes are read into this before a decoder gets them.
    pub(super) scratch: Vec<u8>,
    /// A descriptor in reserve. When no other is left, the front closes it for a moment to accept and close
    /// the connection of a client, which would otherwise wait without an answer. `None`: it could not be
    /// opened again.
    pub(super) spare_descriptor: Option<File>,
    /// The mailbox may have more items than one round takes.
    pub(super) has_more_mail: bool,
}

impl<S: Service> Front<S> {
    pub(super) fn new(
        service: S,
        config: FrontConfig,
        mailbox: Mailbox<S::Event>,
        stop: Stop,
    ) -> io::Result<Front<S>> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &mailbox, EventData::new_u64(MAILBOX), EventFlags::IN)?;
        epoll::add(&epoll, &stop, EventData::new_u64(STOP), EventFlags::IN)?;
        if let Some(listener) = &config.listener {
            listener.set_nonblocking(true)?;
            watch_listener(&epoll, listener)?;
        }
        let eviction = EvictionPolicy::new(&config);
        Ok(Front {
            service,
            config,
            mailbox,
            stop,
            epoll,
            conns: HashMap::new(),
            next_id: 0,
            scheduled: VecDeque::new(),
            timers: Timers::new(),
            eviction,
            actions: ConnActions::default(),
            scratch: vec![0; READ_MAX_BYTES],
            spare_descriptor: open_spare(),
            has_more_mail: false,
        })
    }

    /// All connections, the oldest first.
    pub(super) fn ids(&self) -> Vec<ConnId> {
        let mut ids: Vec<ConnId> = self.conns.keys().copied().collect();
        ids.sort_unstable();
        ids
    }

    pub(super) fn new_id(&mut self) -> ConnId {
        self.next_id += 1;
        ConnId(self.next_id)
    }
}

/// The reason with which a connection is closed that has failed with `error`.
pub(super) fn close_reason(error: &io::Error) -> Closed {
    match error.kind() {
        ErrorKind::ConnectionRefused => Closed::Refused,
        kind => Closed::Error(kind),
    }
}

pub(super) fn open_spare() -> Option<File> {
    File::open("/dev/null").ok()
}

/// Watches the listener. The watch is exclusive: several fronts may share the listener, and each new
/// connection is to wake only one of them.
pub(super) fn watch_listener(epoll: &OwnedFd, listener: &TcpListener) -> io::Result<()> {
    let flags = EventFlags::IN | EventFlags::EXCLUSIVE;
    Ok(epoll::add(epoll, listener, EventData::new_u64(LISTENER), flags)?)
}
