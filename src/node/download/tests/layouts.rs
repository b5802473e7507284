//! Tests of where files of each origin lie, in both layouts and with a separate directory for downloads:
//! real nodes on loopback.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use crate::node::{DownloadError, DownloadRequest, Downloaded, Node, NodeConfig, Outcome};
use crate::rt::Stop;
use crate::tracker::{Tracker, TrackerConfig};
use crate::types::{FileName, FileOrigin, Layout, Query, ReplicaTask};

/// A tracker and a node that shares a file of one piece and a file of three pieces.
struct World {
    tracker: Tracker,
    holder: Node,
    share: TempDir,
}

impl World {
    fn new() -> World {
        let tracker = Tracker::start(&TrackerConfig::default()).expect("a tracker");
        let share = directory();
        fs::create_dir(share.path().join("sub")).expect("made");
        fs::write(share.path().join("small"), b"small").expect("written");
        fs::write(share.path().join("sub/large"), vec![7; (2 << 20) + 1]).expect("written");
        let holder = start(NodeConfig::new([127, 0, 0, 1].into(), share.path(), tracker.addr()));
        World { tracker, holder, share }
    }

    fn config(&self, share: &Path, layout: Layout) -> NodeConfig {
        let config = NodeConfig::new([127, 0, 0, 1].into(), share, self.tracker.addr());
        NodeConfig { layout, retries: 0, ..config }
    }

    /// Number of holders of a file that another node finds.
    fn holders(&self, asker: &Node, file: &str) -> usize {
        let found = asker.find(&Query::Name(name(file)), &stop()).expect("found");
        found.groups.iter().map(|group| group.rows.len()).sum()
    }
}

fn start(config: NodeConfig) -> Node {
    let node = Node::start(NodeConfig { heartbeat: None, ..config }).expect("a node");
    node.wait_published();
    node
}

/// Stops a node and releases its folders.
fn end(node: Node) {
    let report = node.stop();
    drop(node);
    assert!(report.is_clean(), "{report:?}");
}

fn directory() -> TempDir {
    TempDir::new().expect("a directory")
}

fn stop() -> Stop {
    Stop::new().expect("a descriptor")
}

fn name(text: &str) -> FileName {
    FileName::new(text).expect(text)
}

fn request(file: &str, force: bool) -> DownloadRequest {
    DownloadRequest { name: name(file), checksum: None, verify_whole: false, force }
}

fn download(node: &Node, file: &str, force: bool) -> Result<Downloaded, DownloadError> {
    node.download(&request(file, force), &stop(), &mut |_| {})
}

/// Fetches a replica as if the tracker had assigned it.
fn replicate(node: &Node, file: &str) -> Result<Downloaded, DownloadError> {
    let found = node.find(&Query::Name(name(file)), &stop()).expect("found");
    let task = ReplicaTask { content: found.groups[0].key, name: name(file) };
    let outcome = node.downloader().keep_replica(&task, &stop())?;
    Ok(Downloaded { name: task.name, key: task.content, outcome })
}

/// Name and origin of all published files.
fn published(node: &Node) -> Vec<(String, FileOrigin)> {
    node.files().into_iter().map(|file| (file.entry.name.to_string(), file.origin)).collect()
}

fn file_of(file: &str, origin: FileOrigin) -> (String, FileOrigin) {
    (file.to_owned(), origin)
}

fn is_fetched(done: &Result<Downloaded, DownloadError>) -> bool {
    matches!(done, Ok(Downloaded { outcome: Outcome::Fetched { .. }, .. }))
}

fn is_already_here(done: &Result<Downloaded, DownloadError>) -> bool {
    matches!(done, Ok(Downloaded { outcome: Outcome::AlreadyHere, .. }))
}

