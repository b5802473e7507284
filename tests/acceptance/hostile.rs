//! Hostile sources, each ranked first. With an honest node beside them the file is right; alone they cause an
//! error in bounded time. The liar is named, and a share never has a wrong file.

use std::fs;
use std::time::{Duration, Instant};

use crate::support::content::{b3_hex, md5_hex, md5_of, noise};
use crate::support::evil::{Behaviour, EvilPeer};
use crate::support::rows::downloaded_row;
use crate::support::world::{NodeSpec, Ran, World, assert_only, write_latency};

/// Three pieces, the last one short.
const MULTI: usize = (2 << 20) + 12_345;
const SINGLE: usize = 70_000;

/// Downloads `f.bin` in a fresh node for which the hostile peer is near and everything else far.
fn download(world: &World, evil: &EvilPeer, flags: &str) -> (Ran, Duration) {
    let latency = world.latency_file();
    // Pairs that are not in the file count as 100 ms.
    let mut requester = world.start(NodeSpec::new().latency(&latency).flags(&["--retries", "0"]));
    write_latency(&latency, &[(requester.addr, evil.addr, 1.0)]);
    let began = Instant::now();
    let command = format!("download f.bin{flags}");
    let out = requester.command_within(&command, Duration::from_secs(60));
    let took = began.elapsed();
    requester.process.close_stdin();
    let code = requester.process.wait(crate::support::DEADLINE);
    let err = requester.process.since(crate::support::process::Stream::Stderr, 0).join("\n");
    (Ran { code, out, err, share: requester.share.clone() }, took)
}

/// Returns true if the output names the peer as dropped or as a liar. That it was chosen first does not
/// count.
fn is_blamed(err: &str, evil: &EvilPeer) -> bool {
    let (left, lied) = (format!(": left {}: ", evil.addr), format!("{} falsely claims", evil.addr));
    err.lines().any(|line| line.contains(&left) || line.contains(&lied))
}

fn beside_an_honest_node(behaviour: Behaviour, len: usize) {
    let bytes = noise(21, len);
    let world = World::new().tracker();
    let evil = EvilPeer::start(world.tracker_addr(), "f.bin", &bytes, behaviour);
    let honest = world.holder(&[("f.bin", &bytes)]);
    let (ran, took) = download(&world, &evil, "");
    assert_eq!(ran.code, 0, "{behaviour:?}: {ran:#?}");
    let row = downloaded_row(ran.out.last().expect("a result"), "f.bin");
    assert!(row.sources.contains(&honest.addr), "{behaviour:?}: {row:?}");
    assert!(evil.requests() > 0, "{behaviour:?}: ranked first and without a request: {}", ran.err);
    assert!(is_blamed(&ran.err, &evil), "{behaviour:?}: the liar is not named: {}", ran.err);
    assert!(fs::read(ran.share.join("f.bin")).expect("in place") == bytes, "{behaviour:?}");
    assert_only(&ran.share, &["f.bin"]);
    assert!(took < Duration::from_secs(40), "{behaviour:?}: {took:?}");
}

fn alone(behaviour: Behaviour, len: usize, code: i32) {
    let bytes = noise(22, len);
    let world = World::new().tracker();
    let evil = EvilPeer::start(world.tracker_addr(), "f.bin", &bytes, behaviour);
    let (ran, took) = download(&world, &evil, "");
    assert_eq!((ran.code, ran.out.len()), (code, 0), "{behaviour:?}: {ran:#?}");
    assert!(evil.requests() > 0, "{behaviour:?}: no request");
    assert!(is_blamed(&ran.err, &evil), "{behaviour:?}: the liar is not named: {}", ran.err);
    assert!(!ran.err.contains("panicked"), "{behaviour:?}: {}", ran.err);
    // A partial file may be kept for a later attempt, but no file is placed.
    let left = crate::support::world::tree(&ran.share);
    assert!(left.iter().all(|path| path.starts_with(".nearpeer/")), "{behaviour:?}: {left:?}");
    assert!(took < Duration::from_secs(40), "{behaviour:?}: {took:?}");
}

/// One test for each behaviour, so that they run in parallel and a failure names its behaviour.
macro_rules! hostile {
    ($($name:ident: $behaviour:ident, $len:expr, exit $code:literal;)*) => {
        $(mod $name {
            use super::*;

            #[test]
            fn beside_an_honest_node_the_file_is_right() {
                beside_an_honest_node(Behaviour::$behaviour, $len);
            }

            #[test]
            fn alone_it_is_an_error_in_bounded_time() {
                alone(Behaviour::$behaviour, $len, $code);
            }
        })*
    };
}

