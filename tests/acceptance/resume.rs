//! Resume of interrupted downloads: by the next `download` and by a restarted node that serves, and by
//! nothing else. Files on the disk are verified, not trusted.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rand::{Rng, SeedableRng, rngs::SmallRng};
use rustix::process::Signal;

use nearpeer::proto::peer::{PeerReply, PeerRequest};

use crate::support::content::noise;
use crate::support::partial::{found_mib, interrupt, left, left_file};
use crate::support::proxy::Direction;
use crate::support::raw;
use crate::support::rows::downloaded_row;
use crate::support::world::{Node, NodeSpec, POLL_INTERVAL, Ran, World, assert_only};
use crate::support::{DEADLINE, count, print_figures, seed};

const NAME: &str = "f.bin";
const MIB: u64 = 1 << 20;

/// A tracker and two sources of `bytes`, each limited to 12 MiB/s.
fn swarm(bytes: &[u8]) -> (World, [Node; 2]) {
    let world = World::new().tracker();
    let slow = NodeSpec::new().headless().file(NAME, bytes).flags(&["--max-upload", "12MiB"]);
    let sources = [world.start(slow.clone()), world.start(slow)];
    (world, sources)
}

/// The bytes of eight pieces, the last one short. An interrupt at 40 % leaves some pieces done and some
/// missing.
fn content(seed: u64) -> Vec<u8> {
    noise(seed, (7 << 20) + 12_345)
}

/// A share in which a download was killed at 40 % or later.
fn killed(world: &World) -> PathBuf {
    let share = world.directory();
    interrupt(world, &share, NAME, 40, Signal::KILL);
    share
}

/// Downloads the file in a fresh node over `share`. It must succeed and leave nothing else.
fn download(world: &World, share: &Path, bytes: &[u8]) -> Ran {
    let ran = world.run(&NodeSpec::new().port(0).share(share), &format!("download {NAME}\n"));
    assert_eq!(ran.code, 0, "{ran:#?}");
    downloaded_row(ran.out.last().expect("a result"), NAME);
    assert!(fs::read(share.join(NAME)).expect("in place") == bytes, "{ran:#?}");
    assert_only(share, &[NAME]);
    assert_eq!(left(share), [""; 0], "{ran:#?}");
    ran
}

fn resumed_mib(ran: &Ran) -> Option<f64> {
    found_mib(&ran.err.lines().map(str::to_owned).collect::<Vec<_>>(), NAME)
}

#[test]
fn a_killed_download_leaves_a_partial_file_and_its_record_and_the_next_one_resumes() {
    let bytes = content(71);
    let (world, _sources) = swarm(&bytes);
    let share = killed(&world);
    left_file(&share, ".part");
    left_file(&share, ".resume");
    let ran = download(&world, &share, &bytes);
    let found = resumed_mib(&ran).unwrap_or_else(|| panic!("not resumed: {ran:#?}"));
    // 40 % are 2.8 MiB, in whole pieces. One of them may be recorded shortly after it is reported.
    assert!((2.0..7.0).contains(&found), "{found} MiB: {ran:#?}");
}

