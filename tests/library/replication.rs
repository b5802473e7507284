//! Replicas: real trackers and nodes on loopback, in this process or in a process that is killed.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nearpeer::node::{Node, NodeConfig};
use nearpeer::rt::Stop;
use nearpeer::tracker::{Tracker, TrackerConfig};
use nearpeer::types::{FileName, FileOrigin, Holding, Query};
use tempfile::TempDir;

use crate::support::content::noise;
use crate::support::{DEADLINE, world::own_port};

const MIB: u64 = 1 << 20;
/// Grace period of these tests: time in which a stopped node may come back.
const GRACE: Duration = Duration::from_millis(1500);
/// Variable that makes this executable a node: its share, the address of its tracker, and its quota.
const NODE: &str = "NEARPEER_REPLICATION_NODE";

/// A tracker and a directory for shares.
struct World {
    tracker: Option<Tracker>,
    config: TrackerConfig,
    dir: TempDir,
    cancel: Stop,
}

impl World {
    fn new(replicas: u32) -> World {
        let listen = SocketAddr::from(([127, 0, 0, 1], own_port()));
        let config = TrackerConfig { listen, replicas, replica_grace: GRACE, ..TrackerConfig::default() };
        let tracker = Some(Tracker::start(&config).expect("the tracker starts"));
        let dir = tempfile::tempdir().expect("a directory");
        World { tracker, config, dir, cancel: Stop::new().expect("a descriptor") }
    }

    fn share(&self, name: &str) -> PathBuf {
        let share = self.dir.path().join(name);
        fs::create_dir_all(&share).expect("made");
        share
    }

    /// Starts a node that shares the directory `name`, and waits until it is ready.
    fn node(&self, name: &str, quota: Option<u64>) -> Node {
        let node =
            Node::start(config(&self.share(name), self.config.listen, quota)).expect("the node starts");
        node.wait_ready(&self.cancel).expect("ready");
        node
    }

    fn restart_tracker(&mut self) {
        let stopped = self.tracker.take().map(Tracker::stop);
        assert!(stopped.is_some_and(|report| report.is_clean()));
        self.tracker = Some(Tracker::start(&self.config).expect("the tracker starts"));
    }

    /// A node in a separate process, which is killed on drop.
    fn process(&self, name: &str, quota: u64) -> Killed {
        let share = self.share(name);
        let child = Command::new(std::env::current_exe().expect("this test's executable"))
            .args(["--exact", "replication::a_node_in_a_process_of_its_own", "--nocapture"])
            .env(NODE, format!("{} {} {quota}", share.display(), self.config.listen))
            .stdout(Stdio::null())
            .stdin(Stdio::piped())
            .spawn()
            .expect("it starts");
        Killed(child)
    }

    /// Waits until `requester` finds that many full holders of a file.
    fn expect_copies(&self, requester: &Node, name: &str, copies: usize) {
        wait_for(&format!("{copies} copies of {name}"), || self.copies(requester, name) == copies);
    }

    /// Number of live full holders, the asking node included.
    fn copies(&self, requester: &Node, name: &str) -> usize {
        let found = requester.find(&by_name(name), &self.cancel).unwrap_or_default();
        let rows = found.groups.iter().flat_map(|group| &group.rows);
        rows.filter(|row| row.entry.holding == Holding::Full).count()
    }
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        self.0.kill().expect("it runs");
        self.0.wait().expect("it has ended");
    }
}

fn config(share: &Path, tracker: SocketAddr, quota: Option<u64>) -> NodeConfig {
    NodeConfig {
        heartbeat: Some(Duration::from_millis(200)),
        retries: 1,
        accept_replicas: quota.is_some(),
        replica_quota: quota,
        wait_for_tracker: true,
        ..NodeConfig::new([127, 0, 0, 1].into(), share, tracker)
    }
}

fn by_name(name: &str) -> Query {
    Query::Name(FileName::new(name).expect("a name"))
}

/// Polls the condition, because no event reports the change.
fn wait_for(what: &str, is_so: impl FnMut() -> bool) {
    assert!(comes_true(DEADLINE, is_so), "never: {what}");
}

fn comes_true(patience: Duration, mut is_so: impl FnMut() -> bool) -> bool {
    let (until, never) = (Instant::now() + patience, Stop::new().expect("a descriptor"));
    loop {
        if is_so() {
            return true;
        }
        if never.wait_until(Instant::now() + Duration::from_millis(20)) || Instant::now() > until {
            return false;
        }
    }
}

