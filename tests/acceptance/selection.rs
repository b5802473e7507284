//! The choice of the source, end to end: real uploads to readers that read nothing hold the loads, latencies
//! come from a file.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use nearpeer::proto::tracker::{ReplyBody, TrackerReply, TrackerRequest};
use nearpeer::types::{ContentKey, NodeId};
use rand::{Rng, SeedableRng, rngs::SmallRng};

use crate::support::content::{key_of, noise};
use crate::support::raw::{self, ThrottledReader};
use crate::support::rows::{downloaded_row, find_rows, load_row};
use crate::support::world::{Node, NodeSpec, World, write_latency};

/// Larger than the buffers of two sockets.
const HELD_BYTES: usize = 12 << 20;

/// Raises the load of `source` to `load` by uploads that do not end.
fn hold(readers: &mut Vec<ThrottledReader>, source: SocketAddr, load: usize, content: ContentKey) {
    while readers.len() < load {
        readers.push(ThrottledReader::start(source, raw::fresh_node_id(), content));
    }
    readers.truncate(load);
}

/// Polls until the load is as held: the end of an upload is detected when its connection closes.
fn expect_load(requester: &mut Node, source: SocketAddr, load: usize) {
    let until = std::time::Instant::now() + crate::support::DEADLINE;
    loop {
        let lines = requester.command(&format!("getload {} {}", source.ip(), source.port()));
        let shown = load_row(&lines[0]);
        if shown == (source, load as u32) {
            return;
        }
        assert!(std::time::Instant::now() < until, "{source}: load {load} is held, {shown:?} is shown");
    }
}

#[test]
fn the_near_source_is_chosen_until_its_load_outweighs_the_latency() {
    let held = noise(31, HELD_BYTES);
    let content = key_of(&held);
    let files: Vec<_> = (0..13).map(|load| (format!("f{load}"), noise(100 + load, 1000))).collect();
    let world = World::new().tracker();
    let spec = files.iter().fold(NodeSpec::new().headless(), |spec, (name, bytes)| spec.file(name, bytes));
    let near = world.start(spec.clone().file("held.bin", &held));
    let far = world.start(spec);
    let latency = world.latency_file();
    let mut requester = world.start(NodeSpec::new().latency(&latency));
    write_latency(&latency, &[(requester.addr, near.addr, 5.0), (requester.addr, far.addr, 70.0)]);
    let mut readers = Vec::new();
    for (load, (name, _)) in files.iter().enumerate() {
        hold(&mut readers, near.addr, load, content);
        expect_load(&mut requester, near.addr, load);
        let rows = find_rows(&requester.command(&format!("find {name}")));
        let near_score = 5.0 + 10.0 * load as f64;
        let shown: Vec<_> = rows.iter().map(|row| (row.endpoint, row.load, row.score)).collect();
        let mut expected =
            vec![(near.addr, Some(load as u32), Some(near_score)), (far.addr, Some(0), Some(70.0))];
        if near_score > 70.0 {
            expected.reverse();
        }
        assert_eq!(shown, expected, "load {load}");
        let lines = requester.command(&format!("download {name}"));
        let row = downloaded_row(lines.last().expect("a result"), name);
        assert_eq!(row.sources, [expected[0].0], "load {load}: the best in rank is the source");
    }
    // And back, after the readers have gone.
    drop(readers);
    expect_load(&mut requester, near.addr, 0);
    assert_eq!(find_rows(&requester.command("find f0"))[0].endpoint, near.addr);
}

