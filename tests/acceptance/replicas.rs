//! Replicas, by the real programs and flags: `tracker --replicas`, `node --accept-replicas --replica-quota`,
//! and `replicate` at a node's input and on the command line. `tests/library/replication.rs` tests the
//! library.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::support::DEADLINE;
use crate::support::content::{b3_hex, md5_hex, noise};
use crate::support::events;
use crate::support::rows::{find_rows, list_row};
use crate::support::world::{Node, NodeSpec, POLL_INTERVAL, World, tree};

const MIB: usize = 1 << 20;
/// The shortest grace period that the flag allows.
const GRACE: Duration = Duration::from_secs(1);

/// A world whose tracker wants that many copies of every file.
fn world(replicas: u32) -> World {
    let (replicas, grace) = (replicas.to_string(), format!("{}s", GRACE.as_secs()));
    World::new().tracker_with(&["--replicas", &replicas, "--replica-grace", &grace])
}

fn plain() -> NodeSpec {
    NodeSpec::new().flags(&["--heartbeat", "200ms"])
}

/// A node that accepts replicas.
fn keeper(quota: &str) -> NodeSpec {
    plain().flags(&["--accept-replicas", "--replica-quota", quota])
}

/// Polls until `is_so`. Returns false if it does not become true in time.
fn comes_true(world: &mut World, patience: Duration, mut is_so: impl FnMut(&World) -> bool) -> bool {
    let until = Instant::now() + patience;
    while Instant::now() < until {
        if is_so(world) {
            return true;
        }
        assert!(!world.tracker_process().ends_within(POLL_INTERVAL), "the tracker has ended");
    }
    false
}

/// The full holders of a file, as `find` prints them.
fn holders(world: &World, name: &str) -> Vec<SocketAddr> {
    let ran = world.one_shot(&["find", name]);
    if ran.code == 3 {
        return Vec::new();
    }
    let rows = find_rows(&ran.out).into_iter().filter(|row| row.held == "full");
    let mut holders: Vec<_> = rows.map(|row| row.endpoint).collect();
    holders.sort();
    holders
}

fn expect_holders(world: &mut World, name: &str, count: usize) -> Vec<SocketAddr> {
    let all_there = comes_true(world, DEADLINE, |world| holders(world, name).len() == count);
    let seen = holders(world, name);
    assert!(all_there && seen.len() == count, "not {count} copies of {name}: {seen:?}");
    seen
}

/// Output of `list KIND`: size, MD5 and name of each file.
fn listed(node: &mut Node, kind: &str) -> Vec<(u64, String, String)> {
    node.command(&format!("list {kind}")).iter().map(|line| list_row(line)).collect()
}

/// The figure with that name in `stats`.
fn figure(node: &mut Node, name: &str) -> u64 {
    let stats = node.command("stats");
    let line = stats.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name} in {stats:#?}"))
}

/// Total size of all files in a directory, hidden files included.
fn bytes_beneath(dir: &Path) -> u64 {
    let files = tree(dir).into_iter().filter(|path| !path.ends_with('/'));
    // A file that is renamed meanwhile is counted the next time.
    files.filter_map(|file| Some(fs::metadata(dir.join(file)).ok()?.len())).sum()
}

fn assert_no_byte_of_others(node: &Node) {
    assert_eq!(bytes_beneath(&node.share), 0, "{:?}", tree(&node.share));
}

/// The address of the pages of a program.
fn pages(said: &str) -> SocketAddr {
    let addr = said.trim_start_matches("pages at http://").trim_end_matches('/');
    addr.parse().unwrap_or_else(|_| panic!("no address: `{said}`"))
}

/// The answer to `GET path`.
fn page(addr: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(addr).expect("it listens");
    stream.set_read_timeout(Some(DEADLINE)).expect("a deadline");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n").expect("request sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("text");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{path}: {answer}");
    answer
}

