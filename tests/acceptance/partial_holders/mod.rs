//! A downloader is a source of the pieces that it has, from the first one on.

mod untrue;

use std::fs;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use nearpeer::node::{self, CommandError, DownloadRequest, NodeConfig};
use nearpeer::proto::event::DownloadEvent;
use nearpeer::proto::peer::{PeerRefusal, PeerReply, PeerRequest};
use nearpeer::rt::Stop;
use nearpeer::types::{ContentKey, FileName, Geometry, Manifest, Md5Digest, PieceSet, limits};
use rustix::process::Signal;

use crate::support::content::{key_of, noise};
use crate::support::evil::{Behaviour, EvilPeer};
use crate::support::partial::{PARTS_DIR, left, plant};
use crate::support::process::Stream;
use crate::support::proxy::{Direction, Fault};
use crate::support::raw::{self, Client};
use crate::support::rows::{DownloadedRow, downloaded_row};
use crate::support::world::{Node, NodeSpec, POLL_INTERVAL, Ran, World, assert_only, write_latency};
use crate::support::{DEADLINE, print_figures};

const NAME: &str = "f.bin";

const MIB: usize = 1 << 20;

/// Requests for a piece. Their replies are larger than the buffers of both systems.
const TIMES: usize = 48;

/// The pieces of the content that the node claims. `None` if it does not serve the content.
fn have(node: &Node, content: ContentKey) -> Option<PieceSet> {
    have_at(node.addr, content)
}

fn have_at(addr: SocketAddr, content: ContentKey) -> Option<PieceSet> {
    match Client::connect(addr).ask(&PeerRequest::Have { content }) {
        PeerReply::Have { pieces } => {
            let count = Geometry::of(content.size_bytes).count().expect("a small file");
            Some(PieceSet::from_bytes(count, &pieces).expect("a set of as many pieces"))
        }
        PeerReply::Refused(PeerRefusal::NotShared) => None,
        other => panic!("{other:?}"),
    }
}

/// Polls until the node has that many pieces.
fn wait_for_pieces(node: &Node, content: ContentKey, wanted: usize) -> PieceSet {
    let until = Instant::now() + DEADLINE;
    loop {
        match have(node, content) {
            Some(has) if has.len() >= wanted => return has,
            has => assert!(Instant::now() < until, "only {has:?}: {}", node.process.transcript()),
        }
        // The node sends no event of a change, so it is polled, unless it ends meanwhile.
        assert!(!node.process.ends_within(POLL_INTERVAL), "{}", node.process.transcript());
    }
}

#[test]
fn two_downloaders_of_one_file_serve_each_other() {
    let bytes = noise(131, 24 * MIB);
    let world = World::new().tracker();
    let spec = NodeSpec::new().headless().file(NAME, &bytes).flags(&["--max-upload", "2MiB"]);
    let (_seed, link) = world.start_behind_proxy(spec);
    let mut requesters = [world.start(NodeSpec::new()), world.start(NodeSpec::new())];
    let before = link.bytes(Direction::ToClient);
    for requester in &mut requesters {
        requester.process.send(&format!("download {NAME}"));
    }
    let rows = requesters
        .each_ref()
        .map(|requester| downloaded_row(&requester.process.expect_stdout("downloaded "), NAME));
    let sent = link.bytes(Direction::ToClient) - before;
    print_figures(&format!(
        "partial holders: the seed sent {:.2} times the file to two",
        sent as f64 / bytes.len() as f64
    ));
    for (requester, other, row) in
        [(&requesters[0], &requesters[1], &rows[0]), (&requesters[1], &requesters[0], &rows[1])]
    {
        assert!(row.sources.contains(&other.addr), "{row:?}: {}", requester.process.transcript());
        assert!(requester.read(NAME).as_ref() == Some(&bytes));
        assert_only(&requester.share, &[NAME]);
    }
    // Without each other the seed would send the file twice. Both downloaders may have begun at the same
    // piece, and 24 pieces are few.
    assert!(sent < bytes.len() as u64 * 18 / 10, "{sent} bytes of {} for two", bytes.len());
}