#[test]
fn the_order_follows_latency_and_load_for_random_values() {
    let mut rng = SmallRng::seed_from_u64(crate::support::seed(20_260_102));
    let held = noise(32, HELD_BYTES);
    let content = key_of(&held);
    let world = World::new().tracker();
    let sources: Vec<_> = (0..4)
        .map(|_| {
            (0..6).fold(NodeSpec::new().headless().file("held.bin", &held), |spec, n| {
                spec.file(&format!("f{n}"), &noise(200 + n, 500))
            })
        })
        .map(|spec| world.start(spec))
        .collect();
    let latency = world.latency_file();
    let mut requester = world.start(NodeSpec::new().latency(&latency));
    let mut readers: Vec<Vec<ThrottledReader>> = sources.iter().map(|_| Vec::new()).collect();
    for round in 0..6 {
        // Small ranges, so that ties and near ties occur.
        let latencies: Vec<f64> = sources.iter().map(|_| f64::from(rng.random_range(0..13)) * 10.0).collect();
        let loads: Vec<usize> = sources.iter().map(|_| rng.random_range(0..=12)).collect();
        let entries: Vec<_> =
            sources.iter().zip(&latencies).map(|(source, ms)| (requester.addr, source.addr, *ms)).collect();
        write_latency(&latency, &entries);
        for ((source, readers), load) in sources.iter().zip(&mut readers).zip(&loads) {
            hold(readers, source.addr, *load, content);
            expect_load(&mut requester, source.addr, *load);
        }
        // Least score, then least latency, then address.
        let mut expected: Vec<_> = sources
            .iter()
            .zip(&latencies)
            .zip(&loads)
            .map(|((source, ms), load)| ((ms + 10.0 * *load as f64) as u64, *ms as u64, source.addr))
            .collect();
        expected.sort();
        let rows = find_rows(&requester.command(&format!("find f{round}")));
        let shown: Vec<_> = rows
            .iter()
            .map(|row| (row.score.expect("scored") as u64, row.latency.expect("rated") as u64, row.endpoint))
            .collect();
        assert_eq!(shown, expected, "round {round}, loads {loads:?}");
        let lines = requester.command(&format!("download f{round}"));
        let row = downloaded_row(lines.last().expect("a result"), &format!("f{round}"));
        assert_eq!(row.sources, [expected[0].2], "round {round}");
    }
}

#[test]
fn a_missing_pair_counts_as_the_default_and_the_weight_can_be_set() {
    let world = World::new().tracker();
    let holder = world.holder(&[("a.txt", b"a")]);
    let latency = world.latency_file();
    let mut requester = world.start(NodeSpec::new().latency(&latency));
    assert_eq!(find_rows(&requester.command("find a.txt"))[0].latency, Some(100.0));
    // Pairs are directed: the reversed pair is a different one.
    write_latency(&latency, &[(holder.addr, requester.addr, 7.0)]);
    assert_eq!(find_rows(&requester.command("find a.txt"))[0].latency, Some(100.0));
    std::fs::write(&latency, format!("{},{},12.5\n", holder.addr.port(), requester.addr.port()))
        .expect("the comma dialect");
    assert_eq!(find_rows(&requester.command("find a.txt"))[0].latency, Some(12.5), "symmetric");

    let held = noise(33, HELD_BYTES);
    let source = world.holder(&[("held.bin", &held)]);
    let mut readers = Vec::new();
    hold(&mut readers, source.addr, 2, key_of(&held));
    let flags = ["--default-latency-ms", "3", "--load-weight", "0.5"];
    let mut requester = world.start(NodeSpec::new().latency(&latency).flags(&flags));
    expect_load(&mut requester, source.addr, 2);
    let row = find_rows(&requester.command("find held.bin")).remove(0);
    assert_eq!((row.latency, row.load, row.score), (Some(3.0), Some(2), Some(4.0)));
}

#[test]
fn an_upload_counts_from_its_request_until_its_connection_ends() {
    let held = noise(34, HELD_BYTES);
    let content = key_of(&held);
    let world = World::new().tracker();
    let source = world.holder(&[("held.bin", &held)]);
    let mut requester = world.start(NodeSpec::new());
    let (me, other) = (raw::fresh_node_id(), raw::fresh_node_id());
    let first = ThrottledReader::start(source.addr, me, content);
    assert_eq!(raw::load_of(source.addr, me, Some(content)), (1, 1), "mine");
    assert_eq!(raw::load_of(source.addr, other, Some(content)), (1, 0), "not another's");
    assert_eq!(raw::load_of(source.addr, me, Some(key_of(b"else"))), (1, 0), "not of another content");
    assert_eq!(raw::load_of(source.addr, me, None), (1, 0));
    // A second connection of the same peer for the same file is the same transfer.
    let second = ThrottledReader::start(source.addr, me, content);
    assert_eq!(raw::load_of(source.addr, me, Some(content)), (1, 1));
    let third = ThrottledReader::start(source.addr, other, content);
    assert_eq!(raw::load_of(source.addr, other, Some(content)), (2, 1));
    drop((first, second));
    expect_load(&mut requester, source.addr, 1);
    drop(third);
    expect_load(&mut requester, source.addr, 0);
}

