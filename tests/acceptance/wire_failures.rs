//! Hostile bytes and broken links: refused or survived, others are served, no panic, no control codes
//! printed.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::assert_clear;
use crate::support::content::{key_of, md5_hex, noise};
use crate::support::evil::register_lying_name;
use crate::support::process::Stream;
use crate::support::proxy::{Admission, Direction, Fault, Proxy};
use crate::support::raw::{self, Client};
use crate::support::rows::{downloaded_row, find_rows};
use crate::support::world::{NodeSpec, World, assert_only, own_port};
use nearpeer::proto::peer::{PeerReply, PeerRequest};
use nearpeer::proto::tracker::{Hello, ReplyBody, TrackerRefusal, TrackerReply, TrackerRequest};

#[test]
fn a_catalog_with_a_bad_name_is_refused_whole_and_no_control_code_is_printed() {
    let world = World::new().tracker();
    let _holder = world.holder(&[("a.txt", b"a")]);
    for name in [
        &b"../evil.txt"[..],
        b"sub/../../evil",
        b"/etc/evil",
        b"nul\0evil.txt",
        b"line\nevil.txt",
        b"esc\x1b[2Jevil",
        b"c1\xc2\x9bevil",
        b"not-utf8-\xff\xfe",
        b".hidden-evil",
        b"a//evil",
    ] {
        let (_control, reply) = register_lying_name(world.tracker_addr(), name);
        if let Some(reply) = &reply {
            let text = format!("{:?}", reply.body);
            assert!(text.starts_with("Refused"), "{:?}: {text}", String::from_utf8_lossy(name));
        }
        let ran = world.run(&NodeSpec::new(), "find honest-part.bin\nfind a.txt\nnodes\n");
        assert_eq!(ran.out[0], "No nodes found", "refused whole: {ran:#?}");
        assert_eq!(find_rows(&ran.out[1..3]).len(), 1, "others are served");
        for line in ran.out.iter().chain([&ran.err]) {
            let odd = line.chars().any(|c| c.is_control() && c != '\n') || line.contains("evil");
            assert!(!odd, "{line:?}");
        }
    }
}

#[test]
fn garbage_long_and_cut_frames_are_refused_and_others_are_served() {
    let seed = crate::support::seed(20_260_101);
    let mut world = World::new().tracker();
    let holder = world.holder(&[("a.txt", b"content")]);
    for target in [world.tracker_addr(), holder.addr] {
        raw::send_hostile_streams(target, seed);
        let ran = world.ask("download a.txt");
        assert_eq!(
            (ran.code, downloaded_row(&ran.out[0], "a.txt").hex),
            (0, md5_hex(b"content")),
            "{ran:#?}"
        );
    }
    for err in [world.tracker_process().since(Stream::Stderr, 0), holder.process.since(Stream::Stderr, 0)] {
        assert_clear(&err.join("\n"), &[]);
    }
}

#[test]
fn a_crowd_of_silent_connections_does_not_prevent_service() {
    let world = World::new().tracker();
    let holder = world.holder(&[("a.txt", b"content")]);
    for target in [world.tracker_addr(), holder.addr] {
        let _crowd = raw::silent_crowd(target, 1500);
        let ran = world.ask("download a.txt");
        assert_eq!(ran.code, 0, "{target} is crowded: {ran:#?}");
    }
}