#[test]
fn a_partial_holder_serves_its_pieces_and_continues_when_the_file_is_in_place() {
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
    let requester = raw::fresh_node_id();
    // The node may have more pieces than it claimed, but not all: the seed is frozen.
    let now = have(&holder, content).expect("the download runs");
    let missing = (0..12).find(|piece| !now.contains(*piece)).expect("the seed is slow");
    let refused: PeerReply = client.ask(&PeerRequest::Piece { asker: requester, content, piece: missing });
    assert_eq!(refused, PeerReply::Refused(PeerRefusal::NoSuchPiece));
    world.ask_until(&format!("find {NAME}"), |ran| ran.out.iter().any(|row| row.contains("/12 ")));
    // A partial file is not listed as a file.
    world.expect_listed("one file, and not the part", |nodes| {
        nodes.iter().all(|node| node.files == u32::from(node.endpoint != holder.addr))
    });

    let piece = has.next(0).expect("two");
    for _ in 0..TIMES {
        client.send(&PeerRequest::Piece { asker: requester, content, piece });
    }
    limit(None);
    downloaded_row(&holder.process.expect_stdout("downloaded "), NAME);
    assert_eq!(have(&holder, content), Some(PieceSet::all(12)));
    for _ in 0..TIMES {
        take_piece(&mut client, content, piece, &bytes);
    }
    // The same connection continues with the complete file.
    let reply: PeerReply = client.ask(&PeerRequest::Piece { asker: requester, content, piece: missing });
    assert_eq!(reply, PeerReply::Piece { piece: missing, len_bytes: MIB as u32 });
}

#[test]
fn a_failed_download_is_no_longer_published() {
    let bytes = noise(133, 12 * MIB);
    let content = key_of(&bytes);
    let world = World::new().tracker();
    let (mut seed, link) = world.start_behind_proxy(NodeSpec::new().headless().file(NAME, &bytes));
    let mut holder = world.start(NodeSpec::new().flags(&["--retries", "0"]));
    link.set(Direction::ToClient, Fault { rate: Some(2 << 20), ..Fault::default() });
    holder.process.send(&format!("download {NAME}"));
    let piece = wait_for_pieces(&holder, content, 1).next(0).expect("one");
    let mut reader = waiting_reader(holder.addr, content, piece, &bytes);
    assert!(has_part_open(&holder));
    seed.process.kill();
    holder.process.expect_stderr("no source could deliver it");
    assert_eq!(have(&holder, content), None);
    // Accepted requests are served, wherever the partial file is now.
    for _ in 1..TIMES {
        take_piece(&mut reader, content, piece, &bytes);
    }
    // The reader stays connected and does not keep a partial file that may be discarded.
    let until = Instant::now() + DEADLINE;
    while has_part_open(&holder) {
        assert!(Instant::now() < until, "the part is kept open");
        assert!(!holder.process.ends_within(POLL_INTERVAL), "{}", holder.process.transcript());
    }
    let gone = world.ask_until(&format!("find {NAME}"), |ran| ran.code == 3);
    assert_eq!(gone.out, ["No nodes found"]);
    assert_eq!(holder.command("list"), Vec::<String>::new());
}

/// One node has half of the pieces, another node has the other half, and the only full holder is gone.
#[test]
fn a_file_comes_whole_from_partial_holders_alone() {
    let bytes = noise(136, 12 * MIB);
    let content = key_of(&bytes);
    let world = World::new().tracker();
    // It answers and is ranked, but it sends no piece within the time of a test.
    let spec = NodeSpec::new().headless().file(NAME, &bytes);
    let mut seed = world.start(spec.flags(&["--max-upload", "1KiB"]));
    let half = |first: u32| {
        let share = world.directory();
        plant(&share, NAME, &bytes, first..first + 6);
        let (node, link) = world.start_behind_proxy(NodeSpec::new().share(&share));
        // So slow that neither has all pieces before the third downloader starts.
        link.set(Direction::ToClient, Fault { rate: Some(64 << 10), ..Fault::default() });
        (node, link)
    };
    let [(mut one, one_link), (mut other, other_link)] = [half(0), half(6)];
    for half in [&mut one, &mut other] {
        half.process.send(&format!("download {NAME}"));
        wait_for_pieces(half, content, 6);
    }
    seed.process.kill();
    let mut third = world.start(NodeSpec::new());
    third.process.send(&format!("download {NAME}"));
    third.process.expect_stderr("chose ");
    for half in [&one, &other] {
        assert!(have(half, content).expect("the download runs").len() < 12, "{}", half.process.transcript());
    }
    for link in [&one_link, &other_link] {
        link.set(Direction::ToClient, Fault::default());
    }
    let rows = [&one, &other, &third].map(|node| {
        let row = downloaded_row(&node.process.expect_stdout("downloaded "), NAME);
        assert!(node.read(NAME).as_ref() == Some(&bytes));
        assert_only(&node.share, &[NAME]);
        assert!(!row.sources.contains(&seed.addr), "{row:?}: {}", node.process.transcript());
        row
    });
    let addrs = [one_link.addr(), other_link.addr()];
    assert!(addrs.iter().all(|addr| rows[2].sources.contains(addr)), "{rows:?} of {addrs:?}");
}

