//! Who downloads a file is a source of the pieces that it has, from the first one on.

use std::time::{Duration, Instant};

use nearpeer::proto::peer::{PeerRefusal, PeerReply, PeerRequest};
use nearpeer::types::{ContentKey, Geometry, Manifest, PieceSet};

use crate::support::content::{key_of, noise};
use crate::support::evil::{Behaviour, EvilPeer};
use crate::support::partial::plant;
use crate::support::proxy::{Direction, Fault};
use crate::support::raw::{self, Client};
use crate::support::rows::downloaded_row;
use crate::support::world::{ASK_EVERY, Node, NodeSpec, Ran, World, assert_only, write_latency};
use crate::support::{DEADLINE, tell};

const NAME: &str = "f.bin";
const MIB: usize = 1 << 20;
/// Requests for a piece, together more than the buffers of both systems take.
const TIMES: usize = 48;

/// What the node tells to have of the content; `None`: it does not offer it.
fn have(node: &Node, content: ContentKey) -> Option<PieceSet> {
    match Client::connect(node.addr).ask(&PeerRequest::Have { content }) {
        PeerReply::Have { pieces } => {
            let count = Geometry::of(content.size_bytes).count().expect("a small file");
            Some(PieceSet::from_bytes(count, &pieces).expect("a set of as many pieces"))
        }
        PeerReply::Refused(PeerRefusal::NotShared) => None,
        other => panic!("{other:?}"),
    }
}

/// Asks until the node has so many pieces.
fn wait_for_pieces(node: &Node, content: ContentKey, wanted: usize) -> PieceSet {
    let until = Instant::now() + DEADLINE;
    loop {
        match have(node, content) {
            Some(has) if has.len() >= wanted => return has,
            has => assert!(Instant::now() < until, "only {has:?}: {}", node.process.transcript()),
        }
        // It cannot tell of a change, so it is asked again, unless it ends meanwhile.
        assert!(!node.process.ends_within(ASK_EVERY), "{}", node.process.transcript());
    }
}

#[test]
fn two_that_fetch_together_feed_each_other() {
    let bytes = noise(131, 24 * MIB);
    let world = World::new().tracker();
    let spec = NodeSpec::new().headless().file(NAME, &bytes).flags(&["--max-upload", "2MiB"]);
    let (_seed, link) = world.start_behind_proxy(spec);
    let mut askers = [world.start(NodeSpec::new()), world.start(NodeSpec::new())];
    let before = link.bytes(Direction::ToClient);
    for asker in &mut askers {
        asker.process.send(&format!("download {NAME}"));
    }
    let rows =
        askers.each_ref().map(|asker| downloaded_row(&asker.process.expect_stdout("downloaded "), NAME));
    let sent = link.bytes(Direction::ToClient) - before;
    tell(&format!(
        "partial holders: the seed sent {:.2} times the file to two",
        sent as f64 / bytes.len() as f64
    ));
    for (asker, other, row) in [(&askers[0], &askers[1], &rows[0]), (&askers[1], &askers[0], &rows[1])] {
        assert!(row.sources.contains(&other.addr), "{row:?}: {}", asker.process.transcript());
        assert!(asker.read(NAME).as_ref() == Some(&bytes));
        assert_only(&asker.share, &[NAME]);
    }
    // Twice without each other. Both may have begun at the same piece, and 24 are few.
    assert!(sent < bytes.len() as u64 * 18 / 10, "{sent} bytes of {} for two", bytes.len());
}

