//! Tests of the hostile peer, against a tracker of three replies: it proves its endpoint, and each behaviour
//! does what its name says.

use std::io::Read;
use std::net::{SocketAddr, TcpListener};
use std::thread::JoinHandle;
use std::time::Duration;

use nearpeer::proto::peer::{PeerReply, PeerRequest};
use nearpeer::proto::tracker::{ReplyBody, TrackerReply, TrackerRequest};
use nearpeer::proto::{Decoder, FrameError};
use nearpeer::types::{Epoch, FileEntry, Manifest, Nonce, limits};

use crate::support::DEADLINE;
use crate::support::content::{key_of, manifest_of, md5_of, noise};
use crate::support::evil::{Behaviour, EvilPeer};
use crate::support::raw::{self, Client};

/// Accepts one registration as a tracker does, call-back included. Returns the registered data.
fn one_registration() -> (SocketAddr, JoinHandle<Vec<FileEntry>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = listener.local_addr().expect("it is bound");
    let thread = std::thread::spawn(move || {
        let mut control = Client::over(listener.accept().expect("a node").0);
        let reply = |body| TrackerReply { epoch: Epoch(1), body };
        let Some(TrackerRequest::Hello(hello)) = control.receive() else { panic!("no hello") };
        control.send(&reply(ReplyBody::Welcome { nonce: Nonce(99) }));
        let Some(TrackerRequest::Register { entries, last: true }) = control.receive() else {
            panic!("no registration")
        };
        let identity: PeerReply = Client::connect(hello.endpoint).ask(&PeerRequest::Identify);
        assert_eq!(identity, PeerReply::Identity { node: hello.node, nonce: Some(Nonce(99)) });
        control.send(&reply(ReplyBody::Registered { unproved: None }));
        entries
    });
    (addr, thread)
}

fn start(bytes: &[u8], behaviour: Behaviour) -> (EvilPeer, FileEntry) {
    let (tracker, registered) = one_registration();
    let peer = EvilPeer::start(tracker, "f.bin", bytes, behaviour);
    let mut entries = registered.join().expect("a proper registration");
    (peer, entries.remove(0))
}

/// Requests piece 1 and returns the header and the bytes that arrive.
fn piece(peer: &EvilPeer, bytes: &[u8]) -> (Option<PeerReply>, Option<Vec<u8>>) {
    let mut client = Client::connect(peer.addr);
    client.send(&PeerRequest::Piece { asker: raw::fresh_node_id(), content: key_of(bytes), piece: 1 });
    let reply = client.receive();
    let got = match &reply {
        Some(PeerReply::Piece { len_bytes, .. }) => client.receive_raw(*len_bytes as usize),
        _ => None,
    };
    (reply, got)
}