#[test]
fn a_killed_partial_holder_is_no_longer_listed_and_does_not_delay_others() {
    let bytes = noise(137, 12 * MIB);
    let content = key_of(&bytes);
    let world = World::new().tracker();
    let (_seed, link) = world.start_behind_proxy(NodeSpec::new().headless().file(NAME, &bytes));
    let limit = |rate| link.set(Direction::ToClient, Fault { rate, ..Fault::default() });
    limit(Some(1 << 20));
    let share = world.directory();
    plant(&share, NAME, &bytes, 0..8);
    // Slow, so that the other one is killed in the middle of the download.
    let spec = NodeSpec::new().share(&share).flags(&["--max-upload", "512KiB", "--resume", "off"]);
    let mut holder = world.start(spec);
    holder.process.send(&format!("download {NAME}"));
    wait_for_pieces(&holder, content, 8);
    let mut requester = world.start(NodeSpec::new());
    requester.process.send(&format!("download {NAME}"));
    wait_for_pieces(&requester, content, 1);
    holder.process.kill();
    let row = format!("{} {} ", holder.addr.ip(), holder.addr.port());
    let is_offered = |ran: &Ran| ran.out.iter().any(|line| line.starts_with(&row));
    world.ask_until(&format!("find {NAME}"), |ran| !is_offered(ran));
    limit(None);
    downloaded_row(&requester.process.expect_stdout("downloaded "), NAME);
    assert!(requester.read(NAME) == Some(bytes));
    // The node that comes back at its address has published nothing.
    holder.restart();
    assert_eq!(have(&holder, content), None);
    assert!(!is_offered(&world.ask(&format!("find {NAME}"))));
}

/// Each downloader has pieces of a content without a full holder, and neither regards the other as a full
/// holder.
#[test]
fn two_downloaders_of_a_replaced_file_both_start_again() {
    let (bytes, newer) = (noise(139, 24 * MIB), noise(140, 3 * MIB));
    let content = key_of(&bytes);
    let world = World::new().tracker();
    let (mut seed, link) = world.start_behind_proxy(NodeSpec::new().file(NAME, &bytes));
    link.set(Direction::ToClient, Fault { rate: Some(1 << 20), ..Fault::default() });
    let mut requesters = [world.start(NodeSpec::new()), world.start(NodeSpec::new())];
    for requester in &mut requesters {
        requester.process.send(&format!("download {NAME}"));
    }
    for requester in &requesters {
        wait_for_pieces(requester, content, 1);
    }
    seed.write(".newer", &newer);
    fs::rename(seed.share.join(".newer"), seed.share.join(NAME)).expect("replaced");
    assert_eq!(seed.command("updatelist").len(), 1);
    link.set(Direction::ToClient, Fault::default());
    for requester in &requesters {
        downloaded_row(&requester.process.expect_stdout("downloaded "), NAME);
        requester.process.expect_stderr("beginning again");
        assert!(requester.read(NAME).as_ref() == Some(&newer));
        assert_only(&requester.share, &[NAME]);
    }
}

/// True if the node has a partial file open, under any name.
fn has_part_open(node: &Node) -> bool {
    let parts = node.share.join(PARTS_DIR);
    node.process.open_files().iter().any(|file| file.parent() == Some(&parts))
}

/// A client of `holder` that has requested a piece of `content` so often that most replies are not sent yet,
/// and has read one.
fn waiting_reader(holder: SocketAddr, content: ContentKey, piece: u32, bytes: &[u8]) -> Client {
    let mut client = Client::connect(holder);
    let requester = raw::fresh_node_id();
    for _ in 0..TIMES {
        client.send(&PeerRequest::Piece { asker: requester, content, piece });
    }
    take_piece(&mut client, content, piece, bytes);
    client
}

fn take_piece(client: &mut Client, content: ContentKey, piece: u32, bytes: &[u8]) {
    let range = Geometry::of(content.size_bytes).range(piece).expect("there is such a piece");
    assert_eq!(client.receive(), Some(PeerReply::Piece { piece, len_bytes: MIB as u32 }));
    assert!(client.receive_raw(MIB).as_deref() == Some(&bytes[range.start as usize..range.end as usize]));
}

