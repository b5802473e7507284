//! `Proxy`: a link with faults, in front of any listener.
//!
//! Relays TCP byte for byte, except for its faults, which can change while it runs. Each direction of a
//! connection has one reading and one writing thread. Drop joins all of them. Positions (`at`) are bytes of
//! one direction of one connection, from 0.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::{Condvar, Mutex};

use super::world::own_port;

/// The direction of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the client of the proxy.
    ToServer,
    /// From the listener behind the proxy.
    ToClient,
}

/// A fault that happens once in each connection, when it has carried `at` bytes in this direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Break {
    /// Closes both connections in order.
    Cut { at: u64 },
    /// Resets both connections.
    Reset { at: u64 },
    /// Flips the lowest bit of the byte at `at`.
    Flip { at: u64 },
}

impl Break {
    fn at(self) -> u64 {
        match self {
            Break::Cut { at } | Break::Reset { at } | Break::Flip { at } => at,
        }
    }
}

/// Faults of one direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Fault {
    /// Delay of each byte.
    pub delay: Duration,
    /// Bytes per second of each connection. `None` means no limit.
    pub rate: Option<u64>,
    /// Nothing passes. The connection stays open.
    pub frozen: bool,
    pub broken: Option<Break>,
    /// Only the first connection breaks.
    pub once: bool,
}

/// The handling of a new connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    Relay,
    /// Accepts it and sends nothing.
    Silent,
    /// Does not listen.
    Refuse,
}

#[derive(Debug)]
struct Settings {
    admission: Admission,
    /// The admission that is in effect at the listener.
    admission_now: Admission,
    to_server: Fault,
    to_client: Fault,
    bytes: [u64; 2],
    connections: u64,
    broken: u64,
    /// Both ends of every open relayed connection.
    relayed: Vec<Weak<TcpStream>>,
    /// Connections that were accepted and then left alone.
    silent: Vec<TcpStream>,
    stopped: bool,
}

#[derive(Debug)]
struct Shared {
    settings: Mutex<Settings>,
    changed: Condvar,
    pumps: Mutex<Vec<JoinHandle<()>>>,
    target: Mutex<SocketAddr>,
}

/// A running proxy.
#[derive(Debug)]
pub struct Proxy {
    addr: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

impl Proxy {
    /// A faultless link to `target`. Each client connection gets its own connection to the target.
    pub fn to(target: SocketAddr) -> Proxy {
        // A port of its own: while the proxy refuses connections, no other program gets it.
        let listener = TcpListener::bind(("127.0.0.1", own_port())).expect("a free port");
        let addr = listener.local_addr().expect("it is bound");
        let shared = Arc::new(Shared {
            settings: Mutex::new(Settings {
                admission: Admission::Relay,
                admission_now: Admission::Relay,
                to_server: Fault::default(),
                to_client: Fault::default(),
                bytes: [0; 2],
                connections: 0,
                broken: 0,
                relayed: Vec::new(),
                silent: Vec::new(),
                stopped: false,
            }),
            changed: Condvar::new(),
            pumps: Mutex::new(Vec::new()),
            target: Mutex::new(target),
        });
        let accepting = Arc::clone(&shared);
        let accepting = std::thread::spawn(move || accept(listener, addr, &accepting));
        Proxy { addr, shared, accepting: Some(accepting) }
    }

    /// A link without a target: a node must advertise its proxy before the node has a port.
    pub fn to_be_connected() -> Proxy {
        Proxy::to(([127, 0, 0, 1], 9).into())
    }

    /// Sets the target of later connections.
    pub fn connect_to(&self, target: SocketAddr) {
        *self.shared.target.lock() = target;
    }

    /// The address for clients.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Changes the faults of a direction, for open connections too.
    pub fn set(&self, direction: Direction, fault: Fault) {
        let mut settings = self.shared.settings.lock();
        match direction {
            Direction::ToServer => settings.to_server = fault,
            Direction::ToClient => settings.to_client = fault,
        }
        self.shared.changed.notify_all();
    }

