//! A front with a service that the tests steer, and clients for it.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, unbounded};
use socket2::{Domain, SockRef, Socket, Type};

use crate::net::front::run;
use crate::net::{
    Closed, ConnActions, ConnId, Deadlines, DetachedConn, FrontConfig, NextRead, Service, TokenBucket, listen,
};
use crate::proto::{Decoder, FrameError};
use crate::rt::{Post, Stop, Threads, clock, mailbox};
use crate::types::limits;

/// Length of a long answer.
pub(super) const BIG_BYTES: usize = 1 << 20;

/// A service that does what the first byte of each frame says, and reports calls to the test.
///
/// `h` holds, `m` moves the connection, `f` sends the file with the tag in the next byte, `k` lets the
/// connection be idle without a limit, `u` ends that, `b` sends a long answer, `s` takes 20 ms, `!` only
/// reports, `c` closes. The service echoes frames, except `h`, `m`, `b` and `!`.
pub(super) struct TestService {
    calls: Sender<Call>,
    file: Arc<File>,
    file_bytes: u64,
    /// The front that connections are moved to.
    other: Option<Post<Event>>,
}

/// A call of the service, or the processor time of the front.
#[derive(Debug, PartialEq)]
pub(super) enum Call {
    Frame(ConnId, Vec<u8>),
    Malformed(FrameError),
    Sent(u64),
    Closed(Closed),
    CpuNs(u64),
}

/// Mail of the test to the service: what it shall do.
pub(super) enum Event {
    /// Answers a held request.
    Answer(ConnId, &'static [u8]),
    Adopt(DetachedConn, Vec<u8>),
    Connect(SocketAddr, Duration),
    ReportCpu,
}

impl TestService {
    fn report(&self, call: Call) {
        // This fails only when the test has ended.
        self.calls.send(call).ok();
    }
}

impl Service for TestService {
    type Session = ();
    type Event = Event;
    type Decoder = Decoder;

    fn accepted(&mut self, _peer: SocketAddr, _local: SocketAddr) {}

    fn message(&mut self, id: ConnId, _: &mut (), body: &[u8], actions: &mut ConnActions<()>) -> NextRead {
        match (body[0], self.other.clone()) {
            (b'h', _) => {
                self.report(Call::Frame(id, body.to_vec()));
                return NextRead::Hold;
            }
            (b'm', Some(other)) => {
                let body = body.to_vec();
                actions
                    .hand_over(id, move |detached| assert!(other.send(Event::Adopt(detached, body)).is_ok()));
                return NextRead::Next;
            }
            (b'f', _) => {
                actions.send(id, envelope(body));
                actions.send_file(id, Arc::clone(&self.file), 0..self.file_bytes, u64::from(body[1] - b'0'));
            }
            (b'k' | b'u', _) => {
                actions.keep_idle(id, body[0] == b'k');
                actions.send(id, envelope(body));
            }
            (b'b', _) => {
                self.report(Call::Frame(id, body.to_vec()));
                actions.send(id, envelope(&[b'b'; BIG_BYTES]));
            }
            (b's', _) => {
                let done = clock::now() + Duration::from_millis(20);
                while clock::now() < done {}
                actions.send(id, envelope(body));
            }
            (b'!', _) => self.report(Call::Frame(id, body.to_vec())),
            _ => actions.send(id, envelope(body)),
        }
        if body[0] == b'c' { NextRead::Close } else { NextRead::Next }
    }

    fn malformed_reply(&mut self, error: &FrameError) -> Option<Vec<u8>> {
        self.report(Call::Malformed(error.clone()));
        Some(envelope(b"malformed"))
    }

    fn event(&mut self, event: Event, actions: &mut ConnActions<()>) {
        match event {
            Event::Answer(id, answer) => {
                actions.send(id, envelope(answer));
                actions.release(id);
            }
            Event::Adopt(detached, body) => actions.adopt(detached, (), body),
            Event::Connect(endpoint, deadline) => {
                actions.connect(endpoint, None, (), envelope(b"!"), deadline)
            }
            Event::ReportCpu => {
                let stat = std::fs::read_to_string("/proc/thread-self/schedstat").expect("linux");
                let ns = stat.split(' ').next().and_then(|ns| ns.parse().ok()).expect("a number");
                self.report(Call::CpuNs(ns));
            }
        }
    }

    fn sent(&mut self, _: ConnId, _: &mut (), tag: u64, _: &mut ConnActions<()>) {
        self.report(Call::Sent(tag));
    }