#[test]
fn a_partial_holder_serves_what_it_has_and_goes_on_when_the_file_is_in_place() {
    let bytes = noise(132, 12 * MIB);
    let content = key_of(&bytes);
    let world = World::new().tracker();
    let (_seed, link) = world.start_behind_proxy(NodeSpec::new().headless().file(NAME, &bytes));
    let mut holder = world.start(NodeSpec::new());
    let limit = |rate| link.set(Direction::ToClient, Fault { rate, ..Fault::default() });
    limit(Some(2 << 20));
    assert_eq!(have(&holder, content), None);
    holder.process.send(&format!("download {NAME}"));
    let has = wait_for_pieces(&holder, content, 2);
    link.set(Direction::ToClient, Fault { frozen: true, ..Fault::default() });

    let mut client = Client::connect(holder.addr);
    match client.ask(&PeerRequest::Manifest { content, first_piece: 0 }) {
        PeerReply::Manifest { pieces, .. } => {
            drop(Manifest::accept(content, pieces).expect("the right list"))
        }
        other => panic!("{other:?}"),
    }
    let asker = raw::fresh_node_id();
    // More may be here than was told, but not all: the seed is frozen.
    let now = have(&holder, content).expect("it goes on");
    let missing = (0..12).find(|piece| !now.contains(*piece)).expect("the seed is slow");
    let refused: PeerReply = client.ask(&PeerRequest::Piece { asker, content, piece: missing });
    assert_eq!(refused, PeerReply::Refused(PeerRefusal::NoSuchPiece));
    world.ask_until(&format!("find {NAME}"), |ran| ran.out.iter().any(|row| row.contains("/12 ")));
    // A part is no file.
    world.expect_listed("one file, and not the part", |nodes| {
        nodes.iter().all(|node| node.files == u32::from(node.endpoint != holder.addr))
    });

    let piece = has.next(0).expect("two");
    for _ in 0..TIMES {
        client.send(&PeerRequest::Piece { asker, content, piece });
    }
    limit(None);
    downloaded_row(&holder.process.expect_stdout("downloaded "), NAME);
    assert_eq!(have(&holder, content), Some(PieceSet::all(12)));
    let range = Geometry::of(content.size_bytes).range(piece).expect("there is such a piece");
    let expected = &bytes[range.start as usize..range.end as usize];
    for _ in 0..TIMES {
        assert_eq!(client.receive(), Some(PeerReply::Piece { piece, len_bytes: MIB as u32 }));
        assert!(client.receive_raw(MIB).as_deref() == Some(expected));
    }
    // The same connection goes on with what is a file now.
    let reply: PeerReply = client.ask(&PeerRequest::Piece { asker, content, piece: missing });
    assert_eq!(reply, PeerReply::Piece { piece: missing, len_bytes: MIB as u32 });
}

#[test]
fn a_download_that_is_given_up_is_offered_no_more() {
    let bytes = noise(133, 12 * MIB);
    let content = key_of(&bytes);
    let world = World::new().tracker();
    let (mut seed, link) = world.start_behind_proxy(NodeSpec::new().headless().file(NAME, &bytes));
    let mut holder = world.start(NodeSpec::new().flags(&["--retries", "0"]));
    link.set(Direction::ToClient, Fault { rate: Some(2 << 20), ..Fault::default() });
    holder.process.send(&format!("download {NAME}"));
    wait_for_pieces(&holder, content, 1);
    seed.process.kill();
    holder.process.expect_stderr("no source could deliver it");
    assert_eq!(have(&holder, content), None);
    let gone = world.ask_until(&format!("find {NAME}"), |ran| ran.code == 3);
    assert_eq!(gone.out, ["No nodes found"]);
    assert_eq!(holder.command("list"), Vec::<String>::new());
}

#[test]
fn a_partial_holder_that_lies_about_what_it_has_is_left_for_others() {
    let bytes = noise(134, 5 * MIB);
    let world = World::new().tracker();
    let evil = EvilPeer::start(world.tracker_addr(), NAME, &bytes, Behaviour::FalseHave);
    let honest = world.holder(&[(NAME, &bytes)]);
    let latency = world.latency_file();
    let mut asker = world.start(NodeSpec::new().latency(&latency));
    write_latency(&latency, &[(asker.addr, evil.addr, 1.0), (asker.addr, honest.addr, 2.0)]);
    let lines = asker.command_within(&format!("download {NAME}"), Duration::from_secs(20));
    let row = downloaded_row(lines.last().expect("a result"), NAME);
    assert_eq!(row.sources, [honest.addr], "{}", asker.process.transcript());
    assert!(evil.asked() > 0, "it was never asked");
    assert!(asker.read(NAME) == Some(bytes));
}

#[test]
fn a_partial_holder_that_does_not_have_a_piece_is_asked_for_its_others() {
    let bytes = noise(138, 12 * MIB);
    let world = World::new().tracker();
    let half = EvilPeer::start(world.tracker_addr(), NAME, &bytes, Behaviour::HalfPart);
    let honest = world.holder(&[(NAME, &bytes)]);
    let latency = world.latency_file();
    let mut asker = world.start(NodeSpec::new().latency(&latency));
    write_latency(&latency, &[(asker.addr, half.addr, 1.0), (asker.addr, honest.addr, 900.0)]);
    let lines = asker.command_within(&format!("download {NAME}"), Duration::from_secs(20));
    let row = downloaded_row(lines.last().expect("a result"), NAME);
    // How many of its six come from it depends on how soon it is asked again.
    assert_eq!(row.sources.len(), 2, "{}", asker.process.transcript());
    assert!((1..=6).contains(&half.sent_pieces()), "{}", asker.process.transcript());
    assert!(asker.read(NAME) == Some(bytes));
}

