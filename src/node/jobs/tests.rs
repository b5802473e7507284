//! Jobs on real nodes: paused, resumed, cancelled, on whatever thread they run.

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

/// A tracker, a source of `a` that sends 4 MiB/s, and a node that asks. Stopped in this order.
struct Scene {
    asker: Node,
    news: Receiver<(JobId, String)>,
    source: Node,
    tracker: Tracker,
    from: TempDir,
    to: TempDir,
}

fn node(share: &Path, tracker: &Tracker, max_upload: Option<u64>, resume: bool) -> Node {
    let config = NodeConfig::new([127, 0, 0, 1].into(), share, tracker.addr());
    let node = Node::start(NodeConfig { max_upload, resume, ..config }).expect("it starts");
    node.wait_ready(&Stop::new().expect("a descriptor")).expect("ready");
    node
}

/// Every state by its word, and each `bytes` before the last.
fn watched(node: &Node) -> Receiver<(JobId, String)> {
    let (sender, news) = unbounded();
    let watching = node.watch(move |news| {
        let word = match news.what {
            What::State(state) => state.as_str(),
            What::Ended(Ok(_)) => "done",
            What::Ended(Err(_)) => "failed",
            What::Progress(DownloadEvent::Bytes { done_bytes, total_bytes, .. })
                if done_bytes < total_bytes =>
            {
                "bytes"
            }
            What::Progress(_) => return,
        };
        let _test_may_be_over = sender.send((news.id, word.to_owned()));
    });
    // As long as the node.
    std::mem::forget(watching);
    news
}

impl Scene {
    fn new() -> Scene {
        let (from, to) =
            (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
        let bytes: Vec<u8> = (0..BYTES).map(|i| (i.wrapping_mul(2654435761) >> 13) as u8 | 1).collect();
        fs::write(from.path().join("a"), bytes).expect("written");
        let tracker = Tracker::start(&TrackerConfig::default()).expect("it starts");
        let source = node(from.path(), &tracker, Some(4 << 20), false);
        let asker = node(to.path(), &tracker, None, false);
        let news = watched(&asker);
        Scene { asker, news, source, tracker, from, to }
    }

    /// Waits for `word` of job `id`, whatever else is told before.
    fn wait(&self, id: JobId, word: &str) {
        let deadline = clock::now() + DEADLINE;
        while let Ok((of, told)) = self.news.recv_deadline(deadline) {
            if of == id && told == word {
                return;
            }
        }
        panic!("{word} of {id} is not told: {:?}", self.asker.jobs());
    }

    fn job(&self, id: JobId) -> Job {
        self.asker.jobs().into_iter().find(|job| job.id == id).expect("on the board")
    }

    fn state(&self, id: JobId) -> JobState {
        self.job(id).state
    }

    /// Whether a restarted node would go on with something.
    fn is_wanted(&self) -> bool {
        fs::read_dir(self.to.path().join(".nearpeer")).is_ok_and(|mut left| {
            left.any(|entry| {
                entry.is_ok_and(|entry| entry.path().extension().is_some_and(|end| end == "resume"))
            })
        })
    }

    fn end(self) {
        let reports = [self.asker.stop(), self.source.stop(), self.tracker.stop()];
        assert!(reports.iter().all(crate::rt::StopReport::is_clean), "{reports:?}");
    }
}

fn request() -> DownloadRequest {
    let name = FileName::new("a").expect("a name");
    DownloadRequest { name, checksum: None, verify_whole: false, force: false }
}

#[test]
fn a_download_that_nobody_waits_for_is_paused_goes_on_and_ends() {
    let scene = Scene::new();
    let id = scene.asker.start_download(request()).expect("there is room");
    scene.wait(id, "bytes");
    scene.asker.pause(id).expect("it runs");
    scene.wait(id, "paused");
    assert!(!scene.is_wanted(), "a restarted node is not to go on with it");
    assert_eq!(scene.asker.load_of(scene.asker.addr(), &Stop::new().expect("a descriptor")), Ok(0));
    scene.asker.resume(id).expect("it is paused");
    scene.wait(id, "done");
    let Some(Ok(done)) = scene.job(id).result else { panic!("it is done") };
    assert!(matches!(done.outcome, Outcome::Fetched { .. }), "{done:?}");
    let fetched = scene.asker.jobs()[0].progress.fetched_bytes;
    assert!(fetched < BYTES as u64, "{fetched}: what it had was fetched again");
    assert_eq!(
        fs::read(scene.to.path().join("a")).expect("there"),
        fs::read(scene.from.path().join("a")).expect("there")
    );
    assert_eq!(scene.asker.pause(id), Err(JobError::Ended(id)));
    scene.end();
}

#[test]
fn who_waits_for_a_download_waits_through_its_pauses_and_hears_of_its_end() {
    let scene = Scene::new();
    let never = Stop::new().expect("a descriptor");
    let id = JobId(1);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| scene.asker.download(&request(), &never, &mut |_| {}));
        scene.wait(id, "bytes");
        scene.asker.pause(id).expect("it runs");
        scene.wait(id, "paused");
        scene.asker.resume(id).expect("it is paused");
        scene.wait(id, "bytes");
        scene.asker.pause(id).expect("it runs");
        scene.wait(id, "paused");
        scene.asker.cancel(id).expect("it is paused");
        let result = waiting.join().expect("no panic");
        assert_eq!(result, Err(CommandError::Cancelled.into()));
    });
    assert_eq!((scene.state(id), scene.is_wanted()), (JobState::Cancelled, false));
    scene.end();
}

#[test]
fn a_cancel_is_kept_and_a_stop_is_gone_on_with() {
    let scene = Scene::new();
    let first = scene.asker.start_download(request()).expect("there is room");
    scene.wait(first, "bytes");
    scene.asker.cancel(first).expect("it runs");
    scene.wait(first, "cancelled");
    assert!(!scene.is_wanted());
    let second = scene.asker.start_download(request()).expect("there is room");
    scene.wait(second, "bytes");
    let Scene { asker, source, tracker, from, to, .. } = scene;
    assert!(asker.stop().is_clean());
    drop(asker);
    // Nobody has cancelled that: the node goes on by itself, and that is a job too.
    let asker = node(to.path(), &tracker, None, true);
    let news = watched(&asker);
    let scene = Scene { asker, news, source, tracker, from, to };
    let deadline = clock::now() + DEADLINE;
    while !scene.asker.jobs().iter().any(|job| job.state == JobState::Done) {
        assert!(scene.news.recv_deadline(deadline).is_ok(), "{:?}", scene.asker.jobs());
    }
    assert_eq!(scene.asker.jobs()[0].source, JobSource::Resumed);
    scene.end();
}