#[test]
fn files_of_each_kind_have_their_folder_are_published_and_survive_a_restart() {
    let world = World::new();
    for (layout, local, large, small) in [
        (Layout::Flat, "mine", "sub/large", ".nearpeer/replicas/small"),
        (Layout::Split, "shared/mine", "downloaded/sub/large", "replicated/small"),
    ] {
        let share = directory();
        fs::create_dir_all(share.path().join(local).parent().expect("a parent")).expect("made");
        fs::write(share.path().join(local), b"mine").expect("written");
        let config = world.config(share.path(), layout);
        let node = start(config.clone());
        for done in [download(&node, "sub/large", false), replicate(&node, "small")] {
            assert!(is_fetched(&done), "{done:?}");
        }
        for done in
            [download(&node, "sub/large", false), replicate(&node, "small"), replicate(&node, "sub/large")]
        {
            assert!(is_already_here(&done), "{done:?}");
        }
        for path in [large, small] {
            let original = world.share.path().join(if path == large { "sub/large" } else { "small" });
            assert_eq!(fs::read(share.path().join(path)).expect(path), fs::read(original).expect("there"));
        }
        let expected = [
            file_of("mine", FileOrigin::Local),
            file_of("small", FileOrigin::Replicated),
            file_of("sub/large", FileOrigin::Downloaded),
        ];
        assert_eq!(published(&node), expected, "{layout}");
        for file in ["small", "sub/large"] {
            assert_eq!(world.holders(&node, file), 2, "{file} {layout}");
        }
        end(node);
        let node = start(config);
        assert_eq!(published(&node), expected, "{layout}, after a restart");
        // Replica and download are sent to other nodes.
        let others = directory();
        let asker = start(world.config(others.path(), layout));
        for file in ["mine", "small", "sub/large"] {
            let done = download(&asker, file, false);
            assert!(is_fetched(&done), "{done:?}");
        }
        for node in [asker, node] {
            end(node);
        }
    }
}

#[test]
fn a_replica_is_never_in_the_way_of_a_file_of_the_user() {
    let world = World::new();
    for (layout, local, replica) in [
        (Layout::Flat, "small", ".nearpeer/replicas/small"),
        (Layout::Split, "shared/small", "replicated/small"),
    ] {
        let share = directory();
        let node = start(world.config(share.path(), layout));
        fs::write(share.path().join(local), b"mine").expect("written");
        let refused = replicate(&node, "small");
        assert!(matches!(refused, Err(DownloadError::Exists { .. })), "{refused:?}");
        assert_eq!(fs::read(share.path().join(local)).expect("there"), b"mine");
        fs::remove_file(share.path().join(local)).expect("removed");
        let done = replicate(&node, "small");
        assert!(is_fetched(&done), "{done:?}");
        assert_eq!(published(&node), [file_of("small", FileOrigin::Replicated)]);
        // A file that the user adds later hides the replica; when it is removed the replica is visible again.
        fs::write(share.path().join(local), b"mine").expect("written");
        node.update_list(&stop()).expect("scanned");
        assert_eq!(published(&node), [file_of("small", FileOrigin::Local)]);
        assert_eq!(node.files()[0].entry.size_bytes, 4);
        assert_eq!(fs::read(share.path().join(replica)).expect("kept"), b"small");
        fs::remove_file(share.path().join(local)).expect("removed");
        node.update_list(&stop()).expect("scanned");
        assert_eq!(published(&node), [file_of("small", FileOrigin::Replicated)]);
        end(node);
    }
}

#[test]
fn a_folder_removed_while_the_node_runs_counts_as_empty() {
    let world = World::new();
    for (layout, folder) in [(Layout::Flat, ".nearpeer"), (Layout::Split, "replicated")] {
        let share = directory();
        let node = start(world.config(share.path(), layout));
        for round in [1, 2] {
            let done = replicate(&node, "sub/large");
            assert!(is_fetched(&done), "{layout}, {round}: {done:?}");
            assert_eq!(published(&node), [file_of("sub/large", FileOrigin::Replicated)]);
            fs::remove_dir_all(share.path().join(folder)).expect("removed");
            node.update_list(&stop()).expect("scanned");
            assert_eq!(published(&node), [], "{layout}, {round}");
        }
        end(node);
    }
}