fn manifest(peer: &EvilPeer, bytes: &[u8]) -> Option<Manifest> {
    match Client::connect(peer.addr).ask(&PeerRequest::Manifest { content: key_of(bytes), first_piece: 0 }) {
        PeerReply::Manifest { first_piece: 0, pieces } => Manifest::accept(key_of(bytes), pieces).ok(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn honest_is_honest_and_claims_its_load() {
    let bytes = noise(51, (1 << 20) + 500);
    let (peer, entry) = start(&bytes, Behaviour::Honest);
    assert_eq!((entry.key(), entry.md5), (key_of(&bytes), md5_of(&bytes)));
    peer.set_load(9);
    assert_eq!(raw::load_of(peer.addr, raw::fresh_node_id(), None), (9, 0));
    assert_eq!(manifest(&peer, &bytes), Some(manifest_of(&bytes)));
    let (reply, got) = piece(&peer, &bytes);
    assert_eq!(reply, Some(PeerReply::Piece { piece: 1, len_bytes: 500 }));
    assert!(got.as_deref() == Some(&bytes[1 << 20..]));
    assert_eq!(peer.requests(), 2, "probes are not counted");
}

#[test]
fn each_behaviour_does_what_its_name_says() {
    let bytes = noise(52, (1 << 20) + 500);
    let right = &bytes[1 << 20..];
    for (behaviour, expected_len, has_bytes) in [
        (Behaviour::ClosesEarly, 500, false),
        (Behaviour::WrongBytes, 500, true),
        (Behaviour::ClaimsMore, 501, true),
        (Behaviour::ClaimsLess, 499, true),
    ] {
        let (peer, _) = start(&bytes, behaviour);
        let (reply, got) = piece(&peer, &bytes);
        assert_eq!(reply, Some(PeerReply::Piece { piece: 1, len_bytes: expected_len }), "{behaviour:?}");
        assert_eq!(got.is_some(), has_bytes, "{behaviour:?}");
        assert!(got.as_deref() != Some(right), "{behaviour:?}");
        assert!(manifest(&peer, &bytes).is_some(), "{behaviour:?}");
    }
    for (behaviour, honest_manifest) in
        [(Behaviour::ForgedManifest, false), (Behaviour::ShortManifest, false)]
    {
        let (peer, _) = start(&bytes, behaviour);
        assert_eq!(manifest(&peer, &bytes).is_some(), honest_manifest, "{behaviour:?}");
        assert!(piece(&peer, &bytes).1.as_deref() == Some(right), "{behaviour:?}");
    }
    let (peer, _) = start(&bytes, Behaviour::ForgedMd5InManifest);
    assert!(
        manifest(&peer, &bytes).is_some_and(|manifest| manifest != manifest_of(&bytes)),
        "merges, and lies"
    );
    let (_peer, entry) = start(&bytes, Behaviour::FalseWholeMd5);
    assert!(entry.md5 != md5_of(&bytes) && entry.key() == key_of(&bytes));
    let (peer, _) = start(&bytes, Behaviour::ChangedFile);
    assert!(matches!(piece(&peer, &bytes).0, Some(PeerReply::Refused(_))));
    let (peer, _) = start(&bytes, Behaviour::AnotherPiece);
    assert!(matches!(piece(&peer, &bytes).0, Some(PeerReply::Piece { piece: 2, .. })));
}

#[test]
fn broken_frames_do_not_decode() {
    let bytes = noise(53, 5000);
    for (behaviour, expected) in [
        (Behaviour::HugeFrame, FrameError::TooLong { claimed: u32::MAX, max: limits::FRAME_MAX_BYTES }),
        (Behaviour::Garbage, FrameError::Magic(*noise(7, 4).first_chunk().expect("four bytes"))),
    ] {
        let (peer, _) = start(&bytes, behaviour);
        let mut client = Client::connect(peer.addr);
        let content = key_of(&bytes);
        client.send(&PeerRequest::Piece { asker: raw::fresh_node_id(), content, piece: 0 });
        let start = client.receive_raw(8).expect("eight bytes of an answer");
        let mut decoder = Decoder::new();
        decoder.push(&start);
        let refused = decoder.next().expect_err("no frame");
        // A wrong magic is refused at its first wrong byte. How much of it is shown does not matter here.
        assert_eq!(std::mem::discriminant(&refused), std::mem::discriminant(&expected), "{behaviour:?}");
    }
}

#[test]
fn stalls_and_trickles_keep_the_connection_and_end_with_their_peer() {
    let bytes = noise(54, 4000);
    for behaviour in [Behaviour::Stalls, Behaviour::Trickles] {
        let (peer, _) = start(&bytes, behaviour);
        let mut client = Client::connect(peer.addr);
        let content = key_of(&bytes);
        client.send(&PeerRequest::Piece { asker: raw::fresh_node_id(), content, piece: 0 });
        assert_eq!(client.receive(), Some(PeerReply::Piece { piece: 0, len_bytes: 4000 }));
        assert!(client.receive_raw(2).as_deref() == Some(&bytes[..2]), "{behaviour:?}");
        let mut idle = client.stream().try_clone().expect("a descriptor");
        if behaviour == Behaviour::Stalls {
            assert!(client.receive_raw(1998).is_some(), "half of the piece");
            idle.set_read_timeout(Some(Duration::from_millis(100))).expect("a deadline");
            let nothing = idle.read(&mut [0]).expect_err("open, and silent for a while");
            assert_eq!(nothing.kind(), std::io::ErrorKind::WouldBlock);
        }
        drop(peer);
        assert!(client.closed_within(DEADLINE), "{behaviour:?}");
    }
}
