//! The readiness loop of one front thread: accepts, reads, actions messages to its service, sends, keeps
//! deadlines and caps.
//!
//! It waits in one place only. Each connection gets a bounded turn (bytes read, messages handed over, bytes
//! sent), so that none delays the others; nothing that a peer or the system does ends the loop or makes it
//! spin. Invariants: only this thread touches its connections; each session ends in exactly one call of
//! `closed`, unless it was handed over or the front itself was dropped.

mod commands;

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::Timespec;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;

use super::client::timespec;
use super::config::FrontConfig;
use super::conn::{Conn, ConnOrigin};
use super::eviction::EvictionPolicy;
use super::listen::{self, dialed};
use super::service::{Closed, ConnActions, ConnId, Service};
use super::timers::Timers;
use crate::proto::Decode;
use crate::rt::{Mailbox, Stop, clock};
use crate::types::limits;

/// Most bytes read from one connection in one turn; one buffer of this size serves all.
const READ_TURN_BYTES: usize = 64 << 10;
/// Most messages handed over from one connection in one turn.
const MESSAGES_TURN: usize = 64;
/// After this time no further message is handed over in the same turn: some requests cost far more than
/// others.
const MESSAGES_TIME: Duration = Duration::from_millis(2);
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

/// Runs a front on this thread until `stop` is triggered; then sends once what the system takes at once, and
/// closes all.
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

pub(super) struct Entry<T, D> {
    pub(super) conn: Conn<D>,
    /// `None` while the connection only lingers.
    pub(super) session: Option<T>,
}