/// A replica may be the last copy of a content.
#[test]
fn a_replica_becomes_a_download_without_any_source() {
    for (layout, target, replica) in [
        (Layout::Flat, "sub/large", ".nearpeer/replicas/sub/large"),
        (Layout::Split, "downloaded/sub/large", "replicated/sub/large"),
    ] {
        let world = World::new();
        let share = directory();
        let config = world.config(share.path(), layout);
        let node = start(config.clone());
        let done = replicate(&node, "sub/large");
        assert!(is_fetched(&done) && share.path().join(replica).is_file(), "{done:?}");
        let World { tracker, holder, .. } = world;
        end(holder);
        let done = download(&node, "sub/large", false);
        assert!(is_already_here(&done), "{done:?}");
        assert_eq!(fs::read(share.path().join(target)).expect("in place"), vec![7; (2 << 20) + 1]);
        assert!(!share.path().join(replica).exists());
        assert!(!node.files()[0].entry.is_replica(), "other nodes learn it");
        assert_eq!(published(&node), [file_of("sub/large", FileOrigin::Downloaded)]);
        // It is sent to other nodes from its new place.
        let others = directory();
        let config = NodeConfig { share: others.path().to_owned(), ..config };
        let asker = start(config.clone());
        let done = download(&asker, "sub/large", false);
        assert!(is_fetched(&done), "{done:?}");
        end(node);
        end(asker);
        let node = start(NodeConfig { share: share.path().to_owned(), ..config });
        assert_eq!(published(&node), [file_of("sub/large", FileOrigin::Downloaded)], "after a restart");
        end(node);
        assert!(tracker.stop().is_clean());
    }
}

#[test]
fn in_the_split_layout_a_local_file_is_neither_replaced_nor_fetched_again() {
    let world = World::new();
    let share = directory();
    let node = start(world.config(share.path(), Layout::Split));
    let local = share.path().join("shared/small");
    fs::write(&local, b"small").expect("written");
    let done = download(&node, "small", false);
    assert!(is_already_here(&done) && !share.path().join("downloaded/small").exists(), "{done:?}");
    fs::write(&local, b"other").expect("written");
    let refused = download(&node, "small", false);
    assert!(matches!(refused, Err(DownloadError::Exists { .. })), "{refused:?}");
    // With `force` it is fetched; the local file stays and is published before it.
    let done = download(&node, "small", true);
    assert!(is_fetched(&done), "{done:?}");
    assert_eq!(fs::read(&local).expect("there"), b"other");
    assert_eq!(fs::read(share.path().join("downloaded/small")).expect("there"), b"small");
    assert_eq!(published(&node), [file_of("small", FileOrigin::Local)]);
    end(node);
}

#[test]
fn downloads_go_to_their_own_directory_and_are_shared_only_within_the_share() {
    let world = World::new();
    for inside in [false, true] {
        let (share, other) = (directory(), directory());
        let save_dir = if inside { share.path().join("in") } else { other.path().to_owned() };
        fs::create_dir_all(&save_dir).expect("made");
        let config =
            NodeConfig { save_dir: Some(save_dir.clone()), ..world.config(share.path(), Layout::Flat) };
        let node = start(config.clone());
        for file in ["small", "sub/large"] {
            let done = download(&node, file, false);
            assert!(is_fetched(&done), "{done:?}");
            assert!(save_dir.join(file).is_file() && !share.path().join(file).exists());
            let done = download(&node, file, false);
            assert!(is_already_here(&done), "{done:?}");
        }
        fs::write(save_dir.join("small"), b"other").expect("written");
        let refused = download(&node, "small", false);
        assert!(matches!(refused, Err(DownloadError::Exists { .. })), "{refused:?}");
        let done = download(&node, "small", true);
        assert!(is_fetched(&done), "{done:?}");
        let expected = if inside {
            vec![file_of("in/small", FileOrigin::Downloaded), file_of("in/sub/large", FileOrigin::Downloaded)]
        } else {
            vec![]
        };
        assert_eq!(published(&node), expected);
        assert_eq!(world.holders(&node, "sub/large"), 1);
        assert_eq!(
            fs::read_dir(save_dir.join(".nearpeer")).expect("made").count(),
            0,
            "no partial file is left"
        );
        assert!(!share.path().join(".nearpeer").exists());
        end(node);
        let node = start(config);
        assert_eq!(published(&node), expected, "after a restart");
        end(node);
    }
}
