//! Downloads onto a disk that fails: each disk call of a whole download fails once, in a running node.
//!
//! After each failure, the error names it, no file has the name, the node keeps running, and the next
//! download succeeds and leaves no partial file.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use nearpeer::node::{DownloadError, DownloadRequest, Downloaded, Node, NodeConfig, Outcome};
use nearpeer::rt::Stop;
use nearpeer::store::{Disk, FaultyDisk, Op};
use nearpeer::tracker::{Tracker, TrackerConfig};
use nearpeer::types::FileName;
use rustix::io::Errno;
use tempfile::TempDir;

const NAME: &str = "sub/data.bin";

/// A tracker, and a node that holds one file of three pieces.
struct World {
    tracker: Tracker,
    content: Vec<u8>,
    _holder: Node,
    _share: TempDir,
}

impl World {
    fn new() -> World {
        let tracker = Tracker::start(&TrackerConfig::default()).expect("a tracker");
        let share = TempDir::new().expect("a directory");
        let content: Vec<u8> =
            (0..(2 << 20) + 4711u32).map(|i| (i.wrapping_mul(2654435761) >> 13) as u8).collect();
        fs::create_dir(share.path().join("sub")).expect("a directory");
        fs::write(share.path().join(NAME), &content).expect("written");
        let holder = Node::start(config(&tracker, share.path())).expect("a node");
        let stop = Stop::new().expect("a descriptor");
        holder.wait_ready(&stop).expect("ready");
        World { tracker, content, _holder: holder, _share: share }
    }

    /// Runs a download in a new node with the disk `disk`. Afterwards the node must still serve and stop in
    /// order.
    fn download(&self, share: &Path, disk: Arc<dyn Disk>) -> Result<Downloaded, DownloadError> {
        let node = Node::start_on(config(&self.tracker, share), disk).expect("a node");
        let stop = Stop::new().expect("a descriptor");
        node.wait_ready(&stop).expect("ready");
        let name = FileName::new(NAME).expect("a name");
        let request = DownloadRequest { name, checksum: None, verify_whole: true, force: false };
        let result = node.download(&request, &stop, &mut |_| {});
        assert_eq!(node.load_of(node.addr(), &stop), Ok(0), "the node answers and has no transfer left");
        assert!(node.stop().is_clean());
        result
    }
}

fn config(tracker: &Tracker, share: &Path) -> NodeConfig {
    NodeConfig {
        heartbeat: None,
        retries: 0,
        ..NodeConfig::new([127, 0, 0, 1].into(), share, tracker.addr())
    }
}

/// Names in the share without hidden directories.
fn visible(share: &Path) -> Vec<String> {
    let entries = fs::read_dir(share).expect("readable");
    let names = entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"));
    names.filter(|name| !name.starts_with('.')).collect()
}

/// Number of partial files. There is none after a success.
fn parts(share: &Path) -> usize {
    fs::read_dir(share.join(".nearpeer")).map_or(0, Iterator::count)
}

#[test]
fn each_disk_call_may_fail_once_and_nothing_is_left_behind() {
    let world = World::new();
    let recorded = Arc::new(FaultyDisk::new());
    let share = TempDir::new().expect("a directory");
    let whole = world.download(share.path(), Arc::clone(&recorded) as Arc<dyn Disk>).expect("no fault yet");
    assert!(matches!(whole.outcome, Outcome::Fetched { pieces: 3, .. }));
    assert_eq!((parts(share.path()), recorded.count(Op::Read) > 0), (0, true));

    let calls = recorded.calls();
    let mut failed = 0;
    for (index, &op) in calls.iter().enumerate() {
        let nth = calls[..=index].iter().filter(|call| **call == op).count();
        let errno = if op == Op::Write { Errno::NOSPC } else { Errno::IO };
        let share = TempDir::new().expect("a directory");
        let disk = Arc::new(FaultyDisk::new().fail(op, nth, errno));
        match world.download(share.path(), disk) {
            // Some calls clean up after the download. Their failure has no effect.
            Ok(_) => assert_eq!(fs::read(share.path().join(NAME)).expect("in place"), world.content),
            Err(error) => {
                failed += 1;
                match (errno, &error) {
                    (Errno::NOSPC, DownloadError::NoSpace { .. })
                    | (Errno::IO, DownloadError::Disk { .. }) => {}
                    _ => panic!("{op:?} number {nth}: {error:?}"),
                }
                assert_eq!(visible(share.path()), Vec::<String>::new(), "{op:?} number {nth}: {error}");
                world
                    .download(share.path(), Arc::new(nearpeer::store::RealDisk))
                    .expect("the disk is well again");
                assert_eq!(fs::read(share.path().join(NAME)).expect("in place"), world.content);
                assert_eq!(parts(share.path()), 0, "{op:?} number {nth}");
            }
        }
    }
    assert!(failed >= 8, "only {failed} of {} calls mattered", calls.len());
}