    fn closed(&mut self, _: ConnId, _: (), why: &Closed, _: &mut ConnActions<()>) {
        self.report(Call::Closed(why.clone()));
    }
}

/// A frame with this body.
pub(super) fn envelope(body: &[u8]) -> Vec<u8> {
    let mut bytes = crate::proto::frame::MAGIC.to_vec();
    bytes.extend_from_slice(&(body.len() as u32).to_le_bytes());
    bytes.extend_from_slice(body);
    bytes
}

/// A running front; it stops when dropped.
pub(super) struct RunningFront {
    pub(super) addr: SocketAddr,
    pub(super) post: Post<Event>,
    pub(super) calls: Receiver<Call>,
    pub(super) stop: Stop,
    pub(super) threads: Threads,
}

/// Configuration of a front and its service.
pub(super) struct Setup {
    pub(super) incomplete_max: usize,
    pub(super) idle_max: Option<usize>,
    pub(super) files_max: usize,
    pub(super) output_max_bytes: usize,
    pub(super) deadlines: Deadlines,
    pub(super) rate: Option<Arc<TokenBucket>>,
    pub(super) file: Vec<u8>,
    /// Number of bytes by which the service believes the file to be longer than it is.
    pub(super) missing_bytes: u64,
    pub(super) other: Option<Post<Event>>,
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
    pub(super) fn start(self) -> RunningFront {
        self.start_on(Arc::new(listen("127.0.0.1:0".parse().expect("an address")).expect("a free port")))
    }

    pub(super) fn start_on(self, listener: Arc<TcpListener>) -> RunningFront {
        let addr = listener.local_addr().expect("bound");
        let (post, mail) = mailbox(64).expect("a descriptor");
        let (call_sender, calls) = unbounded();
        let (stop, threads) = (Stop::new().expect("a descriptor"), Threads::new());
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(&self.file).expect("room");
        let service = TestService {
            calls: call_sender,
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
        let work = move || run(service, config, mail, front_stop).expect("the system can wait");
        threads.spawn("front", work).expect("a thread");
        RunningFront { addr, post, calls, stop, threads }
    }
}

impl RunningFront {
    pub(super) fn connect(&self) -> TcpStream {
        let client = TcpStream::connect(self.addr).expect("it listens");
        client.set_read_timeout(Some(Duration::from_secs(10))).expect("a valid time");
        client.set_nodelay(true).expect("a socket");
        client
    }

    pub(super) fn next_call(&self) -> Call {
        self.calls.recv_timeout(Duration::from_secs(10)).expect("a call")
    }

    pub(super) fn cpu_ns(&self) -> u64 {
        self.send(Event::ReportCpu);
        match self.next_call() {
            Call::CpuNs(ns) => ns,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn send(&self, event: Event) {
        assert!(self.post.send(event).is_ok(), "mailbox full");
    }

    /// Checks that for 150 ms the service is not called and the front uses hardly any processor time.
    pub(super) fn assert_rests(&self) {
        let before = self.cpu_ns();
        let quiet = self.calls.recv_timeout(Duration::from_millis(150));
        assert!(quiet.is_err(), "{quiet:?}");
        let spent = self.cpu_ns() - before;
        assert!(spent < 50_000_000, "the front spins: {spent} ns of 150 ms");
    }
}

impl Drop for RunningFront {
    fn drop(&mut self) {
        self.stop.trigger();
        let report = self.threads.join(clock::now() + Duration::from_secs(10));
        assert!(std::thread::panicking() || report.is_clean(), "{report:?}");
    }
}

/// The next frame; `None` at the end.
pub(super) fn receive(client: &mut TcpStream, decoder: &mut Decoder) -> Option<Vec<u8>> {
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

/// Sends a frame and receives the next one.
pub(super) fn request(client: &mut TcpStream, body: &[u8]) -> Option<Vec<u8>> {
    client.write_all(&envelope(body)).expect("taken");
    receive(client, &mut Decoder::new())
}

/// Bytes without a pattern.
pub(super) fn noise(len: usize) -> Vec<u8> {
    (0..len as u64).map(|at| (at.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect()
}

/// A front whose sockets buffer little output.
pub(super) fn start_with_small_buffers(setup: Setup) -> RunningFront {
    let listener = listen("127.0.0.1:0".parse().expect("an address")).expect("a free port");
    SockRef::from(&listener).set_send_buffer_size(64 << 10).expect("a socket");
    setup.start_on(Arc::new(listener))
}

pub(super) fn connect_with_small_buffer(front: &RunningFront) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(64 << 10).expect("a socket");
    socket.connect(&front.addr.into()).expect("it listens");
    let client = TcpStream::from(socket);
    client.set_read_timeout(Some(Duration::from_secs(10))).expect("a valid time");
    client
}