#[test]
fn probes_and_finds_do_not_count_as_load() {
    let world = World::new().tracker();
    let source = world.holder(&[("a.txt", b"a")]);
    let mut idle: Vec<_> = (0..20).map(|_| raw::Client::connect(source.addr)).collect();
    for client in &mut idle {
        let request = nearpeer::proto::peer::PeerRequest::Load { asker: raw::fresh_node_id(), content: None };
        let _reply: nearpeer::proto::peer::PeerReply = client.ask(&request);
    }
    assert_eq!(find_rows(&world.ask("find a.txt").out)[0].load, Some(0));
}

#[test]
fn own_transfers_are_not_counted_against_a_source() {
    let bytes = noise(35, HELD_BYTES);
    let content = key_of(&bytes);
    let world = World::new().tracker();
    let near = world.holder(&[("a.bin", &bytes)]);
    let far = world.holder(&[("a.bin", &bytes)]);
    let latency = world.latency_file();
    let chosen_while = |is_own: bool| {
        let mut requester = world.start(NodeSpec::new().latency(&latency));
        write_latency(&latency, &[(requester.addr, near.addr, 0.0), (requester.addr, far.addr, 5.0)]);
        let id = if is_own { node_id(&world, requester.addr) } else { raw::fresh_node_id() };
        let upload = ThrottledReader::start(near.addr, id, content);
        expect_load(&mut requester, near.addr, 1);
        requester.command("download a.bin");
        // The first in rank: at the end, both sources serve a file of so many pieces.
        let chosen = requester.process.expect_stderr("a.bin: chose ");
        drop(upload);
        // The node leaves the answers of the tracker before the next one starts.
        assert_eq!(requester.leave(), 0);
        expect_idle(&world, near.addr);
        [&near, &far].map(|source| chosen.contains(&format!("chose {}:", source.addr)))
    };
    // One transfer costs 10, and the far source is only 5 farther. A transfer of another node counts, the
    // requester's own does not.
    assert_eq!(chosen_while(false), [false, true], "near, far");
    assert_eq!(chosen_while(true), [true, false], "near, far");
}

/// The id under which the node at `endpoint` is registered.
fn node_id(world: &World, endpoint: SocketAddr) -> NodeId {
    let reply: TrackerReply =
        raw::Client::connect(world.tracker_addr()).ask(&TrackerRequest::ListNodes { skip: 0 });
    let ReplyBody::Nodes { nodes, .. } = reply.body else { panic!("{reply:?}") };
    nodes.iter().find(|row| row.endpoint == endpoint).expect("it is registered").node
}

/// Waits until the node has no transfer.
fn expect_idle(world: &World, node: SocketAddr) {
    let mut witness = world.start(NodeSpec::new());
    expect_load(&mut witness, node, 0);
}

#[test]
fn a_downloading_node_is_loaded_by_its_own_download() {
    let bytes = noise(36, 2 << 20);
    let world = World::new().tracker();
    let _source =
        world.start(NodeSpec::new().headless().file("a.bin", &bytes).flags(&["--max-upload", "1MiB"]));
    let mut requester = world.start(NodeSpec::new());
    requester.process.send("download a.bin");
    let until = std::time::Instant::now() + crate::support::DEADLINE;
    while raw::load_of(requester.addr, raw::fresh_node_id(), None).0 != 1 {
        assert!(
            std::time::Instant::now() < until,
            "a download is never counted\n{}",
            requester.process.transcript()
        );
    }
    requester.process.expect_stdout("downloaded ");
    assert_eq!(raw::load_of(requester.addr, raw::fresh_node_id(), None).0, 0);
}

#[test]
fn an_emulated_latency_holds_each_reply_back_and_is_no_deadline() {
    let bytes = noise(37, 3 << 20);
    let world = World::new().tracker();
    let source = world.holder(&[("a.bin", &bytes)]);
    let latency = world.latency_file();
    let mut requester = world.start(NodeSpec::new().latency(&latency).flags(&["--emulate-latency"]));
    // Longer than a probe round waits after its first answer.
    let emulated = Duration::from_millis(700);
    write_latency(&latency, &[(requester.addr, source.addr, 700.0)]);
    let begun = Instant::now();
    assert_eq!(find_rows(&requester.command("find a.bin"))[0].latency, Some(700.0));
    assert!(begun.elapsed() >= emulated, "a find waits for the probe's reply");
    let begun = Instant::now();
    let lines = requester.command("download a.bin");
    assert_eq!(downloaded_row(lines.last().expect("a result"), "a.bin").sources, [source.addr]);
    assert!(begun.elapsed() >= emulated * 3, "probe, piece list, pieces: one after another");
}
