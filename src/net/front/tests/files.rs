//! Sending files: slow readers, files that shrink, the rate.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::harness::{Call, Setup, envelope, noise, request};
use crate::net::{Closed, TokenBucket};

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
    assert_eq!([front.next_call(), front.next_call()], [Call::Sent(1), Call::Closed(Closed::Peer)]);
}

#[test]
fn a_client_that_does_not_read_delays_no_other_client() {
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
    let mut tags: Vec<Call> = (0..3).map(|_| front.next_call()).collect();
    tags.sort_by_key(|call| format!("{call:?}"));
    assert_eq!(tags, [Call::Sent(1), Call::Sent(1), Call::Sent(2)]);
}

#[test]
fn a_file_shorter_than_promised_ends_the_connection() {
    let front = Setup { file: noise(1000), missing_bytes: 1, ..Setup::default() }.start();
    let mut client = front.connect();
    client.write_all(&envelope(b"f1")).expect("taken");
    let mut got = Vec::new();
    client.read_to_end(&mut got).expect("no reset");
    assert_eq!(got.len(), envelope(b"f1").len() + 1000);
    assert_eq!(front.next_call(), Call::Closed(Closed::Error(ErrorKind::UnexpectedEof)));
}

#[test]
fn a_rate_limited_upload_sleeps_between_turns_while_others_are_answered() {
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
    assert_eq!(request(&mut other, b"e"), Some(b"e".to_vec()), "frames are not limited");
    client.read_exact(&mut got[64 << 10..]).expect("sent");
    assert!(got == expected);
    assert_eq!(front.next_call(), Call::Sent(1));
}

#[test]
fn two_rate_limited_readers_share_the_rate() {
    const FILE_BYTES: usize = 300 << 10;
    let rate = Some(Arc::new(TokenBucket::new(Some(1_000_000))));
    let front = Setup { file: noise(FILE_BYTES), rate, ..Setup::default() }.start();
    let got = [0, 1].map(|_| AtomicUsize::new(0));
    let bytes_of_other = std::thread::scope(|scope| {
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
    // A burst of 100 kB may go to one reader; the bytes after it are shared.
    let less = bytes_of_other[0].min(bytes_of_other[1]);
    assert!(less > FILE_BYTES / 3, "one waited while the other got all: {bytes_of_other:?}");
}
