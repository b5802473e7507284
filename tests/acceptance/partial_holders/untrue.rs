//! Partial holders with false claims, and the data that they send.

use super::*;

/// A downloader with two sources: a near partial holder with false claims, and a far full holder.
struct Choice {
    evil: EvilPeer,
    honest: Node,
    requester: Node,
    // Last field: its nodes must end before the world.
    _world: World,
}

impl Choice {
    fn between(behaviour: Behaviour, bytes: &[u8], honest_ms: f64) -> Choice {
        let world = World::new().tracker();
        let evil = EvilPeer::start(world.tracker_addr(), NAME, bytes, behaviour);
        let honest = world.holder(&[(NAME, bytes)]);
        let latency = world.latency_file();
        let requester = world.start(NodeSpec::new().latency(&latency));
        write_latency(
            &latency,
            &[(requester.addr, evil.addr, 1.0), (requester.addr, honest.addr, honest_ms)],
        );
        Choice { evil, honest, requester, _world: world }
    }

    fn download(&mut self) -> DownloadedRow {
        let lines = self.requester.command_within(&format!("download {NAME}"), Duration::from_secs(20));
        downloaded_row(lines.last().expect("a result"), NAME)
    }
}

#[test]
fn a_partial_holder_with_false_claims_is_replaced_by_other_sources() {
    let bytes = noise(134, 5 * MIB);
    let mut choice = Choice::between(Behaviour::FalseHave, &bytes, 2.0);
    let row = choice.download();
    assert_eq!(row.sources, [choice.honest.addr], "{}", choice.requester.process.transcript());
    assert!(choice.evil.requests() > 0, "it got no request");
    assert!(choice.requester.read(NAME) == Some(bytes));
}

#[test]
fn a_partial_holder_that_refuses_a_piece_serves_its_other_pieces() {
    let bytes = noise(138, 12 * MIB);
    let mut choice = Choice::between(Behaviour::HalfPart, &bytes, 900.0);
    let row = choice.download();
    // How many of its six pieces come from it depends on the time of the next scheduling.
    assert_eq!(row.sources.len(), 2, "{}", choice.requester.process.transcript());
    assert!((1..=6).contains(&choice.evil.sent_pieces()), "{}", choice.requester.process.transcript());
    assert!(choice.requester.read(NAME) == Some(bytes));
}

#[test]
fn the_pieces_of_a_sole_partial_holder_are_fetched() {
    let bytes = noise(135, 5 * MIB);
    let world = World::new().tracker();
    let evil = EvilPeer::start(world.tracker_addr(), NAME, &bytes, Behaviour::FalseHave);
    let ran = world.run(&NodeSpec::new().flags(&["--retries", "0"]), &format!("download {NAME}\n"));
    assert_eq!(ran.code, 5, "{}", ran.err);
    assert!(ran.err.contains("has no piece "), "{}", ran.err);
    assert!(evil.requests() > 0);
}

#[test]
fn a_partial_holder_with_false_claims_does_not_delay_the_download_of_a_replaced_file() {
    let (bytes, newer) = (noise(151, 24 * MIB), noise(152, 3 * MIB));
    let world = World::new().tracker();
    let evil = EvilPeer::start(world.tracker_addr(), NAME, &bytes, Behaviour::FalseHave);
    let (mut seed, link) = world.start_behind_proxy(NodeSpec::new().file(NAME, &bytes));
    link.set(Direction::ToClient, Fault { rate: Some(1 << 20), ..Fault::default() });
    let mut requester = world.start(NodeSpec::new());
    requester.process.send(&format!("download {NAME}"));
    wait_for_pieces(&requester, key_of(&bytes), 1);
    seed.write(".newer", &newer);
    fs::rename(seed.share.join(".newer"), seed.share.join(NAME)).expect("replaced");
    assert_eq!(seed.command("updatelist").len(), 1);
    link.set(Direction::ToClient, Fault::default());
    downloaded_row(&requester.process.expect_stdout("downloaded "), NAME);
    requester.process.expect_stderr("beginning again");
    assert!(evil.requests() > 0, "it got no request");
    assert!(requester.read(NAME).as_ref() == Some(&newer));
}

/// A false manifest costs the downloader at most the time to compute an MD5. Only its sender is named for it.
#[test]
fn a_false_manifest_is_not_forwarded_and_the_pieces_are() {
    let bytes = noise(141, 12 * MIB);
    let content = key_of(&bytes);
    let world = World::new().tracker();
    let evil = EvilPeer::start(world.tracker_addr(), NAME, &bytes, Behaviour::ForgedMd5OfPart);
    let mut requesters = [world.start(NodeSpec::new()), world.start(NodeSpec::new())];
    let gave = format!("{}, which has a part only, gave a manifest with a false md5", evil.addr);
    for requester in &mut requesters {
        requester.process.send(&format!("download {NAME}"));
        assert_eq!(wait_for_pieces(requester, content, 6).len(), 6);
        requester.process.expect_stderr(&gave);
        let mut client = Client::connect(requester.addr);
        let list: PeerReply = client.ask(&PeerRequest::Manifest { content, first_piece: 0 });
        assert_eq!(list, PeerReply::Refused(PeerRefusal::NotShared));
        let piece: PeerReply =
            client.ask(&PeerRequest::Piece { asker: raw::fresh_node_id(), content, piece: 0 });
        assert_eq!(piece, PeerReply::Piece { piece: 0, len_bytes: MIB as u32 });
        assert!(client.receive_raw(MIB).as_deref() == Some(&bytes[..MIB]));
    }
    let _honest = world.holder(&[(NAME, &bytes)]);
    for requester in &requesters {
        let row = downloaded_row(&requester.process.expect_stdout("downloaded "), NAME);
        assert_eq!(row.algorithm, "md5", "computed here: {row:?}");
        assert!(requester.read(NAME).as_ref() == Some(&bytes));
        let lines = requester.process.since(Stream::Stderr, 0);
        let named: Vec<_> = lines.iter().filter(|line| line.contains("false")).collect();
        assert!(named.iter().all(|line| line.contains(&gave)) && named.len() == 1, "{named:?}");
    }
}