/// The replicas of a node that shares the directory: names and bytes.
fn replicas(node: &Node) -> Vec<(String, u64)> {
    let kept = node.files().into_iter().filter(|file| file.origin == FileOrigin::Replicated);
    kept.map(|file| (file.entry.name.to_string(), file.entry.size_bytes)).collect()
}

/// Total size on the disk of all files in a directory, hidden files and holes included.
fn bytes_beneath(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let bytes = |path: PathBuf| match path.metadata() {
        Ok(metadata) if metadata.is_dir() => bytes_beneath(&path),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    };
    entries.map(|entry| bytes(entry.path())).sum()
}

fn write(share: &Path, name: &str, bytes: &[u8]) {
    fs::write(share.join(name), bytes).expect("written");
}

#[test]
fn a_node_in_a_process_of_its_own() {
    let Ok(spec) = std::env::var(NODE) else { return };
    let [share, tracker, quota] = spec.split(' ').collect::<Vec<_>>()[..] else { panic!("{spec}") };
    let (tracker, quota) = (tracker.parse().expect("an address"), quota.parse().expect("bytes"));
    let _node = Node::start(config(Path::new(share), tracker, Some(quota))).expect("the node starts");
    // Runs until it is killed or its parent test has ended.
    let _closed = std::io::stdin().read_line(&mut String::new());
}

#[test]
fn the_policy_decides_the_number_of_copies_and_only_willing_nodes_keep_them() {
    let world = World::new(3);
    let bytes = noise(1, 3 << 20);
    write(&world.share("source"), "data.bin", &bytes);
    let unwilling = world.node("unwilling", None);
    let source = world.node("source", None);
    let keepers = ["one", "two", "three"].map(|name| world.node(name, Some(100 * MIB)));
    world.expect_copies(&unwilling, "data.bin", 3);
    // The number stays the same on later polls.
    assert!(!comes_true(GRACE * 2, || world.copies(&unwilling, "data.bin") > 3));
    let kept: Vec<_> = keepers.iter().map(replicas).collect();
    assert_eq!(
        kept.iter().filter(|kept| **kept == [("data.bin".to_owned(), 3 * MIB)]).count(),
        2,
        "{kept:?}"
    );
    let share = |name: &str| world.dir.path().join(name);
    assert_eq!(bytes_beneath(&share("unwilling")), 0);
    for name in ["one", "two", "three"] {
        assert!(!share(name).join("data.bin").exists(), "it is hidden");
        let copy = share(name).join(".nearpeer/replicas/data.bin");
        assert!(!copy.exists() || fs::read(&copy).expect("readable") == bytes);
    }
    assert_eq!(source.files().len() + unwilling.files().len(), 1);
    for node in keepers.into_iter().chain([unwilling, source]) {
        assert!(node.stop().is_clean());
    }
}

#[test]
fn a_killed_holder_is_replaced_after_its_grace() {
    let world = World::new(2);
    write(&world.share("killed"), "data.bin", &noise(2, 2 << 20));
    let requester = world.node("requester", None);
    let holder = world.process("killed", 0);
    wait_for("the file", || world.copies(&requester, "data.bin") == 1);
    let first = world.node("first", Some(10 * MIB));
    world.expect_copies(&requester, "data.bin", 2);
    // A node that can replace the holder.
    let second = world.node("second", Some(10 * MIB));
    let third = world.node("third", Some(10 * MIB));
    assert!(!comes_true(GRACE, || replicas(&second).len() + replicas(&third).len() > 0), "two are enough");
    let killed_at = Instant::now();
    drop(holder);
    wait_for("a replacement", || replicas(&second).len() + replicas(&third).len() == 1);
    assert!(killed_at.elapsed() >= GRACE, "after {:?}", killed_at.elapsed());
    // The holder comes back. Now there are three holders, and no replica is removed.
    let _back = world.process("killed", 0);
    world.expect_copies(&requester, "data.bin", 3);
    assert_eq!((replicas(&first).len(), replicas(&second).len() + replicas(&third).len()), (1, 1));
}

#[test]
fn a_node_that_comes_back_in_time_is_not_replaced() {
    let world = World::new(2);
    write(&world.share("restarted"), "data.bin", &noise(3, 1 << 20));
    let requester = world.node("requester", None);
    let mut holder = world.process("restarted", 0);
    let keeper = world.node("keeper", Some(10 * MIB));
    world.expect_copies(&requester, "data.bin", 2);
    let idle = world.node("idle", Some(10 * MIB));
    for _ in 0..3 {
        drop(holder);
        wait_for("its end", || world.copies(&requester, "data.bin") == 1);
        holder = world.process("restarted", 0);
        wait_for("its return", || world.copies(&requester, "data.bin") == 2);
    }
    assert!(!comes_true(GRACE, || !replicas(&idle).is_empty()), "the world is copied");
    assert_eq!(replicas(&keeper).len(), 1);
}

