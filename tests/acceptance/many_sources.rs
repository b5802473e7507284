//! One download from several sources at once: the sources that are used, join, leave and are blamed.
//!
//! Sources are behind proxies, which count the bytes of each and make all equally fast.

use std::time::{Duration, Instant};

use crate::support::content::noise;
use crate::support::evil::{Behaviour, EvilPeer};
use crate::support::process::{Process, Stream};
use crate::support::proxy::{Direction, Fault, Proxy};
use crate::support::rows::downloaded_row;
use crate::support::world::{Node, NodeSpec, World, assert_only, write_latency};
use crate::support::{DEADLINE, print_figures};

const NAME: &str = "f.bin";
const MIB: u64 = 1 << 20;

/// A source and its proxy.
struct Source {
    node: Node,
    proxy: Proxy,
}

impl Source {
    fn start(world: &World, name: &str, bytes: &[u8]) -> Source {
        let (node, proxy) = world.start_behind_proxy(NodeSpec::new().headless().file(name, bytes));
        Source { node, proxy }
    }

    fn limit(&self, bytes_per_s: u64) {
        self.proxy.set(Direction::ToClient, Fault { rate: Some(bytes_per_s), ..Fault::default() });
    }

    /// Bytes that it has sent.
    fn sent(&self) -> u64 {
        self.proxy.bytes(Direction::ToClient)
    }
}

/// True if the process has reported that it dropped a source, for a reason that contains `why`.
fn has_left(process: &Process, source: std::net::SocketAddr, why: &str) -> bool {
    let left = format!("{NAME}: left {source}: ");
    let lines = process.since(Stream::Stderr, 0);
    lines.iter().any(|line| line.strip_prefix(&left).is_some_and(|rest| rest.contains(why)))
}

#[test]
fn three_holders_under_three_names_feed_one_download() {
    let bytes = noise(91, (12 << 20) + 345);
    let world = World::new().tracker();
    let names = ["one.bin", "deep/two.bin", NAME];
    let sources = names.map(|name| Source::start(&world, name, &bytes));
    let mut requester = world.start(NodeSpec::new());
    for source in &sources {
        source.limit(4 << 20);
    }
    requester.process.send(&format!("download {NAME}"));
    let row = downloaded_row(&requester.process.expect_stdout("downloaded "), NAME);
    let mut used = row.sources;
    used.sort();
    let mut expected = sources.each_ref().map(|source| source.proxy.addr());
    expected.sort();
    assert_eq!(used, expected, "{}", requester.process.transcript());
    for source in &sources {
        assert!(source.sent() >= MIB, "{}: {} bytes", source.proxy.addr(), source.sent());
    }
    assert!(requester.read(NAME) == Some(bytes));
    assert_only(&requester.share, &[NAME]);
}

/// Downloads a file of `pieces` whole pieces from a source at 1 ms and one at `far_ms`. Returns the number of
/// pieces from each, measured by the proxies, and whether each is named.
fn pieces_from_near_and_far(pieces: u64, far_ms: f64) -> [(u64, bool); 2] {
    let bytes = noise(92, (pieces * MIB) as usize);
    let world = World::new().tracker();
    let sources = [Source::start(&world, NAME, &bytes), Source::start(&world, NAME, &bytes)];
    let latency = world.latency_file();
    let mut requester = world.start(NodeSpec::new().latency(&latency));
    let rows = [1.0, far_ms];
    let rows: Vec<_> =
        sources.iter().zip(rows).map(|(source, ms)| (requester.addr, source.proxy.addr(), ms)).collect();
    write_latency(&latency, &rows);
    // So slow that no piece arrives before all pieces have been assigned to sources.
    for source in &sources {
        source.limit(4 << 20);
    }
    let before = sources.each_ref().map(Source::sent);
    let lines = requester.command(&format!("download {NAME}"));
    let row = downloaded_row(lines.last().expect("a result"), NAME);
    assert!(requester.read(NAME) == Some(bytes));
    let mut had = [(0, false); 2];
    for ((source, before), had) in sources.iter().zip(before).zip(&mut had) {
        let sent = source.sent() - before;
        // Requests, replies and the manifest are smaller than a piece.
        *had = (sent / MIB, row.sources.contains(&source.proxy.addr()));
    }
    had
}

#[test]
fn a_second_source_is_used_exactly_when_the_rule_says() {
    // Near source: 1 ms, and 10 for each piece that is already assigned to it.
    for (pieces, far_ms, expected) in [
        // Only one piece: the least latency wins.
        (1, 5.0, [(1, true), (0, false)]),
        // The second piece would cost 11 at the near source.
        (2, 5.0, [(1, true), (1, true)]),
        (2, 12.0, [(2, true), (0, false)]),
        // 1, 11; the third piece would cost 21.
        (3, 12.0, [(2, true), (1, true)]),
        // 1, 11, 21; the far source costs 25.
        (3, 25.0, [(3, true), (0, false)]),
    ] {
        assert_eq!(
            pieces_from_near_and_far(pieces, far_ms),
            expected,
            "{pieces} pieces, the far source at {far_ms} ms: pieces from each, and is it named"
        );
    }
}

