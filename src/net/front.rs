//! The readiness loop of one front thread: accepts, reads, hands frames to its service, sends, keeps deadlines and caps.
//!
//! It waits in one place only. Each connection gets a bounded turn (bytes read, frames handed over, bytes sent), so that none delays
//! the others; nothing that a peer or the system does ends the loop or makes it spin. Invariants: only this thread touches its
//! connections; each session ends in exactly one call of `closed`, unless it was handed over or the front itself was dropped.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::Timespec;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;

use super::bucket::Bucket;
use super::caps::Incomplete;
use super::client::timespec;
use super::conn::{Conn, Origin};
use super::listen::dialed;
use super::service::{Closed, ConnId, Hands, Service};
use super::timers::Timers;
use crate::rt::{Mailbox, Stop, clock};
use crate::types::limits;

/// Most bytes read from one connection in one turn; one buffer of this size serves all.
const READ_TURN_BYTES: usize = 64 << 10;
/// Most frames handed over from one connection in one turn.
const FRAMES_TURN: usize = 64;
/// Most connections accepted in one turn.
const ACCEPT_TURN: usize = 64;
/// Most events taken from the mailbox in one turn.
const EVENTS_TURN: usize = 256;
/// After the system was out of descriptors or memory, accepting rests for this long.
const ACCEPT_REST: Duration = Duration::from_millis(50);

// Connection ids count up from 1 and never get here.
const LISTENER: u64 = u64::MAX;
const MAILBOX: u64 = u64::MAX - 1;
const STOP: u64 = u64::MAX - 2;

/// What a front is made of.
#[derive(Debug)]
pub struct FrontConfig {
    /// Several fronts may share one. `None`: connections come only by `connect` and `adopt`.
    pub listener: Option<Arc<TcpListener>>,
    /// Usually [`limits::INCOMPLETE_MAX`].
    pub incomplete_max: usize,
    /// Usually [`limits::INCOMPLETE_PER_ADDRESS_MAX`].
    pub incomplete_per_address_max: usize,
    /// What pays for every byte of a file; `None`: no limit.
    pub rate: Option<Arc<Bucket>>,
}

/// Runs a front on this thread until `stop` is triggered; then sends once what the system takes at once, and closes all.
///
/// # Errors
/// When the system gives no descriptors at the start, or cannot wait.
pub fn run<S: Service>(
    service: S,
    config: FrontConfig,
    mailbox: Mailbox<S::Event>,
    stop: Stop,
) -> io::Result<()> {
    let mut front = Front::new(service, config, mailbox, stop)?;
    front.serve()?;
    front.close_all();
    Ok(())
}

/// What waits in the timers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Timer {
    /// A connection may have run out of time.
    Deadline(ConnId),
    /// The rate allows a connection to go on.
    Pace(ConnId),
    /// The listener has rested.
    Listener,
}

pub(super) struct Entry<T> {
    pub(super) conn: Conn,
    /// `None` while the connection only lingers.
    pub(super) session: Option<T>,
}

pub(super) struct Front<S: Service> {
    pub(super) service: S,
    config: FrontConfig,
    mailbox: Mailbox<S::Event>,
    stop: Stop,
    epoll: OwnedFd,
    pub(super) conns: HashMap<ConnId, Entry<S::Session>>,
    next_id: u64,
    /// Connections whose turn it is, whether or not the system reports them.
    turns: VecDeque<ConnId>,
    timers: Timers<Timer>,
    incomplete: Incomplete,
    pub(super) hands: Hands<S::Session>,
    scratch: Vec<u8>,
    /// Given up for a moment when no other descriptor is left, to turn a client away instead of leaving it waiting.
    spare: Option<File>,
    mail_is_left: bool,
}

