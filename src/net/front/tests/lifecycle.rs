//! How connections begin and end: deadlines, outgoing connections, stops, lack of descriptors.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use socket2::SockRef;

use super::harness::{
    Call, Event, Setup, connect_with_small_buffer, envelope, noise, receive, request,
    start_with_small_buffers,
};
use crate::net::{Closed, Deadlines, listen};
use crate::proto::Decoder;
use crate::rt::{clock, mailbox};
use crate::types::limits;

#[test]
fn each_wait_ends_at_its_deadline() {
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
            "kept idle, and not any more",
            Deadlines { idle: short, ..all_long },
            { [envelope(b"k"), envelope(b"u")].concat() },
            Closed::Deadline,
        ),
        ("reading", Deadlines { write_stall: short, ..all_long }, envelope(b"f1"), Closed::Stalled),
    ] {
        let front = start_with_small_buffers(Setup { deadlines, file: noise(8 << 20), ..Setup::default() });
        let mut client = connect_with_small_buffer(&front);
        client.write_all(&bytes).expect("taken");
        assert_eq!(front.next_call(), Call::Closed(end), "{name}");
    }
}

#[test]
fn a_kept_connection_outlives_others_that_are_idle() {
    let deadlines = Deadlines { idle: Duration::from_millis(100), ..Deadlines::default() };
    let front = Setup { deadlines, ..Setup::default() }.start();
    let mut kept = front.connect();
    assert_eq!(request(&mut kept, b"k"), Some(b"k".to_vec()));
    for _ in 0..2 {
        let mut other = front.connect();
        assert_eq!(request(&mut other, b"e"), Some(b"e".to_vec()));
        assert_eq!(front.next_call(), Call::Closed(Closed::Deadline));
    }
    assert_eq!(request(&mut kept, b"u"), Some(b"u".to_vec()));
    assert_eq!(front.next_call(), Call::Closed(Closed::Deadline));
}

#[test]
fn accepted_connections_use_keep_alive() {
    let (post, mail) = mailbox(1).expect("a descriptor");
    let front = Setup { other: Some(post), ..Setup::default() }.start();
    let mut client = front.connect();
    client.write_all(&envelope(b"m")).expect("taken");
    mail.wait(&front.stop, Some(clock::now() + Duration::from_secs(10)));
    let Some(Event::Adopt(detached, _)) = mail.next() else { panic!("a connection") };
    let socket = SockRef::from(&detached.socket);
    assert!(socket.keepalive().expect("a socket"));
    assert_eq!(socket.tcp_keepalive_time().expect("a socket"), limits::ms(limits::KEEP_ALIVE_MS));
}

#[test]
fn outgoing_connections_are_answered_refused_or_late() {
    let front = Setup::default().start();
    let server = Setup::default().start();
    let long = Duration::from_secs(10);
    // The server reports the frame to the test and does not answer it.
    front.send(Event::Connect(server.addr, long));
    let Call::Frame(..) = server.next_call() else { panic!("a frame") };
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let endpoint = silent.local_addr().expect("bound");
    front.send(Event::Connect(endpoint, Duration::from_millis(50)));
    assert_eq!(front.next_call(), Call::Closed(Closed::Deadline));
    let (silent_end, _) = silent.accept().expect("connected");
    drop((silent, silent_end));
    front.send(Event::Connect(endpoint, long));
    assert_eq!(front.next_call(), Call::Closed(Closed::Refused));
    let answering = TcpListener::bind("127.0.0.1:0").expect("a free port");
    front.send(Event::Connect(answering.local_addr().expect("bound"), long));
    let (mut peer, _) = answering.accept().expect("connected");
    let mut request = vec![0; envelope(b"!").len()];
    peer.read_exact(&mut request).expect("sent");
    assert_eq!(request, envelope(b"!"));
    peer.write_all(&envelope(b"!answer")).expect("taken");
    let Call::Frame(_, body) = front.next_call() else { panic!("the answer") };
    assert_eq!(body, b"!answer");
    drop(peer);
    assert_eq!(front.next_call(), Call::Closed(Closed::Peer), "the end is noticed at once");
}

#[test]
fn a_stop_closes_every_connection_and_reports_it() {
    let front = Setup::default().start();
    let mut clients = [front.connect(), front.connect()];
    for client in &mut clients {
        assert_eq!(request(client, b"e"), Some(b"e".to_vec()));
    }
    front.stop.trigger();
    for client in &mut clients {
        assert_eq!(receive(client, &mut Decoder::new()), None);
        assert_eq!(front.next_call(), Call::Closed(Closed::Ours));
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

/// Set in a child process of this test, which has few descriptors.
const FEW_FILES: &str = "NEARPEER_TEST_FEW_FILES";

#[test]
fn without_free_descriptors_clients_are_turned_away_and_later_ones_served() {
    use rustix::process::{Resource, Rlimit, setrlimit};
    if std::env::var_os(FEW_FILES).is_some() {
        let few = Rlimit { current: Some(40), maximum: Some(40) };
        setrlimit(Resource::Nofile, few).expect("lower is allowed");
        let front = Setup::default().start();
        std::fs::write("/dev/stderr", format!("\nfront at {}\n", front.addr)).expect("a pipe");
        // Runs until the test closes the pipe.
        io::stdin().read_to_end(&mut Vec::new()).ok();
        return;
    }
    let mut child = std::process::Command::new(std::env::current_exe().expect("this test"))
        .args(["without_free_descriptors_clients_are_turned_away_and_later_ones_served", "--nocapture"])
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
        .expect("the address");
    let connect = || {
        let client = TcpStream::connect(addr).expect("it listens");
        client.set_read_timeout(Some(Duration::from_secs(10))).expect("a valid time");
        client
    };
    let busy: Vec<TcpStream> = (0..60).map(|_| connect()).collect();
    // 60 connections do not fit 40 descriptors: the last of the queue are turned away, one each time that
    // accepting is tried again.
    let mut last = busy.last().expect("60");
    assert_eq!(last.read(&mut [0]).expect("not left waiting"), 0, "turned away");
    drop(busy);
    // Without these clients, a new one is served again.
    let mut client = connect();
    assert_eq!(request(&mut client, b"e"), Some(b"e".to_vec()));
    drop(child.stdin.take());
    assert!(child.wait().expect("our child").success());
}