pub(super) struct Front<S: Service> {
    pub(super) service: S,
    config: FrontConfig,
    mailbox: Mailbox<S::Event>,
    stop: Stop,
    epoll: OwnedFd,
    pub(super) conns: HashMap<ConnId, Entry<S::Session, S::Decoder>>,
    next_id: u64,
    /// Connections whose turn it is, whether or not the system reports them.
    turns: VecDeque<ConnId>,
    timers: Timers<Timer>,
    /// Those that are in the way of others.
    room: EvictionPolicy,
    pub(super) actions: ConnActions<S::Session, S::Decoder>,
    scratch: Vec<u8>,
    /// Given up for a moment when no other descriptor is left, to turn a client away instead of leaving it
    /// waiting.
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
        let room = EvictionPolicy::new(&config);
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
            room,
            actions: ConnActions::default(),
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
                // A connection that cannot be set up is one that has just broken, or has no room: dropped,
                // the next one may do.
                Ok((socket, peer)) => drop(self.let_in(socket, peer)),
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock => return,
                    ErrorKind::Interrupted | ErrorKind::ConnectionAborted => {}
                    _ => return self.rest_listener(&listener, &error),
                },
            }
        }
    }

    /// Accepting failed, usually for lack of descriptors or memory: it rests for a while. Without a
    /// descriptor, one waiting client is turned away, so that it does not wait in vain.
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
        let local = listen::accepted(&socket)?;
        let session = self.service.accepted(peer, local);
        let id = self.new_id();
        self.insert(id, Conn::new(socket, peer, ConnOrigin::Accepted, clock::now()), session);
        self.obey();
        self.settle(id);
        Ok(())
    }

    fn take_mail(&mut self) {
        self.mailbox.clear();
        for _ in 0..EVENTS_TURN {
            let Some(event) = self.mailbox.next() else { return };
            self.service.event(event, &mut self.actions);
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
        self.hand_over_messages(id);
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

    /// Hands over what messages there are, up to a turn's worth.
    fn hand_over_messages(&mut self, id: ConnId) {
        let until = clock::now() + MESSAGES_TIME;
        for number in 0..MESSAGES_TURN {
            if number > 0 && clock::now() >= until {
                return;
            }
            let Some(Entry { conn, session: Some(session) }) = self.conns.get_mut(&id) else { return };
            if !conn.backlog || !conn.is_open_for_messages() {
                return;
            }
            match conn.decoder.next() {
                Ok(Some(message)) => {
                    let after = self.service.message(id, session, message, &mut self.actions);
                    conn.note_message();
                    conn.follow(after);
                }
                Ok(None) => {
                    conn.backlog = false;
                    return;
                }
                Err(error) if conn.origin == ConnOrigin::Accepted => {
                    if let Some(farewell) = self.service.farewell(&error) {
                        conn.output.push_bytes(farewell);
                    }
                    conn.closing = Some(Closed::Malformed);
                }
                Err(_) => self.close(id, &Closed::Malformed),
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
                    self.room.took(id);
                }
                if turn.wait_until.is_some() {
                    conn.paced_until = turn.wait_until;
                    self.timers.set(Timer::Pace(id), turn.wait_until);
                }
                if turn.file_bytes > 0 {
                    self.service.file_sent(session, turn.file_bytes);
                }
                for tag in turn.finished {
                    self.service.sent(id, session, tag, &mut self.actions);
                }
                self.obey();
            }
            Err(error) => self.close_and_obey(id, &why(&error)),
        }
    }

    /// Draws the conclusions from a connection's state: whether it ends, what to watch, when it is too late,
    /// who makes room.
    fn settle(&mut self, id: ConnId) {
        let Some(Entry { conn, session }) = self.conns.get_mut(&id) else { return };
        let now = clock::now();
        conn.queued = false;
        if conn.output.is_empty() {
            match conn.closing.clone() {
                // The end is only read once nothing is held and every message was handed over.
                None if conn.ended => return self.close_and_obey(id, &Closed::Peer),
                Some(why) if session.is_some() => return self.part(id, &why),
                _ if conn.lingers_until.is_some() && conn.ended => {
                    return self.close_and_obey(id, &Closed::Ours);
                }
                _ => {}
            }
        }
        conn.note_turn(now);
        if conn.backlog && conn.is_open_for_messages() {
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
        self.timers.set(Timer::Deadline(id), conn.due(&self.config.deadlines).map(|(at, _)| at));
        let address = conn.peer.ip();
        self.room.settle(id, conn);
        while let Some(oldest) = self.room.victim(address) {
            self.close_and_obey(oldest, &Closed::Evicted);
        }
    }

    /// Everything is sent: ends the session, and the connection too unless unread input could still reset it
    /// under the last reply.
    fn part(&mut self, id: ConnId, why: &Closed) {
        let Some(Entry { conn, session }) = self.conns.get_mut(&id) else { return };
        let lingers = conn.origin == ConnOrigin::Accepted && !conn.ended;
        if !lingers || conn.socket.shutdown(Shutdown::Write).is_err() {
            return self.close_and_obey(id, why);
        }
        conn.lingers_until = Some(clock::now() + limits::ms(limits::CLOSE_LINGER_MS));
        if let Some(session) = session.take() {
            self.service.closed(id, session, why, &mut self.actions);
            self.obey();
        }
        self.settle(id);
    }

    /// Ends what has run out of time, lets go on what was waiting for it.
    fn expire(&mut self) {
        let now = clock::now();
        while let Some(timer) = self.timers.pop(now) {
            match timer {
                Timer::Deadline(id) => {
                    let Some(Entry { conn, .. }) = self.conns.get(&id) else { continue };
                    match conn.due(&self.config.deadlines) {
                        Some((at, why)) if at <= now => self.close_and_obey(id, &why),
                        due => self.timers.set(timer, due.map(|(at, _)| at)),
                    }
                }
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
    pub(super) fn insert(&mut self, id: ConnId, mut conn: Conn<S::Decoder>, session: S::Session) {
        conn.watched = conn.interest();
        match epoll::add(&self.epoll, &conn.socket, EventData::new_u64(id.0), conn.watched) {
            Ok(()) => drop(self.conns.insert(id, Entry { conn, session: Some(session) })),
            Err(error) => self.service.closed(id, session, &why(&error.into()), &mut self.actions),
        }
    }

    /// Takes a connection out, with everything that was kept for it.
    pub(super) fn remove(&mut self, id: ConnId) -> Option<Entry<S::Session, S::Decoder>> {
        let entry = self.conns.remove(&id)?;
        self.timers.set(Timer::Deadline(id), None);
        self.timers.set(Timer::Pace(id), None);
        self.room.remove(id);
        // Before the socket is dropped: a descriptor that lives on elsewhere would go on being reported.
        let _was_not_watched = epoll::delete(&self.epoll, &entry.conn.socket);
        Some(entry)
    }

    fn close(&mut self, id: ConnId, why: &Closed) {
        let Some(Entry { conn, session }) = self.remove(id) else { return };
        if matches!(why, Closed::Stalled | Closed::Evicted) {
            conn.reset_if_untaken();
        }
        drop(conn);
        if let Some(session) = session {
            self.service.closed(id, session, why, &mut self.actions);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::{Deadlines, DetachedConn, NextRead, TokenBucket, listen};
    use crate::proto::{Decoder, FrameError};
    use crate::rt::{Post, Threads, mailbox};
    use crossbeam_channel::{Receiver, Sender, unbounded};
    use socket2::{Domain, SockRef, Socket, Type};
    use std::io::{Read, Write};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    /// Length of a long answer.
    const BIG_BYTES: usize = 1 << 20;

    /// A service that does what the first byte of each frame says, and tells the test what happens.
    struct Desk {
        news: Sender<News>,
        file: Arc<File>,
        file_bytes: u64,
        /// Where connections are moved to.
        other: Option<Post<Event>>,
    }

    #[derive(Debug, PartialEq)]
    enum News {
        Frame(ConnId, Vec<u8>),
        Malformed(FrameError),
        Sent(u64),
        Closed(Closed),
        CpuNs(u64),
    }

    enum Event {
        /// Answers a held request.
        Answer(ConnId, &'static [u8]),
        Adopt(DetachedConn, Vec<u8>),
        Connect(SocketAddr, Duration),
        AskCpu,
    }

    impl Desk {
        fn tell(&self, news: News) {
            let _test_is_over = self.news.send(news);
        }
    }

    impl Service for Desk {
        type Session = ();
        type Event = Event;
        type Decoder = Decoder;

        fn accepted(&mut self, _peer: SocketAddr, _local: SocketAddr) {}

        fn message(
            &mut self,
            id: ConnId,
            _: &mut (),
            body: &[u8],
            actions: &mut ConnActions<()>,
        ) -> NextRead {
            match (body[0], self.other.clone()) {
                (b'h', _) => {
                    self.tell(News::Frame(id, body.to_vec()));
                    return NextRead::Hold;
                }
                (b'm', Some(other)) => {
                    let body = body.to_vec();
                    actions
                        .hand_over(id, move |parts| assert!(other.send(Event::Adopt(parts, body)).is_ok()));
                    return NextRead::Next;
                }
                (b'f', _) => {
                    actions.send(id, envelope(body));
                    actions.send_file(
                        id,
                        Arc::clone(&self.file),
                        0..self.file_bytes,
                        u64::from(body[1] - b'0'),
                    );
                }
                (b'k' | b'u', _) => {
                    actions.keep_idle(id, body[0] == b'k');
                    actions.send(id, envelope(body));
                }
                (b'b', _) => {
                    self.tell(News::Frame(id, body.to_vec()));
                    actions.send(id, envelope(&[b'b'; BIG_BYTES]));
                }
                (b's', _) => {
                    let done = clock::now() + Duration::from_millis(20);
                    while clock::now() < done {}
                    actions.send(id, envelope(body));
                }
                (b'!', _) => self.tell(News::Frame(id, body.to_vec())),
                _ => actions.send(id, envelope(body)),
            }
            if body[0] == b'c' { NextRead::Close } else { NextRead::Next }
        }

        fn farewell(&mut self, error: &FrameError) -> Option<Vec<u8>> {
            self.tell(News::Malformed(error.clone()));
            Some(envelope(b"farewell"))
        }

        fn event(&mut self, event: Event, actions: &mut ConnActions<()>) {
            match event {
                Event::Answer(id, answer) => {
                    actions.send(id, envelope(answer));
                    actions.release(id);
                }
                Event::Adopt(parts, body) => actions.adopt(parts, (), body),
                Event::Connect(endpoint, deadline) => {
                    actions.connect(endpoint, None, (), envelope(b"!"), deadline)
                }
                Event::AskCpu => {
                    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").expect("linux");
                    let ns = stat.split(' ').next().and_then(|ns| ns.parse().ok()).expect("a number");
                    self.tell(News::CpuNs(ns));
                }
            }
        }

        fn sent(&mut self, _: ConnId, _: &mut (), tag: u64, _: &mut ConnActions<()>) {
            self.tell(News::Sent(tag));
        }

        fn closed(&mut self, _: ConnId, _: (), why: &Closed, _: &mut ConnActions<()>) {
            self.tell(News::Closed(why.clone()));
        }
    }

    fn envelope(body: &[u8]) -> Vec<u8> {
        let mut bytes = crate::proto::frame::MAGIC.to_vec();
        bytes.extend_from_slice(&(body.len() as u32).to_le_bytes());
        bytes.extend_from_slice(body);
        bytes
    }

    /// A running front; ends with the test.
    struct Running {
        addr: SocketAddr,
        post: Post<Event>,
        news: Receiver<News>,
        stop: Stop,
        threads: Threads,
    }

    struct Setup {
        incomplete_max: usize,
        idle_max: Option<usize>,
        files_max: usize,
        output_max_bytes: usize,
        deadlines: Deadlines,
        rate: Option<Arc<TokenBucket>>,
        file: Vec<u8>,
        /// By how many bytes the service believes the file to be longer.
        missing_bytes: u64,
        other: Option<Post<Event>>,
    }

    impl Default for Setup {
        fn default() -> Setup {
            Setup {
                incomplete_max: 1000,
                idle_max: None,
                files_max: 1000,
                output_max_bytes: limits::OUTPUT_MAX_BYTES,
                deadlines: Deadlines::default(),
                rate: None,
                file: Vec::new(),
                missing_bytes: 0,
                other: None,
            }
        }
    }

    impl Setup {
        fn start(self) -> Running {
            self.start_on(Arc::new(listen("127.0.0.1:0".parse().expect("an address")).expect("a free port")))
        }

        fn start_on(self, listener: Arc<TcpListener>) -> Running {
            let addr = listener.local_addr().expect("bound");
            let (post, mail) = mailbox(64).expect("a descriptor");
            let (news_sender, news) = unbounded();
            let (stop, threads) = (Stop::new().expect("a descriptor"), Threads::new());
            let mut file = tempfile::tempfile().expect("a file");
            file.write_all(&self.file).expect("room");
            let desk = Desk {
                news: news_sender,
                file: Arc::new(file),
                file_bytes: self.file.len() as u64 + self.missing_bytes,
                other: self.other,
            };
            let config = FrontConfig {
                listener: Some(listener),
                incomplete_max: self.incomplete_max,
                incomplete_per_address_max: 1000,
                idle_max: self.idle_max,
                files_max: self.files_max,
                files_per_address_max: 1000,
                output_max_bytes: self.output_max_bytes,
                rate: self.rate,
                deadlines: self.deadlines,
            };
            let front_stop = stop.clone();
            let work = move || run(desk, config, mail, front_stop).expect("the system can wait");
            threads.spawn("front", work).expect("a thread");
            Running { addr, post, news, stop, threads }
        }
    }

    impl Running {
        fn connect(&self) -> TcpStream {
            let client = TcpStream::connect(self.addr).expect("it listens");
            client.set_read_timeout(Some(Duration::from_secs(10))).expect("a valid time");
            client.set_nodelay(true).expect("a socket");
            client
        }

        fn next_news(&self) -> News {
            self.news.recv_timeout(Duration::from_secs(10)).expect("something happens")
        }

        fn cpu_ns(&self) -> u64 {
            self.tell(Event::AskCpu);
            match self.next_news() {
                News::CpuNs(ns) => ns,
                other => panic!("{other:?}"),
            }
        }

        fn tell(&self, event: Event) {
            assert!(self.post.send(event).is_ok(), "mailbox full");
        }

        /// For some time nothing happens and hardly any time is computed.
        fn assert_rests(&self) {
            let before = self.cpu_ns();
            let quiet = self.news.recv_timeout(Duration::from_millis(150));
            assert!(quiet.is_err(), "{quiet:?}");
            let spent = self.cpu_ns() - before;
            assert!(spent < 50_000_000, "the front spins: {spent} ns of 150 ms");
        }
    }

    impl Drop for Running {
        fn drop(&mut self) {
            self.stop.trigger();
            let report = self.threads.join(clock::now() + Duration::from_secs(10));
            assert!(std::thread::panicking() || report.is_clean(), "{report:?}");
        }
    }

    /// The next frame; `None` at the end.
    fn receive(client: &mut TcpStream, decoder: &mut Decoder) -> Option<Vec<u8>> {
        let mut scratch = [0; 1000];
        loop {
            if let Some(body) = decoder.next().expect("frames") {
                return Some(body.to_vec());
            }
            match client.read(&mut scratch).expect("no reset, and in time") {
                0 => return None,
                len => decoder.push(&scratch[..len]),
            }
        }
    }

    fn ask(client: &mut TcpStream, body: &[u8]) -> Option<Vec<u8>> {
        client.write_all(&envelope(body)).expect("taken");
        receive(client, &mut Decoder::new())
    }

    fn noise(len: usize) -> Vec<u8> {
        (0..len as u64).map(|at| (at.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect()
    }

    #[test]
    fn requests_are_answered_in_order_however_they_are_cut() {
        let front = Setup::default().start();
        let requests: Vec<Vec<u8>> = (0..1000).map(|number| format!("e{number}").into_bytes()).collect();
        let stream: Vec<u8> = requests.iter().flat_map(|body| envelope(body)).collect();
        for step in [1, 7, stream.len()] {
            let mut client = front.connect();
            let part = if step == 1 { &stream[..1200] } else { &stream[..] };
            let mut writer = client.try_clone().expect("a descriptor");
            std::thread::scope(|scope| {
                scope.spawn(move || {
                    part.chunks(step).for_each(|bytes| writer.write_all(bytes).expect("taken"))
                });
                let mut decoder = Decoder::new();
                for request in requests.iter().take(if step == 1 { 100 } else { 1000 }) {
                    assert_eq!(receive(&mut client, &mut decoder).as_ref(), Some(request));
                }
            });
        }
    }

    #[test]
    fn a_crowd_of_costly_requests_does_not_hold_up_those_of_others() {
        let front = Setup::default().start();
        let (mut crowd, mut other) = (front.connect(), front.connect());
        let began = clock::now();
        crowd.write_all(&envelope(b"s").repeat(64)).expect("taken");
        let mut decoder = Decoder::new();
        assert_eq!(receive(&mut crowd, &mut decoder), Some(b"s".to_vec()));
        assert_eq!(ask(&mut other, b"e"), Some(b"e".to_vec()));
        assert!(clock::now() - began < Duration::from_millis(64 * 20), "all of the crowd came first");
        for _ in 1..64 {
            assert_eq!(receive(&mut crowd, &mut decoder), Some(b"s".to_vec()));
        }
    }

    #[test]
    fn what_is_no_frame_gets_a_farewell_and_the_others_are_served() {
        let front = Setup::default().start();
        let mut other = front.connect();
        assert_eq!(ask(&mut other, b"e1"), Some(b"e1".to_vec()));
        let too_long = [&b"NPR\x01\xff\xff\xff\x7f"[..], &noise(300_000)].concat();
        for (bytes, error) in [
            (&b"GET / HTTP/1.1\r\n\r\n"[..], FrameError::Magic(*b"GET ")),
            (&too_long, FrameError::TooLong { claimed: 0x7fff_ffff, max: limits::FRAME_MAX_BYTES }),
        ] {
            let mut client = front.connect();
            client.write_all(bytes).expect("taken");
            let mut decoder = Decoder::new();
            assert_eq!(receive(&mut client, &mut decoder), Some(b"farewell".to_vec()));
            assert_eq!(receive(&mut client, &mut decoder), None, "closed in order, not reset");
            assert_eq!(front.next_news(), News::Malformed(error));
            assert_eq!(front.next_news(), News::Closed(Closed::Malformed));
        }
        assert_eq!(ask(&mut other, b"e2"), Some(b"e2".to_vec()));
    }

    #[test]
    fn idle_connections_make_room_for_an_honest_request() {
        crate::net::raise_file_limit();
        let front = Setup { incomplete_max: 64, ..Setup::default() }.start();
        let mut proven = front.connect();
        assert_eq!(ask(&mut proven, b"e1"), Some(b"e1".to_vec()));
        let mut idle: Vec<TcpStream> = (0..300).map(|_| front.connect()).collect();
        let mut honest = front.connect();
        assert_eq!(ask(&mut honest, b"e2"), Some(b"e2".to_vec()));
        for client in &mut idle[..300 - 64] {
            assert_eq!(receive(client, &mut Decoder::new()), None, "the oldest were closed");
            assert_eq!(front.next_news(), News::Closed(Closed::Evicted));
        }
        assert_eq!(ask(&mut idle[299], b"e3"), Some(b"e3".to_vec()), "the youngest was kept");
        assert_eq!(ask(&mut proven, b"e4"), Some(b"e4".to_vec()), "idle after a request is not incomplete");
    }

    #[test]
    fn of_too_many_that_are_idle_the_longest_idle_one_goes() {
        let front = Setup { idle_max: Some(2), ..Setup::default() }.start();
        let mut clients = [front.connect(), front.connect(), front.connect()];
        for index in [0, 1, 0, 2] {
            assert_eq!(ask(&mut clients[index], b"e"), Some(b"e".to_vec()));
        }
        assert_eq!(front.next_news(), News::Closed(Closed::Evicted));
        assert_eq!(receive(&mut clients[1], &mut Decoder::new()), None);
        for index in [0, 2] {
            assert_eq!(ask(&mut clients[index], b"e"), Some(b"e".to_vec()));
        }
    }

    #[test]
    fn of_too_many_that_are_sent_a_file_the_one_longest_without_progress_goes() {
        let file = noise(24 << 20);
        let front = Setup { file: file.clone(), files_max: 2, ..Setup::default() }.start();
        let begin = || {
            // Takes in little of what it does not read, so that the front has a lot left to send.
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
            socket.set_recv_buffer_size(8 << 10).expect("a socket");
            socket.connect(&front.addr.into()).expect("it listens");
            let mut client = TcpStream::from(socket);
            client.set_read_timeout(Some(Duration::from_secs(10))).expect("a valid time");
            client.write_all(&envelope(b"f1")).expect("taken");
            client.read_exact(&mut vec![0; envelope(b"f1").len() + 1]).expect("it is begun");
            client
        };
        let (mut first, mut second) = (begin(), begin());
        // More than what waits in sockets: the first takes what the front had yet to send.
        let mut taken = vec![0; file.len() - 1];
        first.read_exact(&mut taken[..12 << 20]).expect("sent");
        let third = begin();
        assert_eq!(front.next_news(), News::Closed(Closed::Evicted));
        let mut rest = Vec::new();
        assert!(second.read_to_end(&mut rest).is_err() || rest.len() < file.len() - 1, "it is the second");
        first.read_exact(&mut taken[12 << 20..]).expect("the first goes on");
        assert_eq!(front.next_news(), News::Sent(1));
        drop(third);
    }

    #[test]
    fn a_half_closed_client_gets_its_whole_answer() {
        let file = noise(8 << 20);
        let front = Setup { file: file.clone(), ..Setup::default() }.start();
        let mut client = front.connect();
        client.write_all(&envelope(b"f1")).expect("taken");
        client.shutdown(Shutdown::Write).expect("connected");
        let mut got = Vec::new();
        client.read_to_end(&mut got).expect("no reset");
        assert!(got == [envelope(b"f1"), file].concat());
        assert_eq!([front.next_news(), front.next_news()], [News::Sent(1), News::Closed(Closed::Peer)]);
    }

    #[test]
    fn a_half_closed_held_connection_neither_spins_nor_loses_its_answer() {
        let front = Setup::default().start();
        let mut client = front.connect();
        client.write_all(&[envelope(b"h"), envelope(b"e")].concat()).expect("taken");
        client.shutdown(Shutdown::Write).expect("connected");
        let News::Frame(id, _) = front.next_news() else { panic!("held first") };
        front.assert_rests();
        front.tell(Event::Answer(id, b"late"));
        let mut got = Vec::new();
        client.read_to_end(&mut got).expect("no reset");
        assert_eq!(got, [envelope(b"late"), envelope(b"e")].concat());
        assert_eq!(front.next_news(), News::Closed(Closed::Peer));
    }

    #[test]
    fn a_held_request_is_answered_before_the_next_is_handed_over() {
        let front = Setup::default().start();
        let mut client = front.connect();
        let bytes = [envelope(b"h1"), envelope(b"e"), envelope(b"h2"), envelope(b"c")].concat();
        client.write_all(&bytes).expect("taken");
        let mut decoder = Decoder::new();
        let News::Frame(id, body) = front.next_news() else { panic!("held first") };
        assert_eq!(body, b"h1");
        front.tell(Event::Answer(id, b"1"));
        assert_eq!(front.next_news(), News::Frame(id, b"h2".to_vec()));
        front.tell(Event::Answer(id, b"2"));
        for expected in [&b"1"[..], b"e", b"2", b"c"] {
            assert_eq!(receive(&mut client, &mut decoder), Some(expected.to_vec()));
        }
        assert_eq!(receive(&mut client, &mut decoder), None, "closed after its last answer");
        assert_eq!(front.next_news(), News::Closed(Closed::Ours));
    }

    #[test]
    fn a_connection_moves_to_another_front_with_what_it_has_buffered() {
        let second = Setup::default().start();
        let first = Setup { other: Some(second.post.clone()), ..Setup::default() }.start();
        let mut client = first.connect();
        let bytes = [envelope(b"e1"), envelope(b"m"), envelope(b"e2"), envelope(b"e3")].concat();
        client.write_all(&bytes[..bytes.len() - 1]).expect("taken");
        let mut decoder = Decoder::new();
        for expected in [&b"e1"[..], b"m", b"e2"] {
            assert_eq!(receive(&mut client, &mut decoder), Some(expected.to_vec()));
        }
        client.write_all(&bytes[bytes.len() - 1..]).expect("taken");
        assert_eq!(receive(&mut client, &mut decoder), Some(b"e3".to_vec()));
        client.write_all(&envelope(b"h")).expect("taken");
        assert!(matches!(second.next_news(), News::Frame(..)), "it is the second front that serves it");
        assert!(first.news.is_empty(), "the session of the first ended without a word");
    }

    #[test]
    fn a_reader_that_does_not_read_delays_nobody() {
        let file = noise(3 << 20);
        let front = Setup { file: file.clone(), ..Setup::default() }.start();
        let (mut slow, mut fast) = (front.connect(), front.connect());
        slow.write_all(&[envelope(b"f1"), envelope(b"f1")].concat()).expect("taken");
        let expected = [envelope(b"f2"), file.clone()].concat();
        fast.write_all(&envelope(b"f2")).expect("taken");
        let mut got = vec![0; expected.len()];
        fast.read_exact(&mut got).expect("sent");
        assert!(got == expected);
        let expected = [envelope(b"f1"), file.clone(), envelope(b"f1"), file].concat();
        let mut got = vec![0; expected.len()];
        got.chunks_mut(10_000).for_each(|part| slow.read_exact(part).expect("sent"));
        assert!(got == expected);
        let mut tags: Vec<News> = (0..3).map(|_| front.next_news()).collect();
        tags.sort_by_key(|news| format!("{news:?}"));
        assert_eq!(tags, [News::Sent(1), News::Sent(1), News::Sent(2)]);
    }

    /// A front, all of one address, whose connections take in little that is not read.
    fn start_with_small_buffers(setup: Setup) -> Running {
        let listener = listen("127.0.0.1:0".parse().expect("an address")).expect("a free port");
        SockRef::from(&listener).set_send_buffer_size(64 << 10).expect("a socket");
        setup.start_on(Arc::new(listener))
    }

    fn connect_with_small_buffer(front: &Running) -> TcpStream {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.set_recv_buffer_size(64 << 10).expect("a socket");
        socket.connect(&front.addr.into()).expect("it listens");
        let client = TcpStream::from(socket);
        client.set_read_timeout(Some(Duration::from_secs(10))).expect("a valid time");
        client
    }

    #[test]
    fn who_takes_no_reply_is_not_asked_for_a_further_request() {
        let front = start_with_small_buffers(Setup::default());
        let mut client = connect_with_small_buffer(&front);
        client.write_all(&envelope(b"b").repeat(30)).expect("taken");
        assert!(matches!(front.next_news(), News::Frame(..)));
        front.assert_rests();
        let mut decoder = Decoder::new();
        for _ in 0..30 {
            assert_eq!(receive(&mut client, &mut decoder).map(|body| body.len()), Some(BIG_BYTES));
        }
    }

    #[test]
    fn who_takes_no_reply_for_longest_makes_room() {
        // Room for three long answers of one address.
        let output_max_bytes = limits::OUTPUT_SHARE * (7 * BIG_BYTES / 2);
        let front = start_with_small_buffers(Setup { output_max_bytes, ..Setup::default() });
        let mut clients = Vec::new();
        let begin = || {
            let mut client = connect_with_small_buffer(&front);
            client.write_all(&envelope(b"b").repeat(2)).expect("taken");
            assert!(matches!(front.next_news(), News::Frame(..)));
            (client, Decoder::new())
        };
        clients.extend([begin(), begin(), begin()]);
        // The system sends a last part, smaller than it likes to, some 200 ms later.
        (0..3).for_each(|_| front.assert_rests());
        // The first takes another part of its answer.
        let mut part = vec![0; BIG_BYTES / 2];
        let (client, decoder) = &mut clients[0];
        client.read_exact(&mut part).expect("sent");
        decoder.push(&part);
        front.assert_rests();
        clients.push(begin());
        assert_eq!(front.next_news(), News::Closed(Closed::Evicted));
        // Longest without progress was one of the others, of which the system keeps nothing either.
        let known = std::fs::read_to_string("/proc/net/tcp").expect("linux");
        let is_known = |(client, _): &(TcpStream, Decoder)| {
            let port = client.local_addr().expect("connected").port();
            known.contains(&format!(" 0100007F:{:04X} 0100007F:{port:04X} ", front.addr.port()))
        };
        assert!(is_known(&clients[0]), "it has taken something since");
        clients.retain(is_known);
        assert_eq!(clients.len(), 3);
        for (client, decoder) in &mut clients {
            for _ in 0..2 {
                assert_eq!(receive(client, decoder).map(|body| body.len()), Some(BIG_BYTES));
            }
        }
    }

    #[test]
    fn each_wait_has_its_end() {
        let (short, long) = (Duration::from_millis(100), Duration::from_secs(100));
        let all_long = Deadlines { request: long, idle: long, write_stall: long };
        for (name, deadlines, bytes, end) in [
            ("first request", Deadlines { request: short, ..all_long }, vec![], Closed::Deadline),
            (
                "rest of a request",
                Deadlines { request: short, ..all_long },
                [envelope(b"e"), b"NPR".to_vec()].concat(),
                Closed::Deadline,
            ),
            ("next request", Deadlines { idle: short, ..all_long }, envelope(b"e"), Closed::Deadline),
            (
                "kept, and not any more",
                Deadlines { idle: short, ..all_long },
                { [envelope(b"k"), envelope(b"u")].concat() },
                Closed::Deadline,
            ),
            ("reading", Deadlines { write_stall: short, ..all_long }, envelope(b"f1"), Closed::Stalled),
        ] {
            let front =
                start_with_small_buffers(Setup { deadlines, file: noise(8 << 20), ..Setup::default() });
            let mut client = connect_with_small_buffer(&front);
            client.write_all(&bytes).expect("taken");
            assert_eq!(front.next_news(), News::Closed(end), "{name}");
        }
    }

    #[test]
    fn a_kept_connection_outlives_others_that_are_idle() {
        let deadlines = Deadlines { idle: Duration::from_millis(100), ..Deadlines::default() };
        let front = Setup { deadlines, ..Setup::default() }.start();
        let mut kept = front.connect();
        assert_eq!(ask(&mut kept, b"k"), Some(b"k".to_vec()));
        for _ in 0..2 {
            let mut other = front.connect();
            assert_eq!(ask(&mut other, b"e"), Some(b"e".to_vec()));
            assert_eq!(front.next_news(), News::Closed(Closed::Deadline));
        }
        assert_eq!(ask(&mut kept, b"u"), Some(b"u".to_vec()));
        assert_eq!(front.next_news(), News::Closed(Closed::Deadline));
    }

    #[test]
    fn an_accepted_connection_finds_out_that_the_other_machine_is_gone() {
        let (post, mail) = mailbox(1).expect("a descriptor");
        let front = Setup { other: Some(post), ..Setup::default() }.start();
        let mut client = front.connect();
        client.write_all(&envelope(b"m")).expect("taken");
        mail.wait(&front.stop, Some(clock::now() + Duration::from_secs(10)));
        let Some(Event::Adopt(parts, _)) = mail.next() else { panic!("moved here") };
        let socket = SockRef::from(&parts.socket);
        assert!(socket.keepalive().expect("a socket"));
        assert_eq!(socket.tcp_keepalive_time().expect("a socket"), limits::ms(limits::KEEP_ALIVE_MS));
    }

    #[test]
    fn a_file_shorter_than_promised_ends_the_connection() {
        let front = Setup { file: noise(1000), missing_bytes: 1, ..Setup::default() }.start();
        let mut client = front.connect();
        client.write_all(&envelope(b"f1")).expect("taken");
        let mut got = Vec::new();
        client.read_to_end(&mut got).expect("no reset");
        assert_eq!(got.len(), envelope(b"f1").len() + 1000);
        assert_eq!(front.next_news(), News::Closed(Closed::Error(ErrorKind::UnexpectedEof)));
    }

    #[test]
    fn a_limited_upload_rests_between_its_turns_and_answers_meanwhile() {
        let file = noise((64 << 10) + 3000);
        // A full burst at once, then 10 kB/s: the front has 300 ms in which it could spin.
        let rate = Some(Arc::new(TokenBucket::new(Some(10_000))));
        let front = Setup { file: file.clone(), rate, ..Setup::default() }.start();
        let (mut client, mut other) = (front.connect(), front.connect());
        client.write_all(&envelope(b"f1")).expect("taken");
        let expected = [envelope(b"f1"), file].concat();
        let mut got = vec![0; expected.len()];
        client.read_exact(&mut got[..64 << 10]).expect("sent");
        front.assert_rests();
        assert_eq!(ask(&mut other, b"e"), Some(b"e".to_vec()), "frames are not limited");
        client.read_exact(&mut got[64 << 10..]).expect("sent");
        assert!(got == expected);
        assert_eq!(front.next_news(), News::Sent(1));
    }

    #[test]
    fn two_limited_readers_progress_by_turns() {
        const FILE_BYTES: usize = 300 << 10;
        let rate = Some(Arc::new(TokenBucket::new(Some(1_000_000))));
        let front = Setup { file: noise(FILE_BYTES), rate, ..Setup::default() }.start();
        let got = [0, 1].map(|_| AtomicUsize::new(0));
        let other_had = std::thread::scope(|scope| {
            let reading = [0, 1].map(|this: usize| {
                let (mut client, got) = (front.connect(), &got);
                client.write_all(&envelope(b"f1")).expect("taken");
                scope.spawn(move || {
                    let mut scratch = [0; 1000];
                    while got[this].load(Relaxed) < FILE_BYTES {
                        got[this].fetch_add(client.read(&mut scratch).expect("in time"), Relaxed);
                    }
                    got[1 - this].load(Relaxed)
                })
            });
            reading.map(|reader| reader.join().expect("no panic"))
        });
        // A burst of 100 kB may go to one of them; what follows is shared.
        let less = other_had[0].min(other_had[1]);
        assert!(less > FILE_BYTES / 3, "one waited while the other got all: {other_had:?}");
    }

    #[test]
    fn outgoing_connections_are_answered_refused_or_late() {
        let front = Setup::default().start();
        let server = Setup::default().start();
        let long = Duration::from_secs(10);
        // The server tells the test of the frame; the answer is the test's.
        front.tell(Event::Connect(server.addr, long));
        let News::Frame(..) = server.next_news() else { panic!("asked") };
        let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let endpoint = silent.local_addr().expect("bound");
        front.tell(Event::Connect(endpoint, Duration::from_millis(50)));
        assert_eq!(front.next_news(), News::Closed(Closed::Deadline));
        let (silent_end, _) = silent.accept().expect("asked");
        drop((silent, silent_end));
        front.tell(Event::Connect(endpoint, long));
        assert_eq!(front.next_news(), News::Closed(Closed::Refused));
        let answering = TcpListener::bind("127.0.0.1:0").expect("a free port");
        front.tell(Event::Connect(answering.local_addr().expect("bound"), long));
        let (mut peer, _) = answering.accept().expect("asked");
        let mut asked = vec![0; envelope(b"!").len()];
        peer.read_exact(&mut asked).expect("sent");
        assert_eq!(asked, envelope(b"!"));
        peer.write_all(&envelope(b"!answer")).expect("taken");
        let News::Frame(_, body) = front.next_news() else { panic!("answered") };
        assert_eq!(body, b"!answer");
        drop(peer);
        assert_eq!(front.next_news(), News::Closed(Closed::Peer), "the end is noticed at once");
    }

    #[test]
    fn a_stop_closes_every_connection_and_says_so() {
        let front = Setup::default().start();
        let mut clients = [front.connect(), front.connect()];
        for client in &mut clients {
            assert_eq!(ask(client, b"e"), Some(b"e".to_vec()));
        }
        front.stop.trigger();
        for client in &mut clients {
            assert_eq!(receive(client, &mut Decoder::new()), None);
            assert_eq!(front.next_news(), News::Closed(Closed::Ours));
        }
    }

    #[test]
    fn two_fronts_share_a_listener() {
        crate::net::raise_file_limit();
        let listener = Arc::new(listen("127.0.0.1:0".parse().expect("an address")).expect("a free port"));
        let addr = listener.local_addr().expect("bound");
        let both = [0, 1].map(|_| Setup::default().start_on(Arc::clone(&listener)));
        let clients: Vec<_> = (0..200)
            .map(|_| {
                let mut client = TcpStream::connect(addr).expect("it listens");
                client.write_all(&envelope(b"e")).expect("taken");
                client
            })
            .collect();
        for mut client in clients {
            assert_eq!(receive(&mut client, &mut Decoder::new()), Some(b"e".to_vec()));
        }
        drop(both);
    }

    /// Set in a process that this test starts, where few descriptors are left.
    const FEW_FILES: &str = "NEARPEER_TEST_FEW_FILES";

    #[test]
    fn out_of_descriptors_some_are_turned_away_and_the_next_are_served() {
        use rustix::process::{Resource, Rlimit, setrlimit};
        if std::env::var_os(FEW_FILES).is_some() {
            let few = Rlimit { current: Some(40), maximum: Some(40) };
            setrlimit(Resource::Nofile, few).expect("lower is allowed");
            let front = Setup::default().start();
            std::fs::write("/dev/stderr", format!("\nfront at {}\n", front.addr)).expect("a pipe");
            // Until the test is over.
            let _end = io::stdin().read_to_end(&mut Vec::new());
            return;
        }
        let mut child = std::process::Command::new(std::env::current_exe().expect("this test"))
            .args(["out_of_descriptors_some_are_turned_away_and_the_next_are_served", "--nocapture"])
            .env(FEW_FILES, "1")
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .expect("a process");
        let lines = io::BufRead::lines(io::BufReader::new(child.stderr.take().expect("piped")));
        let addr: SocketAddr = lines
            .map(|line| line.expect("text"))
            .find_map(|line| line.strip_prefix("front at ")?.parse().ok())
            .expect("it says where");
        let connect = || {
            let client = TcpStream::connect(addr).expect("it listens");
            client.set_read_timeout(Some(Duration::from_secs(10))).expect("a valid time");
            client
        };
        let crowd: Vec<TcpStream> = (0..60).map(|_| connect()).collect();
        // 60 do not fit 40 descriptors: the last of the queue are turned away, one each time accepting is
        // tried again.
        let mut last = crowd.last().expect("60");
        assert_eq!(last.read(&mut [0]).expect("not left waiting"), 0, "turned away");
        drop(crowd);
        // Nobody is left: everything is served again.
        let mut client = connect();
        assert_eq!(ask(&mut client, b"e"), Some(b"e".to_vec()));
        drop(child.stdin.take());
        assert!(child.wait().expect("our child").success());
    }
}