hostile! {
    closes_early: ClosesEarly, MULTI, exit 5;
    closes_early_in_a_single_piece: ClosesEarly, SINGLE, exit 5;
    stalls: Stalls, MULTI, exit 5;
    stalls_in_a_single_piece: Stalls, SINGLE, exit 5;
    wrong_bytes: WrongBytes, MULTI, exit 8;
    wrong_bytes_in_a_single_piece: WrongBytes, SINGLE, exit 8;
    claims_more: ClaimsMore, MULTI, exit 5;
    claims_less: ClaimsLess, SINGLE, exit 5;
    huge_frame: HugeFrame, MULTI, exit 5;
    huge_frame_for_a_single_piece: HugeFrame, SINGLE, exit 5;
    garbage: Garbage, MULTI, exit 5;
    garbage_for_a_single_piece: Garbage, SINGLE, exit 5;
    another_piece: AnotherPiece, MULTI, exit 5;
    forged_manifest: ForgedManifest, MULTI, exit 8;
    // No digest is wrong there: the reply does not fit the request.
    short_manifest: ShortManifest, MULTI, exit 5;
    changed_file: ChangedFile, MULTI, exit 5;
    wrong_bytes_of_a_partial_holder: WrongPart, MULTI, exit 8;
    changed_file_of_a_single_piece: ChangedFile, SINGLE, exit 5;
}

/// Its bytes are right, and so are the BLAKE3 values, which cannot be forged. The output names the liar, and
/// the MD5 computed here.
#[test]
fn a_manifest_with_a_false_md5_does_not_damage_the_file_and_its_sender_is_named() {
    for with_honest in [false, true] {
        let bytes = noise(27, MULTI);
        let world = World::new().tracker();
        let evil = EvilPeer::start(world.tracker_addr(), "f.bin", &bytes, Behaviour::ForgedMd5InManifest);
        let _honest = with_honest.then(|| world.holder(&[("f.bin", &bytes)]));
        let (ran, _) = download(&world, &evil, "");
        assert_eq!(ran.code, 0, "{ran:#?}");
        let row = downloaded_row(ran.out.last().expect("a result"), "f.bin");
        assert_eq!((row.algorithm.as_str(), row.md5_pieces), ("md5", None), "{row:?}");
        assert!(is_blamed(&ran.err, &evil), "the liar is not named: {}", ran.err);
        assert!(fs::read(ran.share.join("f.bin")).expect("in place") == bytes);
        assert_only(&ran.share, &["f.bin"]);
    }
}

#[test]
fn the_control_an_honest_source_is_ranked_first_and_used() {
    for len in [SINGLE, MULTI] {
        let bytes = noise(23, len);
        let world = World::new().tracker();
        let peer = EvilPeer::start(world.tracker_addr(), "f.bin", &bytes, Behaviour::Honest);
        let _far = world.holder(&[("f.bin", &bytes)]);
        let (ran, _) = download(&world, &peer, "");
        assert_eq!(ran.code, 0, "{ran:#?}");
        assert_eq!(downloaded_row(ran.out.last().expect("a result"), "f.bin").sources[0], peer.addr);
    }
}

#[test]
fn a_slow_source_is_dropped_when_another_source_exists() {
    beside_an_honest_node(Behaviour::Trickles, MULTI);
}

/// More bytes than claimed: the surplus is no valid frame and never becomes part of the file.
#[test]
fn surplus_bytes_are_never_written() {
    let bytes = noise(24, MULTI);
    let world = World::new().tracker();
    let evil = EvilPeer::start(world.tracker_addr(), "f.bin", &bytes, Behaviour::SendsMore);
    let _honest = world.holder(&[("f.bin", &bytes)]);
    let (ran, _) = download(&world, &evil, "");
    assert_eq!(ran.code, 0, "{ran:#?}");
    assert!(fs::read(ran.share.join("f.bin")).expect("in place") == bytes);
    assert_only(&ran.share, &["f.bin"]);
}

#[test]
fn a_source_that_claims_an_absurd_load_is_not_chosen() {
    let bytes = noise(25, SINGLE);
    let world = World::new().tracker();
    let evil = EvilPeer::start(world.tracker_addr(), "f.bin", &bytes, Behaviour::WrongBytes);
    evil.set_load(u32::MAX);
    let honest = world.holder(&[("f.bin", &bytes)]);
    let (ran, _) = download(&world, &evil, "");
    assert_eq!(ran.code, 0, "{ran:#?}");
    assert_eq!(downloaded_row(ran.out.last().expect("a result"), "f.bin").sources, [honest.addr]);
    assert_eq!(evil.requests(), 0);
}

#[test]
fn a_false_md5_of_the_whole_file_is_found_out_at_once_with_verify_whole() {
    let bytes = noise(26, MULTI);
    let world = World::new().tracker();
    let evil = EvilPeer::start(world.tracker_addr(), "f.bin", &bytes, Behaviour::FalseWholeMd5);
    let _honest = world.holder(&[("f.bin", &bytes)]);
    let (ran, _) = download(&world, &evil, " --verify whole");
    assert_eq!(ran.code, 0, "{ran:#?}");
    let row = downloaded_row(ran.out.last().expect("a result"), "f.bin");
    assert_eq!((row.algorithm.as_str(), row.hex), ("md5", md5_hex(&bytes)));
    assert!(ran.err.contains(&evil.addr.to_string()), "the liar is not named: {}", ran.err);
}