#[test]
fn what_only_a_partial_holder_has_is_fetched_as_far_as_it_goes() {
    let bytes = noise(135, 5 * MIB);
    let world = World::new().tracker();
    let evil = EvilPeer::start(world.tracker_addr(), NAME, &bytes, Behaviour::FalseHave);
    let ran = world.run(&NodeSpec::new().flags(&["--retries", "0"]), &format!("download {NAME}\n"));
    assert_eq!(ran.code, 5, "{}", ran.err);
    assert!(ran.err.contains("has no piece "), "{}", ran.err);
    assert!(evil.asked() > 0);
}

/// Half of the pieces at one, the other half at another, and the only one that had them all is gone.
#[test]
fn a_file_comes_whole_from_partial_holders_alone() {
    let bytes = noise(136, 12 * MIB);
    let content = key_of(&bytes);
    let world = World::new().tracker();
    // It answers and is ranked, but it gives no piece within the time of a test.
    let spec = NodeSpec::new().headless().file(NAME, &bytes);
    let mut seed = world.start(spec.flags(&["--max-upload", "1KiB"]));
    let half = |first: u32| {
        let share = world.directory();
        plant(&share, NAME, &bytes, first..first + 6);
        // So slow that neither has all before the third one has come.
        world.start(NodeSpec::new().share(&share).flags(&["--max-upload", "2MiB"]))
    };
    let mut halves = [half(0), half(6)];
    for half in &mut halves {
        half.process.send(&format!("download {NAME}"));
        wait_for_pieces(half, content, 6);
    }
    seed.process.kill();
    let mut third = world.start(NodeSpec::new());
    third.process.send(&format!("download {NAME}"));
    let rows = [&halves[0], &halves[1], &third].map(|node| {
        let row = downloaded_row(&node.process.expect_stdout("downloaded "), NAME);
        assert!(node.read(NAME).as_ref() == Some(&bytes));
        assert_only(&node.share, &[NAME]);
        assert!(!row.sources.contains(&seed.addr), "{row:?}: {}", node.process.transcript());
        row
    });
    let addrs = halves.each_ref().map(|half| half.addr);
    assert!(addrs.iter().all(|addr| rows[2].sources.contains(addr)), "{rows:?} of {addrs:?}");
}

#[test]
fn a_partial_holder_that_is_killed_is_offered_no_more_and_hinders_nobody() {
    let bytes = noise(137, 12 * MIB);
    let content = key_of(&bytes);
    let world = World::new().tracker();
    let (_seed, link) = world.start_behind_proxy(NodeSpec::new().headless().file(NAME, &bytes));
    let limit = |rate| link.set(Direction::ToClient, Fault { rate, ..Fault::default() });
    limit(Some(1 << 20));
    let share = world.directory();
    plant(&share, NAME, &bytes, 0..8);
    // Slow, so that the other one is in the middle of it when it is killed.
    let spec = NodeSpec::new().share(&share).flags(&["--max-upload", "512KiB", "--resume", "off"]);
    let mut holder = world.start(spec);
    holder.process.send(&format!("download {NAME}"));
    wait_for_pieces(&holder, content, 8);
    let mut asker = world.start(NodeSpec::new());
    asker.process.send(&format!("download {NAME}"));
    wait_for_pieces(&asker, content, 1);
    holder.process.kill();
    let row = format!("{} {} ", holder.addr.ip(), holder.addr.port());
    let is_offered = |ran: &Ran| ran.out.iter().any(|line| line.starts_with(&row));
    world.ask_until(&format!("find {NAME}"), |ran| !is_offered(ran));
    limit(None);
    downloaded_row(&asker.process.expect_stdout("downloaded "), NAME);
    assert!(asker.read(NAME) == Some(bytes));
    // The one that comes back at its address has told of nothing.
    holder.restart();
    assert_eq!(have(&holder, content), None);
    assert!(!is_offered(&world.ask(&format!("find {NAME}"))));
}