#[test]
fn a_quota_is_kept_over_restarts_and_kept_copies_are_published_again() {
    let mut world = World::new(2);
    let quota = 2 * MIB + MIB / 2;
    for number in 0..5 {
        write(&world.share("source"), &format!("f{number}"), &noise(10 + number, MIB as usize));
    }
    write(&world.share("source"), "small", &noise(20, 1000));
    let source = world.node("source", None);
    let share = world.dir.path().join("keeper");
    for round in 0..3 {
        let keeper = world.node("keeper", Some(quota));
        wait_for("as many as there is room for", || {
            assert!(bytes_beneath(&share) <= quota, "{} bytes", bytes_beneath(&share));
            replicas(&keeper).len() == 3
        });
        assert!(!comes_true(GRACE, || bytes_beneath(&share) > quota || replicas(&keeper).len() != 3));
        let kept = replicas(&keeper);
        assert_eq!(kept.iter().map(|(_, bytes)| bytes).sum::<u64>(), 2 * MIB + 1000, "{kept:?}");
        // The replica is published like any other file: the source finds two holders.
        for (name, _) in &kept {
            world.expect_copies(&source, name, 2);
        }
        assert!(keeper.stop().is_clean());
        if round == 1 {
            world.restart_tracker();
        }
    }
    // The user removed it. There is room again after the next scan.
    let keeper = world.node("keeper", Some(quota));
    fs::remove_file(share.join(".nearpeer/replicas/small")).expect("removed");
    keeper.update_list(&world.cancel).expect("scanned");
    wait_for("it back", || replicas(&keeper).len() == 3);
}

#[test]
fn a_wanted_count_is_sent_again_to_a_restarted_tracker_and_outlives_its_copies() {
    let mut world = World::new(0);
    write(&world.share("source"), "data.bin", &noise(4, 2 << 20));
    let source = world.node("source", None);
    let too_small = world.node("too small", Some(MIB));
    let first = world.process("first", 10 * MIB);
    let ask =
        |copies| source.replicate(&by_name("data.bin"), copies, &world.cancel).expect("an answer").status;
    // The tracker knows that a node accepts replicas after the node's first request for tasks.
    wait_for("a willing node", || ask(4).missing() == 2 && ask(4).no_room == 1);
    let shortfall = ask(4).shortfall().expect("too few are willing");
    assert_eq!(shortfall, "2 of 4 copies are missing: other nodes that keep replicas: 1 without room for it");
    assert_eq!(ask(2).shortfall(), None);
    world.expect_copies(&source, "data.bin", 2);
    assert_eq!((ask(2).copies, ask(2).given), (2, 0));
    let nobody = source.replicate(&by_name("nothing"), 2, &world.cancel);
    assert!(nobody.is_err_and(|error| error.to_string() == "no node has `nothing`"));

    world.restart_tracker();
    world.expect_copies(&source, "data.bin", 2);
    let second = world.node("second", Some(10 * MIB));
    assert!(!comes_true(GRACE * 2, || !replicas(&second).is_empty()), "two are enough");
    drop(first);
    wait_for("a replacement", || replicas(&second).len() == 1);
    assert_eq!(replicas(&too_small), []);
    assert_eq!(bytes_beneath(&world.dir.path().join("too small")), 0);
}

#[test]
fn a_node_that_does_not_accept_replicas_keeps_none() {
    let world = World::new(2);
    write(&world.share("source"), "data.bin", &noise(5, 1000));
    let source = world.node("source", None);
    let share = world.share("silent");
    let config = NodeConfig { heartbeat: None, ..config(&share, world.config.listen, Some(MIB)) };
    let silent = Node::start(config).expect("the node starts");
    silent.wait_ready(&world.cancel).expect("ready");
    assert!(!comes_true(GRACE * 2, || world.copies(&source, "data.bin") > 1));
    assert_eq!(bytes_beneath(&share), 0);
}

#[test]
fn a_change_of_the_http_port_is_published_while_the_node_runs() {
    let world = World::new(0);
    write(&world.share("source"), "data.bin", &noise(6, 1000));
    let (source, other) = (world.node("source", None), world.node("other", None));
    let published_port = || {
        let nodes = other.nodes(&world.cancel).expect("an answer");
        nodes.iter().find(|row| row.endpoint == source.addr()).and_then(|row| row.traits().http_port)
    };
    assert_eq!(published_port(), None);
    for port in [Some(8080), Some(8081), None] {
        source.announce_http(port);
        wait_for(&format!("port {port:?}"), || published_port() == port);
    }
}
