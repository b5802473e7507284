//! Jobs on real nodes, on each kind of thread: paused, resumed, cancelled.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crossbeam_channel::{Receiver, unbounded};
use tempfile::TempDir;

use super::*;
use crate::node::{CommandError, DownloadRequest, Node, NodeConfig, Outcome};
use crate::proto::event::DownloadEvent;
use crate::rt::{Stop, clock};
use crate::tracker::{Tracker, TrackerConfig};
use crate::types::FileName;

const DEADLINE: Duration = Duration::from_secs(30);
const BYTES: usize = (4 << 20) + 1;

/// A tracker, a source of `a` that sends 4 MiB/s, and a node that downloads it.
struct Scene {
    node: Node,
    events: Receiver<(JobId, String)>,
    source: Node,
    tracker: Tracker,
    from: TempDir,
    to: TempDir,
}

fn start(share: &Path, tracker: &Tracker, max_upload: Option<u64>, resume: bool) -> Node {
    let config = NodeConfig::new([127, 0, 0, 1].into(), share, tracker.addr());
    let node = Node::start(NodeConfig { max_upload, resume, ..config }).expect("it starts");
    node.wait_published();
    node
}

/// Receives the word of each new state, and `bytes` for each progress before the last.
fn watch(node: &Node) -> Receiver<(JobId, String)> {
    let (sender, events) = unbounded();
    let guard = node.watch(move |event| {
        let word = match event.change {
            JobChange::State(state) => state.as_str(),
            JobChange::Ended(Ok(_)) => "done",
            JobChange::Ended(Err(_)) => "failed",
            JobChange::Progress(DownloadEvent::Bytes { done_bytes, total_bytes, .. })
                if done_bytes < total_bytes =>
            {
                "bytes"
            }
            JobChange::Progress(_) => return,
        };
        // An error: the test is over.
        sender.send((event.id, word.to_owned())).ok();
    });
    // The watcher stays as long as the node runs.
    std::mem::forget(guard);
    events
}

impl Scene {
    fn new() -> Scene {
        let (from, to) =
            (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
        let bytes: Vec<u8> = (0..BYTES).map(|i| (i.wrapping_mul(2654435761) >> 13) as u8 | 1).collect();
        fs::write(from.path().join("a"), bytes).expect("written");
        let tracker = Tracker::start(&TrackerConfig::default()).expect("it starts");
        let source = start(from.path(), &tracker, Some(4 << 20), false);
        let node = start(to.path(), &tracker, None, false);
        let events = watch(&node);
        Scene { node, events, source, tracker, from, to }
    }

    /// Waits for `word` of job `id`.
    fn wait(&self, id: JobId, word: &str) {
        let deadline = clock::now() + DEADLINE;
        while let Ok((of, event)) = self.events.recv_deadline(deadline) {
            if of == id && event == word {
                return;
            }
        }
        panic!("no {word} of {id}: {:?}", self.node.jobs());
    }

    fn job(&self, id: JobId) -> Job {
        self.node.jobs().into_iter().find(|job| job.id == id).expect("in the table")
    }

    fn state(&self, id: JobId) -> JobState {
        self.job(id).state
    }

    /// Whether a restarted node would resume a download.
    fn has_resumable_record(&self) -> bool {
        fs::read_dir(self.to.path().join(".nearpeer")).is_ok_and(|mut left| {
            left.any(|entry| {
                entry.is_ok_and(|entry| entry.path().extension().is_some_and(|end| end == "resume"))
            })
        })
    }

    fn end(self) {
        let reports = [self.node.stop(), self.source.stop(), self.tracker.stop()];
        assert!(reports.iter().all(crate::rt::StopReport::is_clean), "{reports:?}");
    }
}

fn request() -> DownloadRequest {
    let name = FileName::new("a").expect("a name");
    DownloadRequest { name, checksum: None, verify_whole: false, force: false }
}

#[test]
fn a_background_download_is_paused_resumed_and_done() {
    let scene = Scene::new();
    let id = scene.node.start_download(request()).expect("there is room");
    scene.wait(id, "bytes");
    scene.node.pause(id).expect("it runs");
    scene.wait(id, "paused");
    assert!(!scene.has_resumable_record(), "a restarted node must not resume it");
    assert_eq!(scene.node.load_of(scene.node.addr(), &Stop::new().expect("a descriptor")), Ok(0));
    scene.node.resume(id).expect("it is paused");
    scene.wait(id, "done");
    let Some(Ok(done)) = scene.job(id).result else { panic!("it is done") };
    assert!(matches!(done.outcome, Outcome::Fetched { .. }), "{done:?}");
    let fetched = scene.node.jobs()[0].progress.fetched_bytes;
    assert!(fetched < BYTES as u64, "{fetched}: some pieces were fetched twice");
    assert_eq!(
        fs::read(scene.to.path().join("a")).expect("there"),
        fs::read(scene.from.path().join("a")).expect("there")
    );
    assert_eq!(scene.node.pause(id), Err(JobError::Ended(id)));
    scene.end();
}

#[test]
fn the_caller_of_a_foreground_download_waits_through_its_pauses() {
    let scene = Scene::new();
    let never = Stop::new().expect("a descriptor");
    let id = JobId(1);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| scene.node.download(&request(), &never, &mut |_| {}));
        scene.wait(id, "bytes");
        scene.node.pause(id).expect("it runs");
        scene.wait(id, "paused");
        scene.node.resume(id).expect("it is paused");
        scene.wait(id, "bytes");
        scene.node.pause(id).expect("it runs");
        scene.wait(id, "paused");
        scene.node.cancel(id).expect("it is paused");
        let result = waiting.join().expect("no panic");
        assert_eq!(result, Err(CommandError::Cancelled.into()));
    });
    assert_eq!((scene.state(id), scene.has_resumable_record()), (JobState::Cancelled, false));
    scene.end();
}

#[test]
fn a_stopped_download_is_resumed_after_a_restart_and_a_cancelled_one_is_not() {
    let scene = Scene::new();
    let first = scene.node.start_download(request()).expect("there is room");
    scene.wait(first, "bytes");
    scene.node.cancel(first).expect("it runs");
    scene.wait(first, "cancelled");
    assert!(!scene.has_resumable_record());
    let second = scene.node.start_download(request()).expect("there is room");
    scene.wait(second, "bytes");
    let Scene { node, source, tracker, from, to, .. } = scene;
    assert!(node.stop().is_clean());
    drop(node);
    // The second download was not cancelled: the restarted node resumes it as a job.
    let node = start(to.path(), &tracker, None, true);
    let events = watch(&node);
    let scene = Scene { node, events, source, tracker, from, to };
    let deadline = clock::now() + DEADLINE;
    while !scene.node.jobs().iter().any(|job| job.state == JobState::Done) {
        assert!(scene.events.recv_deadline(deadline).is_ok(), "{:?}", scene.node.jobs());
    }
    assert_eq!(scene.node.jobs()[0].source, JobSource::Resumed);
    scene.end();
}
