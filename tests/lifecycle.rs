//! A tracker and two nodes are started, used and stopped 100 times in one process. They leave the process as
//! it was.
//!
//! This must stay the only test of its program, because it counts the threads and descriptors of the whole
//! process.

#![allow(clippy::print_stdout, reason = "figures for those who ask with --nocapture")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use nearpeer::node::{self, DownloadRequest, Node, NodeConfig, Outcome, Ready};
use nearpeer::rt::Stop;
use nearpeer::tracker::{self, Tracker, TrackerConfig};
use nearpeer::types::{FileName, Query};

const ROUNDS: usize = 100;
/// The thread that runs the test, and the main thread that waits for it.
const THREADS_OF_A_TEST: usize = 2;
const NAME: &str = "letters/greeting.txt";
const TEXT: &[u8] = b"the same bytes at both ends\n";

/// Resources that a round could leave behind.
#[derive(Debug, PartialEq, Eq)]
struct Traces {
    threads: usize,
    descriptors: usize,
    files: BTreeSet<String>,
}

fn traces(dir: &Path) -> Traces {
    let count = |path: &str| fs::read_dir(path).expect("procfs").count();
    let mut files = BTreeSet::new();
    list(dir, &mut files);
    Traces { threads: count("/proc/self/task"), descriptors: count("/proc/self/fd"), files }
}

/// Reads the remaining resources until they equal `expected` or the deadline passes. The system lists a
/// joined thread for some microseconds more.
fn settled(dir: &Path, expected: &Traces) -> Traces {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let now = traces(dir);
        if now == *expected || Instant::now() > deadline {
            return now;
        }
        std::thread::yield_now();
    }
}

fn list(dir: &Path, files: &mut BTreeSet<String>) {
    for entry in fs::read_dir(dir).expect("the directory is there") {
        let path = entry.expect("readable").path();
        files.insert(path.display().to_string());
        if path.is_dir() {
            list(&path, files);
        }
    }
}

fn node_config(share: &Path, tracker: &Tracker) -> NodeConfig {
    NodeConfig {
        heartbeat: None,
        retries: 0,
        ..NodeConfig::new([127, 0, 0, 1].into(), share, tracker.addr())
    }
}

/// Starts that fail, one for each resource that is already in use.
fn start_in_vain(taken_share: &Path, other_share: &Path, tracker: &Tracker) {
    let config = TrackerConfig { listen: tracker.addr(), ..TrackerConfig::default() };
    let error = Tracker::start(&config).expect_err("the port is taken");
    assert!(matches!(error, tracker::TrackerStartError::AddressInUse { .. }), "{error}");
    let error = Node::start(node_config(taken_share, tracker)).expect_err("the share is taken");
    assert!(matches!(error, node::NodeStartError::ShareInUse { .. }), "{error}");
    let config = NodeConfig { port: tracker.addr().port(), ..node_config(other_share, tracker) };
    let error = Node::start(config).expect_err("the port is taken");
    assert!(matches!(error, node::NodeStartError::AddressInUse { .. }), "{error}");
}

/// One round: start, find, download, stop, and removal of the downloaded file.
fn round(from: &Path, to: &Path) {
    let tracker = Tracker::start(&TrackerConfig::default()).expect("the tracker starts");
    let start_node = |share| Node::start(node_config(share, &tracker)).expect("the node starts");
    let holder = start_node(from);
    start_in_vain(from, to, &tracker);
    let requester = start_node(to);
    let cancel = Stop::new().expect("a descriptor");
    assert_eq!(holder.wait_ready(&cancel), Ok(Ready::Complete { files: 1 }));
    assert_eq!(requester.wait_ready(&cancel), Ok(Ready::Complete { files: 0 }));

    let name = FileName::new(NAME).expect("a name");
    let found = requester.find(&Query::Name(name.clone()), &cancel).expect("an answer");
    let holders: Vec<_> = found.groups.iter().flat_map(|group| &group.rows).map(|row| row.endpoint).collect();
    assert_eq!(holders, [holder.addr()]);

    let request = DownloadRequest { name, checksum: None, verify_whole: false, force: false };
    let done = requester.download(&request, &cancel, &mut |_| ()).expect("the download ends well");
    match done.outcome {
        Outcome::Fetched { sources, .. } => assert_eq!(sources, [holder.addr()]),
        Outcome::AlreadyHere => panic!("the last round left its file"),
    }
    assert_eq!(fs::read(to.join(NAME)).expect("in place"), TEXT);

    for report in [requester.stop(), holder.stop(), tracker.stop()] {
        assert!(report.is_clean(), "{report:?}");
    }
    fs::remove_dir_all(to.join("letters")).expect("taken away");
}

#[test]
fn a_hundred_starts_and_stops_leave_no_thread_descriptor_or_file() {
    let dir = tempfile::tempdir().expect("a directory");
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    fs::create_dir_all(from.join("letters")).expect("made");
    fs::create_dir(&to).expect("made");
    fs::write(from.join(NAME), TEXT).expect("written");

    // The first round also creates what a process creates only once.
    round(&from, &to);
    let first = traces(dir.path());
    let before = settled(dir.path(), &Traces { threads: THREADS_OF_A_TEST, ..first });
    let start = Instant::now();
    for number in 1..=ROUNDS {
        round(&from, &to);
        assert_eq!(settled(dir.path(), &before), before, "after round {number}");
    }
    println!(
        "lifecycle: {ROUNDS} rounds in {:.2} s; left: {} threads",
        start.elapsed().as_secs_f64(),
        before.threads
    );
}
