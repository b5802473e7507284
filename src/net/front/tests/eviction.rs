//! Which connection is evicted when there are too many.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use super::harness::{
    BIG_BYTES, Call, Setup, connect_with_small_buffer, envelope, noise, receive, request,
    start_with_small_buffers,
};
use crate::net::Closed;
use crate::proto::Decoder;
use crate::types::limits;

#[test]
fn connections_without_a_request_are_evicted_for_an_honest_request() {
    crate::net::raise_file_limit();
    let front = Setup { incomplete_max: 64, ..Setup::default() }.start();
    let mut proven = front.connect();
    assert_eq!(request(&mut proven, b"e1"), Some(b"e1".to_vec()));
    let mut idle: Vec<TcpStream> = (0..300).map(|_| front.connect()).collect();
    let mut honest = front.connect();
    assert_eq!(request(&mut honest, b"e2"), Some(b"e2".to_vec()));
    for client in &mut idle[..300 - 64] {
        assert_eq!(receive(client, &mut Decoder::new()), None, "the oldest were closed");
        assert_eq!(front.next_call(), Call::Closed(Closed::Evicted));
    }
    assert_eq!(request(&mut idle[299], b"e3"), Some(b"e3".to_vec()), "the youngest was kept");
    assert_eq!(request(&mut proven, b"e4"), Some(b"e4".to_vec()), "idle after a request is not incomplete");
}

#[test]
fn of_too_many_idle_connections_the_one_idle_longest_is_evicted() {
    let front = Setup { idle_max: Some(2), ..Setup::default() }.start();
    let mut clients = [front.connect(), front.connect(), front.connect()];
    for index in [0, 1, 0, 2] {
        assert_eq!(request(&mut clients[index], b"e"), Some(b"e".to_vec()));
    }
    assert_eq!(front.next_call(), Call::Closed(Closed::Evicted));
    assert_eq!(receive(&mut clients[1], &mut Decoder::new()), None);
    for index in [0, 2] {
        assert_eq!(request(&mut clients[index], b"e"), Some(b"e".to_vec()));
    }
}

#[test]
fn of_too_many_file_transfers_the_one_longest_without_progress_is_evicted() {
    let file = noise(24 << 20);
    let front = Setup { file: file.clone(), files_max: 2, ..Setup::default() }.start();
    let begin = || {
        // A small receive buffer: most of the file stays in the front.
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
    // More than the sockets buffer: the front sends to the first client again.
    let mut taken = vec![0; file.len() - 1];
    first.read_exact(&mut taken[..12 << 20]).expect("sent");
    let third = begin();
    assert_eq!(front.next_call(), Call::Closed(Closed::Evicted));
    let mut rest = Vec::new();
    assert!(second.read_to_end(&mut rest).is_err() || rest.len() < file.len() - 1, "the second is evicted");
    first.read_exact(&mut taken[12 << 20..]).expect("the first continues");
    assert_eq!(front.next_call(), Call::Sent(1));
    drop(third);
}

#[test]
fn the_connection_longest_without_taking_replies_is_evicted() {
    // Enough for three long answers of one address.
    let output_max_bytes = limits::OUTPUT_SHARE * (7 * BIG_BYTES / 2);
    let front = start_with_small_buffers(Setup { output_max_bytes, ..Setup::default() });
    let mut clients = Vec::new();
    let begin = || {
        let mut client = connect_with_small_buffer(&front);
        client.write_all(&envelope(b"b").repeat(2)).expect("taken");
        assert!(matches!(front.next_call(), Call::Frame(..)));
        (client, Decoder::new())
    };
    clients.extend([begin(), begin(), begin()]);
    // The system delays a last small packet by about 200 ms.
    (0..3).for_each(|_| front.assert_rests());
    // The first client takes another part of its answer.
    let mut part = vec![0; BIG_BYTES / 2];
    let (client, decoder) = &mut clients[0];
    client.read_exact(&mut part).expect("sent");
    decoder.push(&part);
    front.assert_rests();
    clients.push(begin());
    assert_eq!(front.next_call(), Call::Closed(Closed::Evicted));
    // One of the others was longest without progress. The system drops its connection too.
    let known = std::fs::read_to_string("/proc/net/tcp").expect("linux");
    let is_known = |(client, _): &(TcpStream, Decoder)| {
        let port = client.local_addr().expect("connected").port();
        known.contains(&format!(" 0100007F:{:04X} 0100007F:{port:04X} ", front.addr.port()))
    };
    assert!(is_known(&clients[0]), "it has taken bytes since");
    clients.retain(is_known);
    assert_eq!(clients.len(), 3);
    for (client, decoder) in &mut clients {
        for _ in 0..2 {
            assert_eq!(receive(client, decoder).map(|body| body.len()), Some(BIG_BYTES));
        }
    }
}