#[test]
fn a_source_that_joins_is_used_within_ten_seconds() {
    let bytes = noise(93, 48 << 20);
    let world = World::new().tracker();
    let first = Source::start(&world, NAME, &bytes);
    let mut requester = world.start(NodeSpec::new());
    // The download would take 24 s from the first source alone.
    first.limit(2 << 20);
    let before = first.sent();
    requester.process.send(&format!("download {NAME}"));
    first.proxy.wait_bytes(Direction::ToClient, before + MIB, DEADLINE);
    let second = Source::start(&world, NAME, &bytes);
    let (joined, before) = (Instant::now(), second.sent());
    second.proxy.wait_bytes(Direction::ToClient, before + MIB, Duration::from_secs(10));
    print_figures(&format!("join: used {:.1} s after it was published", joined.elapsed().as_secs_f64()));
    let row = downloaded_row(&requester.process.expect_stdout("downloaded "), NAME);
    assert_eq!(row.sources, [first.proxy.addr(), second.proxy.addr()], "the first used first");
    assert!(requester.read(NAME) == Some(bytes));
}

#[test]
fn a_source_killed_while_two_are_used_is_left_and_the_rest_comes_from_the_other() {
    let bytes = noise(94, 16 << 20);
    let world = World::new().tracker();
    let mut sources = [Source::start(&world, NAME, &bytes), Source::start(&world, NAME, &bytes)];
    let mut requester = world.start(NodeSpec::new());
    let before = sources.each_ref().map(Source::sent);
    for source in &sources {
        source.limit(4 << 20);
    }
    requester.process.send(&format!("download {NAME}"));
    for (source, before) in sources.iter().zip(before) {
        source.proxy.wait_bytes(Direction::ToClient, before + MIB, DEADLINE);
    }
    let [doomed, other] = &mut sources;
    doomed.node.process.kill();
    let row = downloaded_row(&requester.process.expect_stdout("downloaded "), NAME);
    assert!(has_left(&requester.process, doomed.proxy.addr(), ""), "{}", requester.process.transcript());
    assert!(row.sources.contains(&other.proxy.addr()), "{row:?}");
    assert!(requester.read(NAME) == Some(bytes));
    assert_only(&requester.share, &[NAME]);
}

#[test]
fn one_of_four_that_corrupts_a_twentieth_is_named_and_wastes_little() {
    const PIECES: u64 = 48;
    let bytes = noise(95, (PIECES * MIB) as usize);
    let world = World::new().tracker();
    let evil = EvilPeer::start(world.tracker_addr(), NAME, &bytes, Behaviour::SometimesWrongBytes);
    let honest = [(); 3].map(|()| Source::start(&world, NAME, &bytes));
    let latency = world.latency_file();
    let mut requester = world.start(NodeSpec::new().latency(&latency));
    let mut rows = vec![(requester.addr, evil.addr, 1.0)];
    rows.extend(honest.iter().map(|source| (requester.addr, source.proxy.addr(), 2.0)));
    write_latency(&latency, &rows);
    for source in &honest {
        source.limit(16 << 20);
    }
    let before: u64 = honest.iter().map(Source::sent).sum();
    requester.process.send(&format!("download {NAME}"));
    let row = downloaded_row(&requester.process.expect_stdout("downloaded "), NAME);
    assert!(requester.read(NAME) == Some(bytes));
    assert_only(&requester.share, &[NAME]);
    assert!(evil.sent_pieces() >= 4, "it has sent no wrong piece yet: {}", requester.process.transcript());
    assert!(has_left(&requester.process, evil.addr, "wrong bytes"), "{}", requester.process.transcript());
    for source in &honest {
        assert!(row.sources.contains(&source.proxy.addr()), "{row:?}");
        let left = has_left(&requester.process, source.proxy.addr(), "");
        assert!(!left, "an honest one is left: {}", requester.process.transcript());
    }
    let fetched = honest.iter().map(Source::sent).sum::<u64>() - before + evil.sent_pieces() * MIB;
    let waste = fetched.saturating_sub(PIECES * MIB) as f64 / (PIECES * MIB) as f64;
    print_figures(&format!(
        "blame: {} pieces from the culprit, {:.1} % of the file fetched in vain",
        evil.sent_pieces(),
        waste * 100.0
    ));
    // At least the wrong piece was wasted. Otherwise this test measures nothing.
    assert!(waste >= 1.0 / PIECES as f64, "{waste}");
    assert!(waste < 0.25, "{waste}");
}
