//! Tests of the test doubles: a fault that does not happen would let every test that uses it pass.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::support::DEADLINE;
use crate::support::content::noise;
use crate::support::process::{Process, Stream};
use crate::support::proxy::{Admission, Break, Direction, Fault, Proxy};

/// Sends back received bytes, for one connection after another, until an empty connection ends it.
fn echo() -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = listener.local_addr().expect("it is bound");
    let thread = std::thread::spawn(move || {
        loop {
            let (mut stream, _) = listener.accept().expect("a connection");
            let mut buffer = [0; 4096];
            let mut any = false;
            while let Ok(len @ 1..) = stream.read(&mut buffer) {
                any = true;
                if stream.write_all(&buffer[..len]).is_err() {
                    break;
                }
            }
            if !any {
                return;
            }
        }
    });
    (addr, thread)
}

fn end_echo(addr: SocketAddr, thread: JoinHandle<()>) {
    drop(TcpStream::connect(addr).expect("it listens"));
    thread.join().expect("no panic");
}

fn connect(addr: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(addr).expect("the proxy listens");
    stream.set_read_timeout(Some(DEADLINE)).expect("a deadline");
    stream
}

/// Sends `bytes` and reads until the end or until as many bytes have come back.
fn round_trip(stream: &mut TcpStream, bytes: &[u8]) -> (Vec<u8>, Option<ErrorKind>) {
    let mut back = vec![0; bytes.len()];
    let mut sending = stream.try_clone().expect("a descriptor");
    let owned = bytes.to_vec();
    let sender = std::thread::spawn(move || sending.write_all(&owned));
    let mut have = 0;
    let mut error = None;
    while have < back.len() {
        match stream.read(&mut back[have..]) {
            Ok(0) => break,
            Ok(len) => have += len,
            Err(why) => {
                error = Some(why.kind());
                break;
            }
        }
    }
    back.truncate(have);
    let _link_has_broken = sender.join().expect("no panic");
    (back, error)
}

#[test]
fn a_link_without_faults_changes_nothing_and_counts() {
    let (addr, thread) = echo();
    let bytes = noise(41, 300_000);
    {
        let proxy = Proxy::to(addr);
        let (back, error) = round_trip(&mut connect(proxy.addr()), &bytes);
        assert!(back == bytes && error.is_none());
        proxy.wait_bytes(Direction::ToClient, 300_000, DEADLINE);
        assert_eq!((proxy.bytes(Direction::ToServer), proxy.bytes(Direction::ToClient)), (300_000, 300_000));
        assert_eq!(proxy.connections(), (1, 0));
    }
    end_echo(addr, thread);
}

#[test]
fn cut_reset_and_flip_happen_at_their_byte() {
    let (addr, thread) = echo();
    let bytes = noise(42, 100_000);
    for at in [0, 1, 16_383, 16_384, 99_999] {
        let proxy = Proxy::to(addr);
        let set = |broken| {
            proxy.set(Direction::ToClient, Fault { broken: Some(broken), once: true, ..Fault::default() })
        };
        set(Break::Cut { at });
        let (back, error) = round_trip(&mut connect(proxy.addr()), &bytes);
        assert!(back == bytes[..at as usize], "cut at {at}: {} came, {error:?}", back.len());
        set(Break::Reset { at });
        let (back, error) = round_trip(&mut connect(proxy.addr()), &bytes);
        // A reset may overtake bytes that were sent before it.
        assert!(bytes.starts_with(&back) && back.len() as u64 <= at, "reset at {at}");
        assert_eq!(error, Some(ErrorKind::ConnectionReset), "reset at {at}");
        set(Break::Flip { at });
        let (mut back, _) = round_trip(&mut connect(proxy.addr()), &bytes);
        assert!(back != bytes, "flip at {at}");
        back[at as usize] ^= 1;
        assert!(back == bytes, "flip at {at} and nowhere else");
        // The fault happens only once.
        assert!(round_trip(&mut connect(proxy.addr()), &bytes).0 == bytes);
        assert_eq!(proxy.connections(), (4, 3));
    }
    end_echo(addr, thread);
}