#[test]
fn a_tracker_with_a_policy_has_files_copied_only_to_nodes_that_opted_in() {
    let bytes = noise(61, 3 * MIB + 5);
    let mut world = world(3);
    let source = world.start(plain().headless().file("data.bin", &bytes));
    let mut unwilling = world.start(plain());
    let small = world.start(keeper("3MiB"));
    let mut keepers = [(); 3].map(|()| world.start(keeper("10MiB").flags(&["--http", "127.0.0.1:0"])));
    let seen = expect_holders(&mut world, "data.bin", 3);
    assert!(seen.contains(&source.addr), "{seen:?}");
    let more = comes_true(&mut world, GRACE * 2, |world| holders(world, "data.bin").len() > 3);
    assert!(!more, "more copies than are wanted");

    let expected = [(bytes.len() as u64, md5_hex(&bytes), "data.bin".to_owned())];
    for keeper in &mut keepers {
        let keeps = seen.contains(&keeper.addr);
        assert_eq!(listed(keeper, "replicated"), if keeps { &expected[..] } else { &[] });
        assert_eq!((listed(keeper, "local"), listed(keeper, "downloaded")), (vec![], vec![]));
        assert_eq!(figure(keeper, "shared_files"), u64::from(keeps));
        assert_eq!(figure(keeper, "shared_bytes"), if keeps { bytes.len() as u64 } else { 0 });
        let addr = pages(&keeper.process.expect_stderr("pages at "));
        assert_eq!(page(addr, "/files").contains("data.bin"), keeps);
        assert_eq!(page(addr, "/api/v1/files").contains(r#""name":"data.bin""#), keeps);
        assert!(page(addr, "/metrics").contains(&format!("\nnearpeer_files {}.0\n", u8::from(keeps))));
        if keeps {
            let copy =
                fs::read(keeper.share.join(".nearpeer/replicas/data.bin")).expect("where it is said to be");
            assert!(copy == bytes, "the copy is another file");
            assert!(!keeper.share.join("data.bin").exists(), "it is not among the user's own files");
        } else {
            assert_no_byte_of_others(keeper);
        }
    }
    // A download from the keeper gets the right bytes.
    let fetched = world.directory();
    let tracker_pages = pages(&world.tracker_process().expect_stderr("pages at "));
    assert!(page(tracker_pages, "/metrics").contains("\nnearpeer_files 3.0\n"), "each copy is an entry");
    drop(source);
    let ran = world.one_shot(&["download", "data.bin", "-d", &fetched.display().to_string()]);
    assert_eq!(ran.code, 0, "{ran:#?}");
    assert!(fs::read(fetched.join("data.bin")).expect("in place") == bytes);

    assert_eq!((listed(&mut unwilling, "all"), figure(&mut unwilling, "downloaded_bytes")), (vec![], 0));
    assert_no_byte_of_others(&unwilling);
    assert_no_byte_of_others(&small);
    assert_eq!(unwilling.leave(), 0);
}

#[test]
fn a_killed_holder_is_replaced_once_its_grace_is_over() {
    let bytes = noise(62, 2 * MIB);
    let mut world = world(2);
    let source = world.start(plain().headless().file("data.bin", &bytes));
    let mut first = world.start(keeper("10MiB"));
    expect_holders(&mut world, "data.bin", 2);
    let mut second = world.start(keeper("10MiB"));
    let is_copied = comes_true(&mut world, GRACE * 2, |_| !listed(&mut second, "replicated").is_empty());
    assert!(!is_copied, "two are enough");
    let killed_at = Instant::now();
    first.process.kill();
    let seen = expect_holders(&mut world, "data.bin", 2);
    assert!(killed_at.elapsed() >= GRACE, "after {:?}", killed_at.elapsed());
    assert_eq!(seen, sorted([source.addr, second.addr]));
    assert_eq!(
        listed(&mut second, "replicated"),
        [(bytes.len() as u64, md5_hex(&bytes), "data.bin".to_owned())]
    );
    // The killed holder comes back with its file: no replica is removed.
    first.restart();
    expect_holders(&mut world, "data.bin", 3);
    assert_eq!((listed(&mut first, "replicated").len(), listed(&mut second, "replicated").len()), (1, 1));
}

fn sorted<const N: usize>(mut addrs: [SocketAddr; N]) -> [SocketAddr; N] {
    addrs.sort();
    addrs
}

#[test]
fn a_quota_is_kept_for_every_wanted_count_and_over_a_restart() {
    const QUOTA_BYTES: u64 = 5 << 19;
    let files: Vec<(String, Vec<u8>)> = (0..5).map(|n| (format!("f{n}"), noise(70 + n, MIB))).collect();
    let mut world = world(2);
    let spec = files.iter().fold(plain().headless(), |spec, (name, bytes)| spec.file(name, bytes));
    let _source = world.start(spec);
    let mut keeper = world.start(keeper("2560KiB"));
    let share = keeper.share.clone();
    for _ in 0..2 {
        let is_full = comes_true(&mut world, DEADLINE, |_| {
            assert!(bytes_beneath(&share) <= QUOTA_BYTES, "{:?}", tree(&share));
            listed(&mut keeper, "replicated").len() == 2
        });
        assert!(is_full, "{:?}", listed(&mut keeper, "replicated"));
        let is_beyond = comes_true(&mut world, GRACE * 2, |_| {
            bytes_beneath(&share) > QUOTA_BYTES || listed(&mut keeper, "replicated").len() > 2
        });
        assert!(!is_beyond, "{:?}", tree(&share));
        keeper.restart();
    }
    for (size, md5, name) in listed(&mut keeper, "replicated") {
        let (_, bytes) = files.iter().find(|(known, _)| *known == name).expect("one of the source's");
        assert_eq!((size, md5), (bytes.len() as u64, md5_hex(bytes)));
    }
}

#[test]
fn replicate_at_a_node_and_on_the_command_line_has_copies_made_of_one_file() {
    let bytes = noise(63, MIB + 1);
    let b3 = b3_hex(&bytes);
    let mut world = world(0);
    let mut source = world.start(plain().file("a b.bin", &bytes).file("other.bin", b"other"));
    let said = source.command("replicate 'a b.bin' --copies 2");
    assert_eq!(said, [format!("replicate 2 wanted 1 there 0 awaited 0 under way b3 {} a b.bin", &b3[..16])]);
    source.process.expect_stderr("1 of 2 copies are missing: no other node keeps replicas");

    // The wanted count stays: the first willing node gets the replica.
    let mut first = world.start(keeper("10MiB"));
    expect_holders(&mut world, "a b.bin", 2);
    assert_eq!(listed(&mut first, "replicated")[0].1, md5_hex(&bytes));
    let mut second = world.start(keeper("10MiB"));
    let is_copied = comes_true(&mut world, GRACE * 2, |_| !listed(&mut second, "replicated").is_empty());
    assert!(!is_copied, "two are enough");

    // A third copy is requested on the command line, by content. JSON reports the progress.
    let query = format!("b3={}", &b3[..16]);
    let ran = world.one_shot(&["replicate", &query, "--copies", "3", "--json"]);
    let printed = events::parse_all(&ran.out);
    assert_eq!(
        (ran.code, &printed[0]["event"], &printed[0]["wanted"]),
        (0, &"replication".into(), &3.into())
    );
    let count = |field: &str| printed[0][field].as_u64().expect("a number");
    assert_eq!((count("copies"), count("awaited"), count("under_way")), (2, 0, 1), "{printed:#?}");
    assert_eq!(printed[0]["shortfall"], serde_json::Value::Null);
    let seen = expect_holders(&mut world, "a b.bin", 3);
    assert_eq!(seen, sorted([source.addr, first.addr, second.addr]));
    let ran = world.one_shot(&["replicate", "a b.bin", "--copies", "3"]);
    let there = format!("replicate 3 wanted 3 there 0 awaited 0 under way b3 {} a b.bin", &b3[..16]);
    assert_eq!((ran.code, ran.out, ran.err.as_str()), (0, vec![there], ""));
    assert_eq!(holders(&world, "other.bin"), [source.addr], "no copies of it are wanted");

    // The command may go through the node that shares the directory. Then that node is the requester.
    let path = second.share.display().to_string();
    let ran = world.one_shot(&["replicate", "other.bin", "--copies", "2", "-d", &path]);
    assert!(ran.code == 0 && ran.out[0].starts_with("replicate 2 wanted 1 there "), "{ran:#?}");
    expect_holders(&mut world, "other.bin", 2);

    let nobodys = world.one_shot(&["replicate", "nothing", "--copies", "2"]);
    assert_eq!((nobodys.code, nobodys.out), (3, vec![]), "{}", nobodys.err);
    crate::assert_clear(&nobodys.err, &["no node has `nothing`"]);
    for words in [&["replicate", "a b.bin"][..], &["replicate", "a b.bin", "--copies", "many"]] {
        assert_eq!(world.one_shot(words).code, 2, "{words:?}");
    }
    let nowhere = World::new();
    assert_eq!(nowhere.one_shot(&["replicate", "a", "--copies", "2"]).code, 4);
}

#[test]
fn a_node_repeats_its_replicate_command_to_a_restarted_tracker() {
    let bytes = noise(64, MIB);
    let mut world = world(0);
    let mut source = world.start(plain().file("data.bin", &bytes));
    let first = world.start(keeper("10MiB"));
    source.command("replicate data.bin --copies 2");
    expect_holders(&mut world, "data.bin", 2);
    world.kill_tracker();
    let grace = format!("{}s", GRACE.as_secs());
    world.restart_tracker_with(&["--replica-grace", &grace]);
    expect_holders(&mut world, "data.bin", 2);
    let mut second = world.start(keeper("10MiB"));
    let is_copied = comes_true(&mut world, GRACE * 2, |_| !listed(&mut second, "replicated").is_empty());
    assert!(!is_copied, "two are enough");
    drop(first);
    let seen = expect_holders(&mut world, "data.bin", 2);
    assert_eq!(seen, sorted([source.addr, second.addr]));
    second.process.expect_stderr("are kept here for others");
}

#[test]
fn a_damaged_copy_is_not_published_now_or_after_a_restart() {
    let bytes = noise(65, MIB + 1);
    let mut world = world(0);
    let mut source = world.start(plain().file("data.bin", &bytes));
    let mut keeper = world.start(keeper("10MiB"));
    source.command("replicate data.bin --copies 2");
    expect_holders(&mut world, "data.bin", 2);
    let mut rotten = bytes.clone();
    rotten[7] ^= 1;
    fs::write(keeper.share.join(".nearpeer/replicas/data.bin"), &rotten).expect("written");
    assert_eq!(source.leave(), 0);

    // The next download makes the keeper check its copy. There is no holder then, and never wrong bytes under
    // that name.
    let download_code = |world: &World| {
        let dir = world.directory();
        let ran =
            world.one_shot(&["download", "data.bin", "--retries", "0", "-d", &dir.display().to_string()]);
        assert_eq!(tree(&dir).iter().filter(|path| path.ends_with("data.bin")).count(), 0, "{ran:#?}");
        ran.code
    };
    assert_ne!(download_code(&world), 0);
    keeper.process.expect_stderr("`data.bin` is not shared: this copy, kept for other nodes, has changed");
    expect_holders(&mut world, "data.bin", 0);
    keeper.restart();
    assert_eq!((holders(&world, "data.bin"), download_code(&world)), (vec![], 3));
    assert_eq!(listed(&mut keeper, "replicated"), []);
    assert_eq!(fs::read(keeper.share.join(".nearpeer/replicas/data.bin")).expect("nothing is lost"), rotten);
}