impl<S: Service> Front<S> {
    fn new(service: S, config: FrontConfig, mailbox: Mailbox<S::Event>, stop: Stop) -> io::Result<Front<S>> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &mailbox, EventData::new_u64(MAILBOX), EventFlags::IN)?;
        epoll::add(&epoll, &stop, EventData::new_u64(STOP), EventFlags::IN)?;
        if let Some(listener) = &config.listener {
            listener.set_nonblocking(true)?;
            watch_listener(&epoll, listener)?;
        }
        let incomplete = Incomplete::new(config.incomplete_max, config.incomplete_per_address_max);
        Ok(Front {
            service,
            config,
            mailbox,
            stop,
            epoll,
            conns: HashMap::new(),
            next_id: 0,
            turns: VecDeque::new(),
            timers: Timers::new(),
            incomplete,
            hands: Hands::default(),
            scratch: vec![0; READ_TURN_BYTES],
            spare: open_spare(),
            mail_is_left: false,
        })
    }

    fn serve(&mut self) -> io::Result<()> {
        let mut events = Vec::with_capacity(256);
        while !self.stop.is_triggered() {
            let timeout = match self.timers.next() {
                _ if !self.turns.is_empty() || self.mail_is_left => Some(Timespec::default()),
                next => next.map(timespec),
            };
            events.clear();
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), timeout.as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            let mut has_mail = std::mem::take(&mut self.mail_is_left);
            for event in &events {
                let (flags, data) = (event.flags, event.data);
                match data.u64() {
                    LISTENER => self.accept(),
                    MAILBOX => has_mail = true,
                    STOP => return Ok(()),
                    id => {
                        if let Some(entry) = self.conns.get_mut(&ConnId(id)) {
                            entry.conn.ready |= flags;
                            self.give_turn(ConnId(id));
                        }
                    }
                }
            }
            if has_mail {
                self.take_mail();
            }
            for _ in 0..self.turns.len() {
                if let Some(id) = self.turns.pop_front() {
                    self.turn(id);
                }
            }
            self.expire();
        }
        Ok(())
    }

    /// Sends once what the system takes at once and closes everything.
    fn close_all(&mut self) {
        for id in self.ids() {
            self.send_some(id);
        }
        // What these last calls still ask for is not begun any more.
        for id in self.ids() {
            self.close(id, &Closed::Ours);
        }
    }

    /// All connections, the oldest first.
    fn ids(&self) -> Vec<ConnId> {
        let mut ids: Vec<ConnId> = self.conns.keys().copied().collect();
        ids.sort_unstable();
        ids
    }

    // What comes in.

    fn accept(&mut self) {
        let Some(listener) = self.config.listener.clone() else { return };
        for _ in 0..ACCEPT_TURN {
            match listener.accept() {
                // A connection that cannot be set up is one that has just broken, or has no room: dropped, the next one may do.
                Ok((socket, peer)) => drop(self.let_in(socket, peer)),
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock => return,
                    ErrorKind::Interrupted | ErrorKind::ConnectionAborted => {}
                    _ => return self.rest_listener(&listener, &error),
                },
            }
        }
    }

    /// Accepting failed, usually for lack of descriptors or memory: it rests for a while. Without a descriptor, one waiting client is
    /// turned away, so that it does not wait in vain.
    fn rest_listener(&mut self, listener: &TcpListener, error: &io::Error) {
        if matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE)) {
            drop(self.spare.take());
            drop(listener.accept());
            self.spare = open_spare();
        }
        let _was_not_watched = epoll::delete(&self.epoll, listener);
        self.timers.set(Timer::Listener, Some(clock::now() + ACCEPT_REST));
    }

    fn let_in(&mut self, socket: TcpStream, peer: SocketAddr) -> io::Result<()> {
        socket.set_nonblocking(true)?;
        socket.set_nodelay(true)?;
        let session = self.service.accepted(peer, socket.local_addr()?);
        let id = self.new_id();
        self.insert(id, Conn::new(socket, peer, Origin::Accepted, clock::now()), session);
        self.obey();
        self.settle(id);
        Ok(())
    }

    fn take_mail(&mut self) {
        self.mailbox.clear();
        for _ in 0..EVENTS_TURN {
            let Some(event) = self.mailbox.next() else { return };
            self.service.event(event, &mut self.hands);
            self.obey();
        }
        self.mail_is_left = true;
    }

    // The turn of a connection.

    pub(super) fn give_turn(&mut self, id: ConnId) {
        if let Some(entry) = self.conns.get_mut(&id)
            && !entry.conn.queued
        {
            entry.conn.queued = true;
            self.turns.push_back(id);
        }
    }

    fn turn(&mut self, id: ConnId) {
        self.receive(id);
        self.hand_over_frames(id);
        self.send_some(id);
        self.settle(id);
    }

    /// Finds out about failures, and reads once if there is something to read.
    fn receive(&mut self, id: ConnId) {
        let Some(Entry { conn, .. }) = self.conns.get_mut(&id) else { return };
        let ready = std::mem::replace(&mut conn.ready, EventFlags::empty());
        let mut outcome = Ok(());
        if conn.connecting {
            if ready.intersects(EventFlags::OUT | EventFlags::ERR | EventFlags::HUP) {
                outcome = dialed(&conn.socket).map(|_local| conn.connecting = false);
            }
        } else if ready.intersects(EventFlags::ERR | EventFlags::HUP) {
            match conn.socket.take_error() {
                Ok(None) => return self.close_and_obey(id, &Closed::Peer),
                Ok(Some(error)) | Err(error) => outcome = Err(error),
            }
        } else if ready.contains(EventFlags::IN) && conn.wants_input() {
            outcome = conn.read(&mut self.scratch);
        }
        if let Err(error) = outcome {
            self.close_and_obey(id, &why(&error));
        }
    }

    /// Hands over what frames there are, up to a turn's worth.
    fn hand_over_frames(&mut self, id: ConnId) {
        for _ in 0..FRAMES_TURN {
            let Some(Entry { conn, session: Some(session) }) = self.conns.get_mut(&id) else { return };
            if !conn.backlog || !conn.is_open_for_frames() {
                return;
            }
            match conn.decoder.next() {
                Ok(Some(body)) => {
                    let after = self.service.frame(id, session, body, &mut self.hands);
                    conn.note_frame();
                    conn.follow(after);
                }
                Ok(None) => {
                    conn.backlog = false;
                    return;
                }
                Err(error) if conn.origin == Origin::Accepted => {
                    if let Some(farewell) = self.service.farewell(&error) {
                        conn.output.push_bytes(farewell);
                    }
                    conn.closing = Some(Closed::Malformed(error));
                }
                Err(error) => self.close(id, &Closed::Malformed(error)),
            }
            self.obey();
        }
    }

    /// Sends a turn's worth of what is queued.
    fn send_some(&mut self, id: ConnId) {
        let Some(Entry { conn, session: Some(session) }) = self.conns.get_mut(&id) else { return };
        if conn.connecting || conn.paced_until.is_some() || conn.output.is_empty() {
            return;
        }
        let (now, rate) = (clock::now(), self.config.rate.as_deref());
        match conn.output.send(&conn.socket, limits::UPLOAD_TURN_BYTES, rate, now) {
            Ok(turn) => {
                if turn.sent_bytes > 0 {
                    conn.note_taken(now);
                }
                if turn.wait_until.is_some() {
                    conn.paced_until = turn.wait_until;
                    self.timers.set(Timer::Pace(id), turn.wait_until);
                }
                for tag in turn.finished {
                    self.service.sent(id, session, tag, &mut self.hands);
                }
                self.obey();
            }
            Err(error) => self.close_and_obey(id, &why(&error)),
        }
    }

    /// Draws the conclusions from a connection's state: whether it ends, what to watch, when it is too late, who makes room.
    fn settle(&mut self, id: ConnId) {
        let Some(Entry { conn, session }) = self.conns.get_mut(&id) else { return };
        let now = clock::now();
        conn.queued = false;
        if conn.output.is_empty() {
            match conn.closing.clone() {
                None if conn.ended && !conn.held && !conn.backlog => {
                    return self.close_and_obey(id, &Closed::Peer);
                }
                Some(why) if session.is_some() => return self.part(id, &why),
                _ if conn.lingers_until.is_some() && conn.ended => {
                    return self.close_and_obey(id, &Closed::Ours);
                }
                _ => {}
            }
        }
        conn.note_turn(now);
        if conn.backlog && conn.is_open_for_frames() {
            conn.queued = true;
            self.turns.push_back(id);
        }
        let interest = conn.interest();
        if interest != conn.watched {
            if let Err(error) = epoll::modify(&self.epoll, &conn.socket, EventData::new_u64(id.0), interest) {
                return self.close_and_obey(id, &Closed::Error(io::Error::from(error).kind()));
            }
            conn.watched = interest;
        }
        self.timers.set(Timer::Deadline(id), conn.due().map(|(at, _)| at));
        if conn.is_incomplete() {
            let address = conn.peer.ip();
            self.incomplete.set(id, address, conn.decoder.waiting_bytes());
            while let Some(oldest) = self.incomplete.victim(address) {
                self.close_and_obey(oldest, &Closed::Evicted);
            }
        } else {
            self.incomplete.remove(id);
        }
    }

    /// Everything is sent: ends the session, and the connection too unless unread input could still reset it under the last reply.
    fn part(&mut self, id: ConnId, why: &Closed) {
        let Some(Entry { conn, session }) = self.conns.get_mut(&id) else { return };
        let lingers = conn.origin == Origin::Accepted && !conn.ended;
        if !lingers || conn.socket.shutdown(Shutdown::Write).is_err() {
            return self.close_and_obey(id, why);
        }
        conn.lingers_until = Some(clock::now() + limits::ms(limits::CLOSE_LINGER_MS));
        if let Some(session) = session.take() {
            self.service.closed(id, session, why, &mut self.hands);
            self.obey();
        }
        self.settle(id);
    }

    /// Ends what has run out of time, lets go on what was waiting for it.
    fn expire(&mut self) {
        let now = clock::now();
        while let Some(timer) = self.timers.pop(now) {
            match timer {
                Timer::Deadline(id) => match self.conns.get(&id).and_then(|entry| entry.conn.due()) {
                    Some((at, why)) if at <= now => self.close_and_obey(id, &why),
                    due => self.timers.set(timer, due.map(|(at, _)| at)),
                },
                Timer::Pace(id) => {
                    if let Some(entry) = self.conns.get_mut(&id) {
                        entry.conn.paced_until = None;
                        entry.conn.note_taken(now);
                        self.give_turn(id);
                    }
                }
                Timer::Listener => {
                    if let Some(listener) = &self.config.listener
                        && watch_listener(&self.epoll, listener).is_err()
                    {
                        self.timers.set(Timer::Listener, Some(now + ACCEPT_REST));
                    }
                }
            }
        }
    }

    // Beginning and ending.

    pub(super) fn new_id(&mut self) -> ConnId {
        self.next_id += 1;
        ConnId(self.next_id)
    }

    /// Takes a connection in; if the system cannot watch it, its session ends at once.
    pub(super) fn insert(&mut self, id: ConnId, mut conn: Conn, session: S::Session) {
        conn.watched = conn.interest();
        match epoll::add(&self.epoll, &conn.socket, EventData::new_u64(id.0), conn.watched) {
            Ok(()) => drop(self.conns.insert(id, Entry { conn, session: Some(session) })),
            Err(error) => self.service.closed(id, session, &why(&error.into()), &mut self.hands),
        }
    }

    /// Takes a connection out, with everything that was kept for it.
    pub(super) fn remove(&mut self, id: ConnId) -> Option<Entry<S::Session>> {
        let entry = self.conns.remove(&id)?;
        self.timers.set(Timer::Deadline(id), None);
        self.timers.set(Timer::Pace(id), None);
        self.incomplete.remove(id);
        // Before the socket is dropped: a descriptor that lives on elsewhere would go on being reported.
        let _was_not_watched = epoll::delete(&self.epoll, &entry.conn.socket);
        Some(entry)
    }

    fn close(&mut self, id: ConnId, why: &Closed) {
        if let Some(Entry { session: Some(session), .. }) = self.remove(id) {
            self.service.closed(id, session, why, &mut self.hands);
        }
    }

    fn close_and_obey(&mut self, id: ConnId, why: &Closed) {
        self.close(id, why);
        self.obey();
    }
}

pub(super) fn why(error: &io::Error) -> Closed {
    match error.kind() {
        ErrorKind::ConnectionRefused => Closed::Refused,
        kind => Closed::Error(kind),
    }
}

fn open_spare() -> Option<File> {
    File::open("/dev/null").ok()
}

/// Several fronts may watch one listener: exclusive, or each connection would wake them all.
fn watch_listener(epoll: &OwnedFd, listener: &TcpListener) -> io::Result<()> {
    let flags = EventFlags::IN | EventFlags::EXCLUSIVE;
    Ok(epoll::add(epoll, listener, EventData::new_u64(LISTENER), flags)?)
}