#[test]
fn delay_and_rate_slow_a_link_down() {
    let (addr, thread) = echo();
    {
        let proxy = Proxy::to(addr);
        let mut stream = connect(proxy.addr());
        proxy.set(Direction::ToServer, Fault { delay: Duration::from_millis(60), ..Fault::default() });
        proxy.set(Direction::ToClient, Fault { delay: Duration::from_millis(40), ..Fault::default() });
        let began = Instant::now();
        assert_eq!(round_trip(&mut stream, b"x").0, b"x");
        assert!(began.elapsed() >= Duration::from_millis(100), "{:?}", began.elapsed());
        proxy.set(Direction::ToServer, Fault::default());
        proxy.set(Direction::ToClient, Fault { rate: Some(100_000), ..Fault::default() });
        let began = Instant::now();
        assert_eq!(round_trip(&mut stream, &[7; 50_000]).0.len(), 50_000);
        assert!(began.elapsed() >= Duration::from_millis(440), "{:?}", began.elapsed());
    }
    end_echo(addr, thread);
}

#[test]
fn frozen_is_silent_and_thaws() {
    let (addr, thread) = echo();
    {
        let proxy = Proxy::to(addr);
        let mut stream = connect(proxy.addr());
        assert_eq!(round_trip(&mut stream, b"a").0, b"a");
        proxy.set(Direction::ToClient, Fault { frozen: true, ..Fault::default() });
        stream.set_read_timeout(Some(Duration::from_millis(100))).expect("a deadline");
        assert_eq!(round_trip(&mut stream, b"b").1, Some(ErrorKind::WouldBlock));
        stream.set_read_timeout(Some(DEADLINE)).expect("a deadline");
        proxy.set(Direction::ToClient, Fault::default());
        let mut late = [0];
        stream.read_exact(&mut late).expect("what was held back");
        assert_eq!(&late, b"b");
    }
    end_echo(addr, thread);
}

#[test]
fn admission_can_refuse_hang_and_relay_again() {
    let (addr, thread) = echo();
    {
        let proxy = Proxy::to(addr);
        for _ in 0..3 {
            proxy.admit(Admission::Refuse);
            let refused = TcpStream::connect(proxy.addr()).expect_err("the port is closed");
            assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
            proxy.admit(Admission::Silent);
            let mut stream = connect(proxy.addr());
            stream.set_read_timeout(Some(Duration::from_millis(50))).expect("a deadline");
            assert_eq!(round_trip(&mut stream, b"x").1, Some(ErrorKind::WouldBlock));
            proxy.admit(Admission::Relay);
            assert_eq!(round_trip(&mut connect(proxy.addr()), b"x").0, b"x");
        }
    }
    end_echo(addr, thread);
}

#[test]
fn a_process_gives_its_lines_its_code_and_dies_with_its_owner() {
    let mut process =
        Process::start("/bin/sh", ["-c", "echo one; echo two >&2; read x; echo got $x; exit 7"]);
    assert_eq!(process.expect_stdout("one"), "one");
    assert_eq!(process.expect_stderr("tw"), "two");
    process.send("line");
    let (line, mark) =
        process.expect_line(Stream::Stdout, 1, DEADLINE, "got", |line| line.starts_with("got"));
    assert_eq!((line.as_str(), mark), ("got line", 2));
    assert_eq!((process.wait(DEADLINE), process.wait(DEADLINE)), (7, 7));

    let mut process = Process::start("/bin/sh", ["-c", "echo up; exec sleep 1000"]);
    process.expect_stdout("up");
    process.signal(rustix::process::Signal::TERM);
    assert_eq!(process.wait(DEADLINE), 128 + 15);

    let process = Process::start("/bin/sh", ["-c", "echo up; exec sleep 1000"]);
    process.expect_stdout("up");
    let id = process.id();
    drop(process);
    assert!(!std::path::Path::new(&format!("/proc/{id}")).exists(), "killed and reaped");
}