/// One source has the pieces, the other one gives the manifest.
#[test]
fn a_source_that_withholds_its_manifest_serves_pieces_while_another_gives_the_manifest() {
    let bytes = noise(150, 5 * MIB);
    let world = World::new().tracker();
    let withholds = EvilPeer::start(world.tracker_addr(), NAME, &bytes, Behaviour::WithheldList);
    let download = format!("download {NAME}");
    let once = NodeSpec::new().flags(&["--retries", "0"]);
    let ran = world.run(&once, &format!("{download}\n"));
    assert_eq!(ran.code, 5, "pieces that cannot be verified: {}", ran.err);
    assert!(ran.err.contains(&PeerRefusal::NotShared.to_string()), "{}", ran.err);
    let other = EvilPeer::start(world.tracker_addr(), NAME, &bytes, Behaviour::HalfPart);
    let latency = world.latency_file();
    let mut requester = world.start(once.latency(&latency));
    write_latency(&latency, &[(requester.addr, withholds.addr, 1.0), (requester.addr, other.addr, 900.0)]);
    let lines = requester.command(&download);
    let row = downloaded_row(lines.last().expect("a result"), NAME);
    assert!(row.sources.contains(&withholds.addr), "{}", requester.process.transcript());
    assert!(requester.read(NAME) == Some(bytes));
}

#[test]
fn a_partial_holder_is_not_blamed_for_a_false_md5_that_it_forwards() {
    let bytes = noise(149, 5 * MIB);
    let world = World::new().tracker();
    let md5 = Md5Digest([0x66; 16]);
    let _part = EvilPeer::start_claiming(world.tracker_addr(), NAME, &bytes, Behaviour::HalfPart, md5);
    let _honest = world.holder(&[(NAME, &bytes)]);
    let ran = world.ask(&format!("download {NAME} --verify whole"));
    downloaded_row(ran.out.last().expect("a result"), NAME);
    assert!(!ran.err.contains("falsely claims"), "{}", ran.err);
}

/// A full holder has checked each line of its manifest against a piece.
#[test]
fn the_manifest_is_requested_from_a_full_holder_first() {
    let bytes = noise(142, 12 * MIB);
    let mut choice = Choice::between(Behaviour::ForgedMd5OfPart, &bytes, 30.0);
    let row = choice.download();
    assert_eq!(
        (row.sources.len(), row.md5_pieces),
        (2, Some(12)),
        "{}",
        choice.requester.process.transcript()
    );
    assert!(
        !choice.requester.process.transcript().contains("false md5"),
        "{}",
        choice.requester.process.transcript()
    );
}

/// With every answer of the partial holder, the pieces come from another source.
#[test]
fn a_partial_holder_that_does_not_list_its_pieces_is_not_used_and_does_not_delay_others() {
    for behaviour in [Behaviour::GarbledHave, Behaviour::LongHave, Behaviour::SilentHave] {
        let bytes = noise(143, 3 * MIB);
        let world = World::new().tracker();
        let evil = EvilPeer::start(world.tracker_addr(), NAME, &bytes, behaviour);
        let alone = world.run(&NodeSpec::new().flags(&["--retries", "0"]), &format!("download {NAME}\n"));
        assert_eq!(alone.code, 5, "{behaviour:?}: {}", alone.err);
        let why = "no source could deliver it: no node that answers has a piece that is missing here";
        assert!(alone.err.contains(why), "{behaviour:?}: {}", alone.err);
        let honest = world.holder(&[(NAME, &bytes)]);
        let begun = Instant::now();
        let ran = world.ask(&format!("download {NAME}"));
        let silence = limits::ms(limits::PROBE_SILENCE_MS);
        assert!(begun.elapsed() < silence, "{behaviour:?}: it was waited for, {:?}", begun.elapsed());
        let row = downloaded_row(ran.out.last().expect("a result"), NAME);
        assert_eq!(row.sources, [honest.addr], "{behaviour:?}: {}", ran.err);
        assert_eq!((evil.requests(), evil.have_requests() > 1), (0, true), "{behaviour:?}");
    }
}

#[test]
fn an_emulated_latency_holds_a_refusal_back_too() {
    let bytes = noise(144, 5 * MIB);
    let world = World::new().tracker();
    let evil = EvilPeer::start(world.tracker_addr(), NAME, &bytes, Behaviour::FalseHave);
    let latency = world.latency_file();
    let spec = NodeSpec::new().latency(&latency).flags(&["--emulate-latency", "--retries", "0"]);
    let mut requester = world.start(spec);
    write_latency(&latency, &[(requester.addr, evil.addr, 700.0)]);
    let begun = Instant::now();
    requester.process.send(&format!("download {NAME}"));
    requester.process.expect_stderr("no source could deliver it");
    let emulated = Duration::from_millis(700);
    assert!(begun.elapsed() >= emulated * 3, "probe, `Have` reply, refusal: one after another");
}