/// `NEARPEER_RESUME_MIB` sets the size; `scripts/prove` uses 1 GiB. Time is checked only there.
#[test]
fn verified_pieces_are_not_fetched_again() {
    let mib = count("NEARPEER_RESUME_MIB", 24);
    let bytes = noise(72, (mib << 20) + 777);
    let size = bytes.len() as u64;
    let world = World::new().tracker();
    // The whole file takes three seconds from both sources.
    let rate = format!("{}MiB", mib / 6 + 4);
    let slow = NodeSpec::new().headless().file(NAME, &bytes).flags(&["--max-upload", &rate]);
    let sources = [world.start_behind_proxy(slow.clone()), world.start_behind_proxy(slow)];
    let fetched = || sources.iter().map(|(_, proxy)| proxy.bytes(Direction::ToClient)).sum::<u64>();
    let share = world.directory();
    interrupt(&world, &share, NAME, 50, Signal::KILL);
    let before = fetched();
    let mut requester = world.start(NodeSpec::new().share(&share));
    let begun = Instant::now();
    requester.process.send(&format!("download {NAME}"));
    // More bytes than probes need. The manifest is in the record.
    while fetched() < before + (64 << 10) {
        let waits = begun.elapsed() < DEADLINE && !requester.process.ends_within(Duration::from_millis(1));
        assert!(waits, "nothing new is fetched\n{}", requester.process.transcript());
    }
    let first_byte = begun.elapsed();
    let line = requester.process.expect_stdout("downloaded ");
    assert_eq!(downloaded_row(&line, NAME).size, size);
    let after = fetched() - before;
    let again = (before + after).saturating_sub(size);
    print_figures(&format!(
        "resume: {mib} MiB, killed at {} %: first new bytes after {} ms, {:.1} MiB fetched twice",
        before * 100 / size,
        first_byte.as_millis(),
        again as f64 / MIB as f64
    ));
    assert!(after < size * 6 / 10, "half was there, and {after} of {size} bytes were fetched: {line}");
    // In flight at the kill: pieces requested from two sources, and pieces that waited for verification; at
    // most the buffers of a download.
    assert!(again <= (size / 3).min(20 * MIB), "{again} bytes were fetched twice: {line}");
    assert!(mib < 1024 || first_byte < Duration::from_millis(300), "{first_byte:?}");
    assert!(requester.read(NAME) == Some(bytes));
    assert_only(&share, &[NAME]);
}

#[test]
fn a_download_resumes_from_the_sources_of_that_time() {
    let bytes = content(73);
    let (world, sources) = swarm(&bytes);
    let share = killed(&world);
    for source in sources {
        assert_eq!(source.terminate(), 0);
    }
    // Another node has the content under another name, besides the requested one.
    let other = world.holder(&[(NAME, &bytes), ("other.bin", &bytes)]);
    let ran = download(&world, &share, &bytes);
    assert!(resumed_mib(&ran).is_some(), "{ran:#?}");
    assert_eq!(downloaded_row(ran.out.last().expect("a result"), NAME).sources, [other.addr]);
}

/// Waits until the node has published the whole file. During the download it publishes a partial file.
fn expect_offered(world: &World, node: &Node) {
    let row = format!("{} {} ", node.addr.ip(), node.addr.port());
    let is_offered = |line: &String| line.starts_with(&row) && line.contains(" full ");
    world.ask_until(&format!("find {NAME}"), |ran| ran.out.iter().any(is_offered));
}

#[test]
fn a_restarted_headless_node_resumes_by_itself() {
    let bytes = content(74);
    for flags in [&[][..], &["--resume", "on"]] {
        let (world, _sources) = swarm(&bytes);
        let share = killed(&world);
        let node = world.start(NodeSpec::new().headless().share(&share).flags(flags));
        expect_offered(&world, &node);
        assert!(node.read(NAME).as_ref() == Some(&bytes), "{flags:?}: {}", node.process.transcript());
        assert_eq!(node.terminate(), 0);
        assert_only(&share, &[NAME]);
    }
}