#[test]
fn a_cancel_unpublishes_the_partial_file_and_accepted_requests_are_served() {
    let bytes = noise(148, 12 * MIB);
    let content = key_of(&bytes);
    let world = World::new().tracker();
    let (_seed, link) = world.start_behind_proxy(NodeSpec::new().headless().file(NAME, &bytes));
    link.set(Direction::ToClient, Fault { rate: Some(2 << 20), ..Fault::default() });
    let share = world.directory();
    let holder = node::Node::start(NodeConfig::new([127, 0, 0, 1].into(), &share, world.tracker_addr()));
    let holder = holder.expect("it starts");
    let name = FileName::new(NAME).expect("an ordinary name");
    let request = DownloadRequest { name, checksum: None, verify_whole: false, force: false };
    let cancel = Stop::new().expect("a descriptor");
    let mut reader = None;
    let done = holder.download(&request, &cancel, &mut |progress| {
        if let (DownloadEvent::Bytes { .. }, None) = (progress, &reader) {
            let piece = have_at(holder.addr(), content).and_then(|has| has.next(0)).expect("one is done");
            reader = Some((piece, waiting_reader(holder.addr(), content, piece, &bytes)));
            cancel.trigger();
        }
    });
    assert_eq!(done, Err(CommandError::Cancelled.into()));
    assert_eq!(have_at(holder.addr(), content), None);
    assert_eq!(left(&share).len(), 2, "the part and its record");
    let (piece, mut reader) = reader.expect("a piece was done");
    for _ in 1..TIMES {
        take_piece(&mut reader, content, piece, &bytes);
    }
    let report = holder.stop();
    assert!(report.is_clean(), "{report:?}");
}

#[test]
fn ctrl_c_ends_and_unpublishes_a_download_while_a_piece_is_being_sent() {
    let bytes = noise(145, 12 * MIB);
    let content = key_of(&bytes);
    let world = World::new().tracker();
    let (_seed, link) = world.start_behind_proxy(NodeSpec::new().headless().file(NAME, &bytes));
    let mut holder = world.start(NodeSpec::new());
    link.set(Direction::ToClient, Fault { rate: Some(2 << 20), ..Fault::default() });
    holder.process.send(&format!("download {NAME}"));
    let piece = wait_for_pieces(&holder, content, 1).next(0).expect("one");
    link.set(Direction::ToClient, Fault { frozen: true, ..Fault::default() });
    let _reader = waiting_reader(holder.addr, content, piece, &bytes);
    holder.process.signal(Signal::INT);
    assert_eq!(holder.process.wait(DEADLINE), 130);
    assert!(holder.read(NAME).is_none());
    assert_eq!(left(&holder.share).len(), 2, "the part and its record");
    let mine = format!("{} {} ", holder.addr.ip(), holder.addr.port());
    world.ask_until(&format!("find {NAME}"), |ran| !ran.out.iter().any(|line| line.starts_with(&mine)));
}

#[test]
fn a_partial_file_beside_an_older_file_of_its_name_is_served_and_not_published() {
    let (bytes, older) = (noise(146, 12 * MIB), noise(147, 2 * MIB));
    let content = key_of(&bytes);
    let world = World::new().tracker();
    let (_seed, link) = world.start_behind_proxy(NodeSpec::new().headless().file(NAME, &bytes));
    let mut holder = world.start(NodeSpec::new().file(NAME, &older));
    link.set(Direction::ToClient, Fault { rate: Some(2 << 20), ..Fault::default() });
    holder.process.send(&format!("download {NAME} --force --checksum b3={}", content.id));
    wait_for_pieces(&holder, content, 2);
    let row = format!("{} {} ", holder.addr.ip(), holder.addr.port());
    let ran = world.ask(&format!("find {NAME}"));
    let mine: Vec<_> = ran.out.iter().filter(|line| line.starts_with(&row)).collect();
    assert!(mine.len() == 1 && mine[0].contains(" full "), "{ran:#?}");
    link.set(Direction::ToClient, Fault::default());
    downloaded_row(&holder.process.expect_stdout("downloaded "), NAME);
    assert!(holder.read(NAME) == Some(bytes));
    assert_eq!(have(&holder, content), Some(PieceSet::all(12)));
}
