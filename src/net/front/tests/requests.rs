//! Requests: order, holding, malformed bytes, handing over.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::Duration;

use super::harness::{
    BIG_BYTES, Call, Event, Setup, connect_with_small_buffer, envelope, noise, receive, request,
    start_with_small_buffers,
};
use crate::net::Closed;
use crate::proto::{Decoder, FrameError};
use crate::rt::clock;
use crate::types::limits;

#[test]
fn requests_are_answered_in_order_for_every_cut_of_the_stream() {
    let front = Setup::default().start();
    let requests: Vec<Vec<u8>> = (0..1000).map(|number| format!("e{number}").into_bytes()).collect();
    let stream: Vec<u8> = requests.iter().flat_map(|body| envelope(body)).collect();
    for step in [1, 7, stream.len()] {
        let mut client = front.connect();
        let part = if step == 1 { &stream[..1200] } else { &stream[..] };
        let mut writer = client.try_clone().expect("a descriptor");
        std::thread::scope(|scope| {
            scope.spawn(move || part.chunks(step).for_each(|bytes| writer.write_all(bytes).expect("taken")));
            let mut decoder = Decoder::new();
            for request in requests.iter().take(if step == 1 { 100 } else { 1000 }) {
                assert_eq!(receive(&mut client, &mut decoder).as_ref(), Some(request));
            }
        });
    }
}

#[test]
fn costly_requests_of_one_connection_do_not_delay_another() {
    let front = Setup::default().start();
    let (mut busy, mut other) = (front.connect(), front.connect());
    let began = clock::now();
    busy.write_all(&envelope(b"s").repeat(64)).expect("taken");
    let mut decoder = Decoder::new();
    assert_eq!(receive(&mut busy, &mut decoder), Some(b"s".to_vec()));
    assert_eq!(request(&mut other, b"e"), Some(b"e".to_vec()));
    assert!(
        clock::now() - began < Duration::from_millis(64 * 20),
        "all requests of the busy connection came first"
    );
    for _ in 1..64 {
        assert_eq!(receive(&mut busy, &mut decoder), Some(b"s".to_vec()));
    }
}

#[test]
fn malformed_bytes_get_a_reply_and_other_connections_are_served() {
    let front = Setup::default().start();
    let mut other = front.connect();
    assert_eq!(request(&mut other, b"e1"), Some(b"e1".to_vec()));
    let too_long = [&b"NPR\x01\xff\xff\xff\x7f"[..], &noise(300_000)].concat();
    for (bytes, error) in [
        (&b"GET / HTTP/1.1\r\n\r\n"[..], FrameError::Magic(*b"GET ")),
        (&too_long, FrameError::TooLong { claimed: 0x7fff_ffff, max: limits::FRAME_MAX_BYTES }),
    ] {
        let mut client = front.connect();
        client.write_all(bytes).expect("taken");
        let mut decoder = Decoder::new();
        assert_eq!(receive(&mut client, &mut decoder), Some(b"malformed".to_vec()));
        assert_eq!(receive(&mut client, &mut decoder), None, "closed in order, not reset");
        assert_eq!(front.next_call(), Call::Malformed(error));
        assert_eq!(front.next_call(), Call::Closed(Closed::Malformed));
    }
    assert_eq!(request(&mut other, b"e2"), Some(b"e2".to_vec()));
}

#[test]
fn a_half_closed_held_connection_neither_spins_nor_loses_its_answer() {
    let front = Setup::default().start();
    let mut client = front.connect();
    client.write_all(&[envelope(b"h"), envelope(b"e")].concat()).expect("taken");
    client.shutdown(Shutdown::Write).expect("connected");
    let Call::Frame(id, _) = front.next_call() else { panic!("the held frame") };
    front.assert_rests();
    front.send(Event::Answer(id, b"late"));
    let mut got = Vec::new();
    client.read_to_end(&mut got).expect("no reset");
    assert_eq!(got, [envelope(b"late"), envelope(b"e")].concat());
    assert_eq!(front.next_call(), Call::Closed(Closed::Peer));
}

#[test]
fn a_held_request_is_answered_before_the_next_is_handed_over() {
    let front = Setup::default().start();
    let mut client = front.connect();
    let bytes = [envelope(b"h1"), envelope(b"e"), envelope(b"h2"), envelope(b"c")].concat();
    client.write_all(&bytes).expect("taken");
    let mut decoder = Decoder::new();
    let Call::Frame(id, body) = front.next_call() else { panic!("the held frame") };
    assert_eq!(body, b"h1");
    front.send(Event::Answer(id, b"1"));
    assert_eq!(front.next_call(), Call::Frame(id, b"h2".to_vec()));
    front.send(Event::Answer(id, b"2"));
    for expected in [&b"1"[..], b"e", b"2", b"c"] {
        assert_eq!(receive(&mut client, &mut decoder), Some(expected.to_vec()));
    }
    assert_eq!(receive(&mut client, &mut decoder), None, "closed after its last answer");
    assert_eq!(front.next_call(), Call::Closed(Closed::Ours));
}

#[test]
fn a_connection_moves_to_another_front_with_its_buffered_bytes() {
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
    assert!(matches!(second.next_call(), Call::Frame(..)), "the second front serves it");
    assert!(first.calls.is_empty(), "the session of the first front ended without a call");
}

#[test]
fn no_request_is_handed_over_while_replies_are_not_taken() {
    let front = start_with_small_buffers(Setup::default());
    let mut client = connect_with_small_buffer(&front);
    client.write_all(&envelope(b"b").repeat(30)).expect("taken");
    assert!(matches!(front.next_call(), Call::Frame(..)));
    front.assert_rests();
    let mut decoder = Decoder::new();
    for _ in 0..30 {
        assert_eq!(receive(&mut client, &mut decoder).map(|body| body.len()), Some(BIG_BYTES));
    }
}