/// Load of a node, requested on a connection that is reused.
fn load_on(client: &mut raw::Client) -> u32 {
    match client.ask(&PeerRequest::Load { asker: raw::fresh_node_id(), content: None }) {
        PeerReply::Load { load, .. } => load,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_headless_node_killed_while_it_resumes_resumes_again() {
    let bytes = content(75);
    let (world, _sources) = swarm(&bytes);
    let share = killed(&world);
    let mut node = world.start(NodeSpec::new().headless().share(&share));
    // It takes part in a transfer: its own download.
    let until = Instant::now() + DEADLINE;
    let mut client = raw::Client::connect(node.addr);
    while load_on(&mut client) == 0 && !share.join(NAME).exists() {
        let waits = Instant::now() < until && !node.process.ends_within(POLL_INTERVAL);
        assert!(waits, "it does not go on\n{}", node.process.transcript());
    }
    node.restart();
    expect_offered(&world, &node);
    assert!(node.read(NAME) == Some(bytes));
    assert_eq!(node.terminate(), 0);
    assert_only(&share, &[NAME]);
}

/// Asserts that a running node does not touch the partial files in its share: it has no load and changes no
/// partial file, while ten other nodes each run a command and end.
fn assert_idle(world: &World, node: &Node, what: &str) {
    let parts = || -> Vec<_> {
        let contents = left(&node.share).into_iter().map(|name| {
            let bytes = fs::read(node.share.join(".nearpeer").join(&name)).expect("a part");
            (name, blake3::hash(&bytes))
        });
        contents.collect()
    };
    let before = parts();
    assert!(!before.is_empty(), "{what}: the part is gone");
    for _ in 0..10 {
        let ran = world.ask(&format!("find {NAME}"));
        assert_eq!(ran.code, 0, "{what}: {ran:#?}");
        let load = raw::load_of(node.addr, raw::fresh_node_id(), None).0;
        assert_eq!(load, 0, "{what}: it downloads\n{}", node.process.transcript());
    }
    assert!(parts() == before, "{what}: the part has changed\n{}", node.process.transcript());
    assert!(!node.share.join(NAME).exists(), "{what}");
}

#[test]
fn nothing_is_resumed_with_resume_off_or_piped_commands() {
    let bytes = content(76);
    let (world, sources) = swarm(&bytes);
    let share = killed(&world);
    let spec = || NodeSpec::new().share(&share);
    let off = world.start(spec().headless().flags(&["--resume", "off"]));
    assert_idle(&world, &off, "--resume off");
    assert_eq!(off.terminate(), 0);
    let mut piped = world.start(spec());
    assert_eq!(piped.command("list"), [""; 0]);
    assert_idle(&world, &piped, "piped commands");
    assert_eq!(piped.leave(), 0);
    // A download command resumes it with every value of the flag.
    let ran = world.run(&spec().flags(&["--resume", "off"]), &format!("download {NAME}\n"));
    assert_eq!(ran.code, 0, "{ran:#?}");
    assert!(resumed_mib(&ran).is_some(), "{ran:#?}");
    assert!(fs::read(share.join(NAME)).expect("in place") == bytes);
    assert_only(&share, &[NAME]);
    drop(sources);
}

#[test]
fn a_cancelled_download_is_kept_and_resumed_only_by_a_command() {
    let bytes = content(77);
    let (world, _sources) = swarm(&bytes);
    let share = world.directory();
    interrupt(&world, &share, NAME, 40, Signal::INT);
    left_file(&share, ".part");
    left_file(&share, ".kept");
    assert_eq!(left(&share).len(), 2, "{:?}", left(&share));
    let node = world.start(NodeSpec::new().headless().share(&share));
    assert_idle(&world, &node, "cancelled");
    assert_eq!(node.terminate(), 0);
    let ran = download(&world, &share, &bytes);
    assert!(resumed_mib(&ran).is_some_and(|found| found >= 2.0), "{ran:#?}");
}

#[test]
fn a_damaged_middle_is_found_and_fetched_again() {
    let mut rng = SmallRng::seed_from_u64(seed(20_261_123));
    let bytes = content(78);
    let (world, _sources) = swarm(&bytes);
    for damage in ["a bit", "a stretch", "all of it", "cut short", "longer"] {
        let share = killed(&world);
        let path = left_file(&share, ".part");
        let part = OpenOptions::new().read(true).write(true).open(&path).expect("a part");
        let len = part.metadata().expect("its length").len();
        // Damages a written range: holes are missing anyway.
        let mut found = vec![0; len as usize];
        part.read_exact_at(&mut found, 0).expect("readable");
        let written: Vec<_> = (0..found.len().min(bytes.len())).filter(|at| found[*at] != 0).collect();
        assert!(written.len() > 2 << 20, "{} bytes were written", written.len());
        let at = written[rng.random_range(0..written.len())];
        let context = format!("{damage}, at {at}");
        match damage {
            "a bit" => part.write_all_at(&[found[at] ^ 1 << rng.random_range(0..8)], at as u64),
            "a stretch" => part.write_all_at(&noise(1, 100_000.min(found.len() - at)), at as u64),
            "all of it" => part.write_all_at(&noise(2, found.len()), 0),
            "cut short" => part.set_len(len / 3),
            _ => part.set_len(len + 100_000),
        }
        .unwrap_or_else(|error| panic!("{context}: {error}"));
        drop(part);
        let ran = download(&world, &share, &bytes);
        assert!(!ran.err.contains("panicked"), "{context}: {ran:#?}");
        // Damage to one piece keeps the others. Damage to all pieces keeps the manifest.
        if damage == "a bit" {
            assert!(resumed_mib(&ran).is_some(), "{context}: {ran:#?}");
        }
    }
}

#[test]
fn a_record_that_is_torn_foreign_or_flipped_falls_back_to_the_right_file() {
    let mut rng = SmallRng::seed_from_u64(seed(20_261_124));
    let bytes = content(79);
    let (world, _sources) = swarm(&bytes);
    let other = noise(80, bytes.len());
    let slow = NodeSpec::new().headless().file("other.bin", &other).flags(&["--max-upload", "8MiB"]);
    let _other_source = world.start(slow);
    let other_share = world.directory();
    interrupt(&world, &other_share, "other.bin", 40, Signal::KILL);
    let foreign = fs::read(left_file(&other_share, ".resume")).expect("a record");
    for fault in [
        "empty",
        "torn",
        "torn near its end",
        "noise",
        "flipped",
        "longer",
        "foreign",
        "missing",
        "a directory",
    ] {
        let share = killed(&world);
        let path = left_file(&share, ".resume");
        let mut record = fs::read(&path).expect("a record");
        match fault {
            "empty" => record.clear(),
            "torn" => record.truncate(rng.random_range(1..record.len())),
            "torn near its end" => record.truncate(record.len() - 1),
            "noise" => record = noise(rng.random(), record.len()),
            "flipped" => {
                let at = rng.random_range(0..record.len());
                record[at] ^= 1 << rng.random_range(0..8);
            }
            "longer" => record.extend(noise(3, 1000)),
            "foreign" => record.clone_from(&foreign),
            _ => {}
        }
        match fault {
            "missing" => fs::remove_file(&path).expect("removed"),
            "a directory" => {
                fs::remove_file(&path).expect("removed");
                fs::create_dir(&path).expect("a directory");
            }
            _ => fs::write(&path, &record).expect("written"),
        }
        if fault == "a directory" {
            // No download has created it, and it may have data of the user: the node reports it and does not
            // change it.
            let spec = NodeSpec::new().port(0).share(&share);
            let ran = world.run(&spec, &format!("download {NAME}\n"));
            assert_eq!(ran.code, 10, "{ran:#?}");
            assert!(ran.err.contains("a directory in `.nearpeer` has a name"), "{ran:#?}");
            assert!(path.is_dir() && !share.join(NAME).exists(), "{ran:#?}");
            fs::remove_dir(&path).expect("empty");
            download(&world, &share, &bytes);
            continue;
        }
        let ran = download(&world, &share, &bytes);
        assert!(!ran.err.contains("panicked"), "{fault}: {ran:#?}");
        // A headless node that finds the same cannot know which content was wanted: it removes the partial
        // file and fetches nothing.
        let share = killed(&world);
        let path = left_file(&share, ".resume");
        match fault {
            "missing" => fs::remove_file(&path).expect("removed"),
            _ => fs::write(&path, &record).expect("written"),
        }
        let node = world.start(NodeSpec::new().headless().share(&share));
        let ran = world.ask(&format!("find {NAME}"));
        assert_eq!(ran.code, 0, "{fault}: {ran:#?}");
        assert_eq!(raw::load_of(node.addr, raw::fresh_node_id(), None).0, 0, "{fault}: it downloads");
        assert_eq!(left(&share), [""; 0], "{fault}: {}", node.process.transcript());
        assert_only(&share, &[""; 0]);
        assert_eq!(node.terminate(), 0, "{fault}");
    }
}

#[test]
fn a_partial_file_of_another_content_under_the_same_name_is_not_resumed() {
    let (old, new) = (content(81), content(82));
    let (world, sources) = swarm(&old);
    let share = killed(&world);
    for source in sources {
        assert_eq!(source.terminate(), 0);
    }
    let _holder = world.holder(&[(NAME, &new)]);
    let ran = world.run(&NodeSpec::new().port(0).share(&share), &format!("download {NAME}\n"));
    assert_eq!(ran.code, 0, "{ran:#?}");
    assert_eq!(resumed_mib(&ran), None, "{ran:#?}");
    assert!(fs::read(share.join(NAME)).expect("in place") == new, "the new content, whole");
}