#[test]
fn a_false_md5_of_the_whole_file_matches_nothing_when_it_is_the_only_claim() {
    let bytes = noise(27, MULTI);
    let world = World::new().tracker();
    let evil = EvilPeer::start(world.tracker_addr(), "f.bin", &bytes, Behaviour::FalseWholeMd5);
    let (ran, _) = download(&world, &evil, " --verify whole");
    assert_eq!((ran.code, ran.out.len()), (8, 0), "{ran:#?}");
    assert!(!ran.share.join("f.bin").exists());
    assert!(ran.err.contains(&evil.addr.to_string()), "the liar is not named: {}", ran.err);
}

#[test]
fn a_false_md5_of_the_whole_file_is_found_out_after_the_download() {
    let bytes = noise(28, MULTI);
    let world = World::new().tracker();
    let evil = EvilPeer::start(world.tracker_addr(), "f.bin", &bytes, Behaviour::FalseWholeMd5);
    let mut requester = world.start(NodeSpec::new());
    requester.process.send("download f.bin");
    let line = requester.process.expect_stdout("downloaded ");
    let row = downloaded_row(&line, "f.bin");
    assert!(row.hex == b3_hex(&bytes) || row.hex == md5_hex(&bytes), "never the false one: {line}");
    let (notice, _) = requester.process.expect_line(
        crate::support::process::Stream::Stderr,
        0,
        crate::support::DEADLINE,
        "the liar and the md5",
        |line| line.contains(&evil.addr.to_string()) && line.to_lowercase().contains("md5"),
    );
    assert!(!notice.is_empty());
    // From now on the true MD5 is published.
    let until = Instant::now() + crate::support::DEADLINE;
    while !requester.command("list")[0].contains(&md5_hex(&bytes)) {
        assert!(Instant::now() < until, "the true md5 is never listed");
    }
}

#[test]
fn a_false_md5_of_a_single_piece_is_caught_before_the_file_is_placed() {
    let bytes = noise(29, SINGLE);
    let world = World::new().tracker();
    let evil = EvilPeer::start(world.tracker_addr(), "f.bin", &bytes, Behaviour::FalseWholeMd5);
    let (ran, _) = download(&world, &evil, "");
    assert_eq!((ran.code, ran.out.len()), (8, 0), "{ran:#?}");
    assert!(!ran.share.join("f.bin").exists());
    let _honest = world.holder(&[("f.bin", &bytes)]);
    let (ran, _) = download(&world, &evil, "");
    assert_eq!(ran.code, 0, "{ran:#?}");
    assert_eq!(downloaded_row(ran.out.last().expect("a result"), "f.bin").hex, md5_hex(&bytes));
    assert!(ran.err.contains(&evil.addr.to_string()), "the liar is not named: {}", ran.err);
}

#[test]
fn a_false_claim_of_the_requested_md5_does_not_prevent_the_download() {
    // The smaller content is first in the order of `find` and is tried first.
    let (bytes, lies) = (noise(30, MULTI), noise(31, SINGLE));
    let world = World::new().tracker();
    let evil =
        EvilPeer::start_claiming(world.tracker_addr(), "f.bin", &lies, Behaviour::WrongBytes, md5_of(&bytes));
    let honest = world.holder(&[("f.bin", &bytes)]);
    let (ran, _) = download(&world, &evil, &format!(" --checksum md5={}", md5_hex(&bytes)));
    assert!(evil.requests() > 0, "no request: {ran:#?}");
    assert_eq!(ran.code, 0, "{ran:#?}");
    assert_eq!(downloaded_row(ran.out.last().expect("a result"), "f.bin").sources, [honest.addr]);
    assert_only(&ran.share, &["f.bin"]);
}

#[test]
fn an_honest_holder_that_registers_after_a_liar_failed_is_used() {
    let bytes = noise(32, SINGLE);
    let world = World::new().tracker();
    let evil = EvilPeer::start(world.tracker_addr(), "f.bin", &bytes, Behaviour::FalseWholeMd5);
    let mut requester = world.start(NodeSpec::new().flags(&["--retries", "3"]));
    requester.process.send("download f.bin");
    requester.process.expect_stderr("all sources failed: round 1");
    let honest = world.holder(&[("f.bin", &bytes)]);
    let row = downloaded_row(&requester.process.expect_stdout("downloaded "), "f.bin");
    assert_eq!((row.hex, row.sources), (md5_hex(&bytes), vec![honest.addr]));
    requester.process.expect_stderr(&format!("{} falsely claims", evil.addr));
}