#[test]
fn requests_for_missing_content_are_refused_one_by_one() {
    let bytes = noise(17, 3 << 20);
    let world = World::new().tracker();
    let holder = world.holder(&[("a.bin", &bytes)]);
    let (content, requester) = (key_of(&bytes), raw::fresh_node_id());
    let mut client = Client::connect(holder.addr);
    let none = key_of(b"not shared");
    for request in [
        PeerRequest::Manifest { content: none, first_piece: 0 },
        PeerRequest::Manifest { content, first_piece: u32::MAX },
        PeerRequest::Piece { asker: requester, content: none, piece: 0 },
        PeerRequest::Piece { asker: requester, content, piece: 3 },
        PeerRequest::Piece { asker: requester, content, piece: u32::MAX },
    ] {
        // A manifest request beyond the end may also get an empty page.
        match client.ask(&request) {
            PeerReply::Refused(_) => {}
            PeerReply::Manifest { pieces, .. } if pieces.is_empty() => {}
            other => panic!("{request:?}: {other:?}"),
        }
    }
    match client.ask(&PeerRequest::Piece { asker: requester, content, piece: 1 }) {
        PeerReply::Piece { piece: 1, len_bytes } => {
            let got = client.receive_raw(len_bytes as usize).expect("the bytes of the piece");
            assert!(got == bytes[1 << 20..2 << 20], "on the same connection, byte for byte");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_broken_link_is_retried_and_the_file_is_right() {
    use crate::support::proxy::Break;
    let bytes = noise(18, 3 << 20);
    for broken in
        [Break::Cut { at: 1_700_000 }, Break::Reset { at: 1_700_000 }, Break::Flip { at: 1_700_000 }]
    {
        let world = World::new().tracker();
        let port = own_port();
        let proxy = Proxy::to(([127, 0, 0, 1], port).into());
        let advertised = proxy.addr().to_string();
        let _holder = world.start(
            NodeSpec::new().headless().port(port).file("a.bin", &bytes).flags(&["--advertise", &advertised]),
        );
        proxy.set(Direction::ToClient, Fault { broken: Some(broken), once: true, ..Fault::default() });
        let ran = world.ask("download a.bin");
        assert_eq!(ran.code, 0, "{broken:?}: {ran:#?}");
        assert_eq!(proxy.connections().1, 1, "{broken:?} has happened");
        assert!(fs::read(ran.share.join("a.bin")).expect("in place") == bytes, "{broken:?}");
        assert_clear(&ran.err, &[&advertised]);
        assert_only(&ran.share, &["a.bin"]);
    }
}

#[test]
fn a_node_that_cannot_be_called_back_may_download_and_is_not_listed() {
    let world = World::new().tracker();
    let _holder = world.holder(&[("theirs.txt", b"theirs")]);
    let proxy = Proxy::to_be_connected();
    proxy.admit(Admission::Refuse);
    let flags = ["--advertise", &proxy.addr().to_string()];
    let mut unproved = world.start(NodeSpec::new().file("mine.txt", b"mine").flags(&flags));
    unproved.process.expect_stderr(&proxy.addr().to_string());
    assert_eq!(world.ask("find mine.txt").code, 3);
    assert_eq!(unproved.command("download theirs.txt").len(), 1);
    let listed = unproved.command("nodes");
    let start = format!("{} {} unproved ", proxy.addr().ip(), proxy.addr().port());
    assert!(listed.iter().any(|line| line.starts_with(&start)), "{listed:?}");
}

#[test]
fn a_tracker_is_not_made_to_dial_a_third_party_in_a_stream() {
    let world = World::new().tracker();
    let target = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let endpoint = target.local_addr().expect("bound");
    let dialed = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&dialed);
    let counting = std::thread::spawn(move || {
        // The last connection is the test's own.
        while let Ok((mut caller, _)) = target.accept() {
            let mut first = [0; 4];
            if caller.read_exact(&mut first).is_ok() && first == *b"last" {
                return;
            }
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    let mut client = Client::connect(world.tracker_addr());
    let (began, rounds) = (Instant::now(), 500);
    let hello = Hello { node: raw::fresh_node_id(), endpoint, heartbeat_ms: 0, attributes: vec![] };
    for _ in 0..rounds {
        client.send(&TrackerRequest::Hello(hello.clone()));
        client.send(&TrackerRequest::Register { entries: vec![], last: true });
        client.send(&TrackerRequest::Register { entries: vec![], last: true });
    }
    let mut refused = 0;
    for _ in 0..3 * rounds {
        let reply: TrackerReply = client.receive().expect("an answer to each");
        refused += u64::from(matches!(reply.body, ReplyBody::Refused(TrackerRefusal::Limit(_))));
    }
    let allowed = 1 + began.elapsed().as_secs();
    TcpStream::connect(endpoint).and_then(|mut end| end.write_all(b"last")).expect("it listens");
    counting.join().expect("it counts");
    let dialed = dialed.load(Ordering::Relaxed);
    assert!((1..=allowed).contains(&dialed), "dialed {dialed} times, {allowed} allowed");
    assert_eq!(refused, 2 * rounds - dialed);
    // Others are served meanwhile and afterwards, and so is a node at the same address.
    let _holder = world.holder(&[("a.txt", b"a")]);
    assert_eq!(world.ask("find a.txt").code, 0);
}