    /// Changes the handling of new connections. In effect when this returns.
    pub fn admit(&self, admission: Admission) {
        let mut settings = self.shared.settings.lock();
        settings.admission = admission;
        self.shared.changed.notify_all();
        drop(settings);
        // Wakes the accepting thread. A proxy that does not listen waits for the change itself.
        let _nobody_listens = TcpStream::connect(self.addr);
        let mut settings = self.shared.settings.lock();
        while settings.admission_now != admission {
            self.shared.changed.wait(&mut settings);
        }
    }

    /// Bytes delivered in a direction, over all connections.
    pub fn bytes(&self, direction: Direction) -> u64 {
        self.shared.settings.lock().bytes[direction as usize]
    }

    /// Number of accepted connections, and of those that a [`Break`] broke.
    pub fn connections(&self) -> (u64, u64) {
        let settings = self.shared.settings.lock();
        (settings.connections, settings.broken)
    }

    /// Waits until `bytes` have been delivered in a direction.
    pub fn wait_bytes(&self, direction: Direction, bytes: u64, deadline: Duration) {
        let until = Instant::now() + deadline;
        let mut settings = self.shared.settings.lock();
        while settings.bytes[direction as usize] < bytes {
            let late = self.shared.changed.wait_until(&mut settings, until).timed_out();
            assert!(!late, "{} bytes of {bytes} passed the proxy", settings.bytes[direction as usize]);
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        {
            let mut settings = self.shared.settings.lock();
            settings.stopped = true;
            for socket in settings.relayed.drain(..).filter_map(|socket| socket.upgrade()) {
                let _closed_already = socket.shutdown(Shutdown::Both);
            }
            settings.silent.clear();
        }
        self.shared.changed.notify_all();
        let _nobody_listens = TcpStream::connect(self.addr);
        if let Some(accepting) = self.accepting.take() {
            let _panicked = accepting.join();
        }
        for pump in std::mem::take(&mut *self.shared.pumps.lock()) {
            let _panicked = pump.join();
        }
    }
}

fn accept(listener: TcpListener, addr: SocketAddr, shared: &Arc<Shared>) {
    let mut listener = Some(listener);
    loop {
        let accepted = listener.as_ref().map(TcpListener::accept);
        let mut settings = shared.settings.lock();
        if settings.stopped {
            return;
        }
        if settings.admission != settings.admission_now {
            // The accepted connection is the wake-up call of a change, or came too close to it to matter.
            let admission = settings.admission;
            listener = match (admission, listener.take()) {
                (Admission::Refuse, _) => None,
                (_, Some(open)) => Some(open),
                (_, None) => Some(TcpListener::bind(addr).expect("the port is still free")),
            };
            settings.admission_now = admission;
            shared.changed.notify_all();
            continue;
        }
        match accepted {
            None => shared.changed.wait(&mut settings),
            Some(Err(_)) => {}
            Some(Ok((client, _))) => {
                settings.connections += 1;
                match settings.admission {
                    Admission::Relay => {
                        drop(settings);
                        relay(client, shared);
                    }
                    Admission::Silent | Admission::Refuse => settings.silent.push(client),
                }
            }
        }
    }
}

fn relay(client: TcpStream, shared: &Arc<Shared>) {
    let target = *shared.target.lock();
    // The client sees a refusing target as a closed connection.
    let Ok(server) = TcpStream::connect_timeout(&target, Duration::from_secs(5)) else {
        let _closed_already = client.shutdown(Shutdown::Both);
        return;
    };
    let _latency_only = (client.set_nodelay(true), server.set_nodelay(true));
    let (client, server) = (Arc::new(client), Arc::new(server));
    {
        let mut settings = shared.settings.lock();
        if settings.stopped {
            return;
        }
        settings.relayed.extend([Arc::downgrade(&client), Arc::downgrade(&server)]);
    }
    let was_reset = Arc::new(AtomicBool::new(false));
    let mut pumps = shared.pumps.lock();
    for (direction, from, to) in
        [(Direction::ToServer, &client, &server), (Direction::ToClient, &server, &client)]
    {
        let (chunks, arriving) = bounded(64);
        let source = Arc::clone(from);
        pumps.push(std::thread::spawn(move || read(&source, &chunks)));
        let (from, to, shared) = (Arc::clone(from), Arc::clone(to), Arc::clone(shared));
        let was_reset = Arc::clone(&was_reset);
        pumps.push(std::thread::spawn(move || {
            let ended = write(direction, &to, &arriving, &shared);
            if ended == Ended::Reset {
                was_reset.store(true, Ordering::SeqCst);
                reset(&from, &to);
            } else if ended == Ended::Closed {
                let _closed_already = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
            } else if !was_reset.load(Ordering::SeqCst) {
                let _closed_already = to.shutdown(Shutdown::Write);
            }
        }));
    }
}

/// Reads bytes with their time of arrival until the stream ends.
fn read(mut from: &TcpStream, chunks: &Sender<(Instant, Vec<u8>)>) {
    let mut buffer = vec![0; 16 << 10];
    while let Ok(len @ 1..) = from.read(&mut buffer) {
        if chunks.send((Instant::now(), buffer[..len].to_vec())).is_err() {
            return;
        }
    }
}

/// Waits until `due` and until the direction is not frozen. Returns its fault then, or `None` at the end of
/// the proxy.
fn pass(shared: &Shared, direction: Direction, arrived: Instant, earliest: Instant) -> Option<Fault> {
    let mut settings = shared.settings.lock();
    loop {
        let fault = match direction {
            Direction::ToServer => settings.to_server,
            Direction::ToClient => settings.to_client,
        };
        let due = earliest.max(arrived + fault.delay);
        if settings.stopped {
            return None;
        }
        if fault.frozen {
            shared.changed.wait(&mut settings);
        } else if Instant::now() < due {
            shared.changed.wait_until(&mut settings, due);
        } else {
            return Some(fault);
        }
    }
}

/// The end of one direction of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// The sender closed it in order.
    InOrder,
    /// Close both directions.
    Closed,
    /// Reset both ends.
    Reset,
}

/// Delivers arriving bytes with the faults until the stream ends or breaks.
fn write(
    direction: Direction,
    mut to: &TcpStream,
    arriving: &Receiver<(Instant, Vec<u8>)>,
    shared: &Shared,
) -> Ended {
    let (mut position, mut free_at) = (0_u64, Instant::now());
    while let Ok((arrived, mut bytes)) = arriving.recv() {
        while !bytes.is_empty() {
            let Some(fault) = pass(shared, direction, arrived, free_at) else { return Ended::Closed };
            let mut len = bytes.len();
            if let Some(rate) = fault.rate {
                // Twenty writes per second.
                len = len.min((rate / 20).max(1) as usize);
                free_at = free_at.max(Instant::now()) + Duration::from_secs_f64(len as f64 / rate as f64);
            }
            let breaks_here =
                fault.broken.filter(|broken| (position..position + len as u64).contains(&broken.at()));
            match breaks_here {
                Some(Break::Flip { at }) => bytes[(at - position) as usize] ^= 1,
                Some(Break::Cut { at } | Break::Reset { at }) => len = (at - position) as usize,
                None => {}
            }
            if breaks_here.is_some() {
                // Before the bytes arrive: the client may open its next connection as soon as it has them.
                let mut settings = shared.settings.lock();
                settings.broken += 1;
                match direction {
                    Direction::ToServer if fault.once => settings.to_server.broken = None,
                    Direction::ToClient if fault.once => settings.to_client.broken = None,
                    _ => {}
                }
            }
            let delivered = to.write_all(&bytes[..len]).is_ok();
            bytes.drain(..len);
            position += len as u64;
            let mut settings = shared.settings.lock();
            settings.bytes[direction as usize] += len as u64;
            shared.changed.notify_all();
            drop(settings);
            match breaks_here {
                Some(Break::Cut { .. }) => return Ended::Closed,
                Some(Break::Reset { .. }) => return Ended::Reset,
                _ if !delivered => return Ended::Closed,
                _ => {}
            }
        }
    }
    Ended::InOrder
}

/// Turns the next close of both connections into a reset. The reset happens when the last thread drops the
/// sockets. Shutting down their reading side wakes the readers and is invisible to the other ends.
fn reset(from: &TcpStream, to: &TcpStream) {
    for stream in [from, to] {
        let _closed_already = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
    }
    for stream in [from, to] {
        let _closed_already = stream.shutdown(Shutdown::Read);
    }
}
