//! The core thread: owns the node's catalog. Scans, hashes and finished downloads reach it as events; it
//! alone writes.
//!
//! It never blocks: file work goes to the worker pool, and news to others is dropped rather than waited for.
//! A name is hashed by one worker at a time; a scan is done when its walk has ended and nothing is left to
//! hash.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, select};

use super::catalog::SharedFile;
use super::event::{Event, Look};
use super::task::Task;
use crate::discovery::Publisher;
use crate::node::report::ScanSummary;
use crate::node::state::NodeState;
use crate::proto::event;
use crate::rt::{EventBroadcast, Pool, Stop, clock};
use crate::store::ShareFolders;
use crate::store::scan::{FoundFile, walk};
use crate::store::share::FileStamp;
use crate::types::{FileEntry, FileName, FileOrigin, Md5Digest, Md5Origin, Printable, limits};

/// Files given to the worker pool at a time; more would only wait there.
const IN_FLIGHT_MAX: usize = 4;
/// While a scan goes on, what it has found is published this often.
const PUBLISH_EVERY: Duration = Duration::from_millis(500);

/// How far a look at a name has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Looking {
    Queued,
    InHand,
    /// In a worker's actions, and asked for once more since: what it will tell may be stale.
    InHandAgain,
}

#[derive(Debug, Default)]
struct Scan {
    walking: bool,
    /// Names that it has come across and that are not looked at yet.
    waiting: HashSet<FileName>,
    /// With the kind of the folder that comes first of those that have it.
    seen: HashMap<FileName, FileOrigin>,
    summary: ScanSummary,
    failed: Option<String>,
    replies: Vec<Sender<Result<ScanSummary, String>>>,
}

#[derive(Debug, Default)]
struct State {
    scan: Option<Scan>,
    /// Who wants another scan after the current one.
    next_scan: Vec<Sender<Result<ScanSummary, String>>>,
    tasks: VecDeque<Task>,
    in_flight: usize,
    /// Names that are to be looked at or are being looked at.
    looking: HashMap<FileName, Looking>,
    checks: HashMap<FileName, Vec<Sender<Option<Arc<SharedFile>>>>>,
    published_at: Option<Instant>,
}

/// The core, not yet running.
pub(crate) struct Indexer {
    parts: IndexerParts,
    state: State,
}

/// What a core works with.
pub(crate) struct IndexerParts {
    pub(crate) state: Arc<NodeState>,
    pub(crate) folders: Arc<ShareFolders>,
    pub(crate) publisher: Arc<dyn Publisher>,
    pub(crate) pool: Pool,
    pub(crate) feed: EventBroadcast,
    /// The sender is for workers to answer through.
    pub(crate) events: (Sender<Event>, Receiver<Event>),
    /// Told once, when the first scan is published; `None`: there is no scan unless it is asked for.
    pub(crate) first_scan: Option<Sender<ScanSummary>>,
    pub(crate) stop: Stop,
}

impl Indexer {
    pub(crate) fn new(parts: IndexerParts) -> Indexer {
        Indexer { parts, state: State::default() }
    }

    /// Scans once if it is to, then serves events until stopped.
    pub(crate) fn run(mut self) {
        if self.parts.first_scan.is_some() {
            self.begin_scan(Vec::new());
        }
        loop {
            self.feed_pool();
            self.end_scan_if_done();
            select! {
                recv(self.parts.stop.receiver()) -> _ => return,
                recv(self.parts.events.1) -> event => match event {
                    Ok(event) => self.take(event),
                    Err(_) => return,
                },
            }
        }
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Rescan(reply) => match self.state.scan {
                Some(_) => self.state.next_scan.push(reply),
                None => self.begin_scan(vec![reply]),
            },
            Event::Found(kind, found) => self.found(kind, found),
            Event::Skipped(why) => self.warn(why),
            Event::WalkEnded(result) => {
                if let Some(scan) = &mut self.state.scan {
                    scan.walking = false;
                    scan.failed = scan.failed.take().or(result.err());
                }
            }
            Event::Check { name, reply } => {
                self.state.checks.entry(name.clone()).or_default().push(reply);
                self.look(name);
            }
            Event::LookAgain { name } => self.look(name),
            Event::Looked { name, outcome } => {
                self.state.in_flight -= 1;
                if self.state.looking.remove(&name) == Some(Looking::InHandAgain) {
                    return self.look(name);
                }
                self.looked(&name, outcome);
                if let Some(scan) = &mut self.state.scan {
                    scan.waiting.remove(&name);
                }
                let now_shared = self.parts.state.catalog.read().get(&name).cloned();
                for reply in self.state.checks.remove(&name).unwrap_or_default() {
                    let _asker_may_have_gone = reply.send(now_shared.clone());
                }
            }
            Event::Partial(entry) => {
                if self.parts.state.catalog.write().set_partial(entry) {
                    self.parts.publisher.publish();
                }
            }
            Event::PartialEnded(content) => {
                if self.parts.state.catalog.write().remove_partial(&content) {
                    self.parts.publisher.publish();
                }
            }
            Event::Placed { file, reply } => {
                self.placed(file);
                let _asker_may_have_gone = reply.send(());
                self.parts.publisher.publish();
            }
            Event::Md5 { name, stamp, md5 } => {
                self.state.in_flight -= 1;
                self.md5_computed(&name, &stamp, md5);
            }
        }
    }

    fn begin_scan(&mut self, replies: Vec<Sender<Result<ScanSummary, String>>>) {
        self.state.scan = Some(Scan { walking: true, replies, ..Scan::default() });
        let (folders, to_core, stop) = self.for_worker();
        let walking = self.parts.pool.try_run(move || {
            let mut skipped = |why| report(&to_core, &stop, Event::Skipped(why));
            folders.renew().into_iter().for_each(|error| skipped(error.to_string()));
            let result = folders.shared().into_iter().try_for_each(|(kind, folder)| {
                let mut found = |file| report(&to_core, &stop, Event::Found(kind, file));
                walk(&folder, &stop, &mut found, &mut skipped).map_err(|error| error.to_string())
            });
            report(&to_core, &stop, Event::WalkEnded(result));
        });
        if walking.is_err()
            && let Some(scan) = &mut self.state.scan
        {
            scan.walking = false;
            scan.failed = Some("too much is being hashed already".into());
        }
    }

    /// A download is in place. Where a file that comes before it has its name, that one stays published.
    fn placed(&mut self, file: SharedFile) {
        let (name, kind) = (file.entry.name.clone(), self.folder_kind(file.kind));
        let shared = self.parts.state.catalog.read().get(&name).map(|file| self.folder_kind(file.kind));
        self.parts.state.catalog.write().remove_partial(&file.entry.key());
        if shared.is_some_and(|first| first < kind) {
            self.hidden(&name, kind);
            return self.look(name);
        }
        self.seen(&name, kind);
        if file.entry.md5_origin == Md5Origin::Claimed {
            self.state.tasks.push_back(Task::Md5 { name, kind: file.kind, stamp: file.stamp });
        }
        self.parts.state.catalog.write().insert(file);
    }

    /// Says that a file is not published because one of a kind that comes before it has its name.
    fn hidden(&mut self, name: &FileName, kind: FileOrigin) {
        let path = self.parts.folders.layout().path(kind, name);
        let path = Printable(&path);
        self.warn(format!("`{path}` is not shared: another file of yours is `{name}`"));
    }

    /// A scan need not look for it any more.
    fn seen(&mut self, name: &FileName, kind: FileOrigin) {
        if let Some(scan) = &mut self.state.scan {
            let first = scan.seen.entry(name.clone()).or_insert(kind);
            *first = kind.min(*first);
        }
    }

    /// Kinds whose files stand in one folder are one here.
    fn folder_kind(&self, kind: FileOrigin) -> FileOrigin {
        self.parts.folders.layout().unmarked(kind)
    }

    fn found(&mut self, kind: FileOrigin, found: FoundFile) {
        let Some(scan) = &mut self.state.scan else { return };
        if scan.seen.len() >= limits::FILES_PER_NODE_MAX {
            if scan.failed.is_none() {
                scan.failed = Some(format!("more than {} files", limits::FILES_PER_NODE_MAX));
            }
            return;
        }
        if scan.seen.get(&found.name).is_some_and(|first| *first < kind) {
            return self.hidden(&found.name, kind);
        }
        scan.seen.insert(found.name.clone(), kind);
        let layout = self.parts.folders.layout();
        let is_known = {
            let catalog = self.parts.state.catalog.read();
            catalog.get(&found.name).is_some_and(|file| {
                (layout.unmarked(file.kind), file.stamp) == (kind, found.stamp) && !file.racy
            })
        };
        if !is_known {
            scan.waiting.insert(found.name.clone());
            self.look_from(found.name, None);
        }
    }

    fn look(&mut self, name: FileName) {
        let known = {
            let catalog = self.parts.state.catalog.read();
            catalog.get(&name).filter(|file| !file.racy).map(|file| (file.kind, file.stamp))
        };
        self.look_from(name, known);
    }

    fn look_from(&mut self, name: FileName, known: Option<(FileOrigin, FileStamp)>) {
        match self.state.looking.get_mut(&name) {
            None => {
                self.state.looking.insert(name.clone(), Looking::Queued);
                self.state.tasks.push_back(Task::Look { name, known });
            }
            Some(Looking::Queued) => {}
            Some(looking) => *looking = Looking::InHandAgain,
        }
    }

    fn feed_pool(&mut self) {
        while let Some(task) = self.next_task() {
            let (folders, to_core, stop) = self.for_worker();
            let job = move || report(&to_core, &stop, task.run(&folders, &stop));
            if self.parts.pool.try_run(job).is_err() {
                // Only a stopping pool refuses so few jobs.
                return;
            }
        }
    }

    /// The next task for a worker, unless enough are in their actions.
    fn next_task(&mut self) -> Option<Task> {
        if self.state.in_flight >= IN_FLIGHT_MAX {
            return None;
        }
        let task = self.state.tasks.pop_front()?;
        if let Task::Look { name, .. } = &task {
            self.state.looking.insert(name.clone(), Looking::InHand);
        }
        self.state.in_flight += 1;
        Some(task)
    }

    fn shared(&self, name: &FileName) -> Option<Arc<SharedFile>> {
        self.parts.state.catalog.read().get(name).cloned()
    }

    fn looked(&mut self, name: &FileName, outcome: Look) {
        // It is there, even if it came to be behind the back of the walk.
        let known = self.shared(name).map(|file| self.folder_kind(file.kind));
        match (&outcome, known) {
            (Look::Hashed(kind, _), _) => self.seen(name, self.folder_kind(*kind)),
            (Look::AsKnown, Some(kind)) => self.seen(name, kind),
            (Look::Failed(error), Some(kind)) if error.is_shortage() => self.seen(name, kind),
            _ => {}
        }
        match outcome {
            Look::AsKnown => {}
            // A file that was whole when it was last looked at is not given up for a lack of descriptors.
            Look::Failed(error) if error.is_shortage() && known.is_some() => {
                self.warn(format!("`{name}` stays shared unseen: {error}"));
            }
            Look::Hashed(kind, hashed) => {
                let key = hashed.manifest.key();
                let file = SharedFile::hashed(name, kind, hashed);
                let replaced = self.parts.state.catalog.write().insert(file);
                if let Some(scan) = &mut self.state.scan {
                    match replaced {
                        None => scan.summary.added += 1,
                        Some(old) if old.entry.key() != key => scan.summary.changed += 1,
                        Some(_) => {}
                    }
                }
                self.publish();
            }
            Look::Failed(error) => {
                let was_shared = self.parts.state.catalog.write().remove(name);
                if was_shared && let Some(scan) = &mut self.state.scan {
                    scan.summary.removed += 1;
                }
                if was_shared {
                    self.publish();
                }
                if !error.is_absence() && !self.parts.stop.is_triggered() {
                    self.warn(format!("`{name}` is not shared: {error}"));
                }
            }
        }
    }

    /// The true MD5 replaces the claim; whoever claimed another one is named.
    fn md5_computed(&mut self, name: &FileName, stamp: &FileStamp, md5: Md5Digest) {
        let shared = self.parts.state.catalog.read().get(name).cloned();
        let Some(file) =
            shared.filter(|file| file.stamp == *stamp && file.entry.md5_origin == Md5Origin::Claimed)
        else {
            return;
        };
        for (endpoint, claimed) in file.claimants.iter().filter(|(_, claimed)| *claimed != md5) {
            let text = format!("`{name}` has md5 {md5}; {endpoint} falsely claims {claimed}");
            self.warn(text);
        }
        let entry = FileEntry { md5, md5_origin: Md5Origin::Computed, ..FileEntry::clone(&file.entry) };
        self.parts.state.catalog.write().insert(SharedFile {
            entry: Arc::new(entry),
            kind: file.kind,
            manifest: Arc::clone(&file.manifest),
            stamp: file.stamp,
            racy: file.racy,
            claimants: Vec::new(),
        });
        self.parts.publisher.publish();
    }

    /// Publishes; during a scan, whose end publishes too, only now and then.
    fn publish(&mut self) {
        let now = clock::now();
        if self.state.scan.is_none()
            || self.state.published_at.is_none_or(|at| now.saturating_duration_since(at) >= PUBLISH_EVERY)
        {
            self.state.published_at = Some(now);
            self.parts.publisher.publish();
        }
    }

    fn end_scan_if_done(&mut self) {
        if self.parts.stop.is_triggered() {
            // A walk that was cut short is no scan.
            return;
        }
        let Some(mut scan) = self.state.scan.take_if(|scan| !scan.walking && scan.waiting.is_empty()) else {
            return;
        };
        if scan.failed.is_none() {
            let mut catalog = self.parts.state.catalog.write();
            let gone: Vec<_> =
                catalog.names().filter(|name| !scan.seen.contains_key(*name)).cloned().collect();
            scan.summary.removed += gone.len();
            for name in &gone {
                catalog.remove(name);
            }
        }
        scan.summary.files = self.parts.state.catalog.read().len();
        self.parts.publisher.publish();
        let result = scan.failed.map_or(Ok(scan.summary), Err);
        if let Some(first_scan) = self.parts.first_scan.take() {
            if result.is_ok() {
                self.inform(format!("ready: {} files", scan.summary.files));
            }
            self.parts.state.is_scanned.store(true, Ordering::Relaxed);
            let _node_may_have_gone = first_scan.send(scan.summary);
        }
        if let (Err(why), true) = (&result, scan.replies.is_empty()) {
            self.warn(format!("the share cannot be scanned: {}", Printable(why)));
        }
        for reply in scan.replies {
            let _asker_may_have_gone = reply.send(result.clone());
        }
        let waiting = std::mem::take(&mut self.state.next_scan);
        if !waiting.is_empty() {
            self.begin_scan(waiting);
        }
    }

    /// What a job takes along.
    fn for_worker(&self) -> (Arc<ShareFolders>, Sender<Event>, Stop) {
        (Arc::clone(&self.parts.folders), self.parts.events.0.clone(), self.parts.stop.clone())
    }

    fn warn(&self, text: String) {
        self.parts.feed.publish_event(event::Event::warning(text));
    }

    fn inform(&self, text: String) {
        self.parts.feed.publish_event(event::Event::info(text));
    }
}

/// Tells the core, waiting while its queue is full; a stop ends the wait.
fn report(to_core: &Sender<Event>, stop: &Stop, event: Event) {
    select! {
        send(to_core, event) -> _ => {}
        recv(stop.receiver()) -> _ => {}
    }
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;
    use crate::rt::Threads;
    use crate::store::{HashError, RealDisk};
    use crate::types::{Layout, NodeId, NodeTraits};
    use crossbeam_channel::bounded;

    #[derive(Debug)]
    struct Nobody;

    impl Publisher for Nobody {
        fn publish(&self) {}
    }

    /// A core on a share with one file called `a`. Its pool has no thread: the test does the work.
    fn core() -> (Indexer, tempfile::TempDir) {
        core_with(Layout::Flat)
    }

    fn core_with(layout: Layout) -> (Indexer, tempfile::TempDir) {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join("a"), b"a").expect("written");
        let stop = Stop::new().expect("a descriptor");
        let folders = ShareFolders::open(dir.path(), layout, None, Arc::new(RealDisk)).expect("a share");
        let parts = IndexerParts {
            state: Arc::new(NodeState::new(NodeId(1), NodeTraits::default())),
            folders: Arc::new(folders),
            publisher: Arc::new(Nobody),
            pool: Pool::start("none", 0, 10, &Threads::new(), &stop).expect("no thread"),
            feed: EventBroadcast::default(),
            events: bounded(10),
            first_scan: Some(bounded(1).0),
            stop,
        };
        (Indexer::new(parts), dir)
    }

    #[test]
    fn a_file_that_the_walk_has_missed_and_somebody_looked_at_stays() {
        let (mut core, _dir) = core();
        let name = FileName::new("a").expect("a name");
        core.state.scan = Some(Scan { walking: true, ..Scan::default() });
        core.look(name.clone());
        looked_at(&mut core);
        core.take(Event::WalkEnded(Ok(())));
        core.end_scan_if_done();
        assert!(core.state.scan.is_none(), "the scan is done");
        assert!(core.parts.state.catalog.read().get(&name).is_some(), "it is there and was looked at");
    }

    #[test]
    fn a_shared_file_is_not_given_up_for_lack_of_descriptors() {
        let (mut core, _dir) = core();
        let name = FileName::new("a").expect("a name");
        core.look(name.clone());
        looked_at(&mut core);
        for (errno, stays) in
            [(Errno::MFILE, true), (Errno::NFILE, true), (Errno::NOMEM, true), (Errno::IO, false)]
        {
            core.look(name.clone());
            in_hand(&mut core);
            let outcome = Look::Failed(HashError::Io(errno.into()));
            core.take(Event::Looked { name: name.clone(), outcome });
            assert_eq!(core.shared(&name).is_some(), stays, "{errno}");
        }
    }

    #[test]
    fn what_changes_while_it_is_looked_at_is_looked_at_again() {
        let (mut core, dir) = core();
        let name = FileName::new("a").expect("a name");
        let (reply, answer) = bounded(1);
        core.look(name.clone());
        let stale = in_hand(&mut core).run(&core.parts.folders, &core.parts.stop);
        std::fs::write(dir.path().join("a"), b"changed").expect("written");
        core.take(Event::Check { name: name.clone(), reply });
        core.take(stale);
        assert!(answer.try_recv().is_err(), "what was found before the question is no answer");
        looked_at(&mut core);
        let answered = answer.try_recv().expect("answered").expect("shared");
        assert_eq!(answered.entry.size_bytes, 7);
    }

    /// The kind and size of what is published as `a`.
    fn published(core: &Indexer) -> Option<(FileOrigin, u64)> {
        let name = FileName::new("a").expect("a name");
        core.shared(&name).map(|file| (file.kind, file.entry.size_bytes))
    }

    /// A whole scan, its walk and its hashing done here; what was said.
    fn scanned(core: &mut Indexer) -> Vec<String> {
        let mut said = core.parts.feed.subscribe();
        core.state.scan = Some(Scan { walking: true, ..Scan::default() });
        for (kind, folder) in core.parts.folders.shared() {
            let stop = core.parts.stop.clone();
            walk(&folder, &stop, &mut |file| core.take(Event::Found(kind, file)), &mut |_| ())
                .expect("walked");
        }
        core.take(Event::WalkEnded(Ok(())));
        while !core.state.tasks.is_empty() {
            looked_at(core);
        }
        core.end_scan_if_done();
        assert!(core.state.scan.is_none(), "the scan is done");
        let text = |record: &event::Record| match &record.event {
            event::Event::Notice { text, .. } => Some(text.clone()).filter(|text| !text.starts_with("ready")),
            _ => None,
        };
        said.catch_up().items.iter().filter_map(|(_, record)| text(record)).collect()
    }

    #[test]
    fn a_name_is_published_for_the_file_that_comes_first_and_the_other_is_told_of() {
        let (mut core, dir) = core_with(Layout::Split);
        let path = |kind: FileOrigin| dir.path().join(Layout::Split.folder(kind)).join("a");
        for (kind, bytes) in
            [(FileOrigin::Local, "1"), (FileOrigin::Downloaded, "22"), (FileOrigin::Replicated, "333")]
        {
            std::fs::write(path(kind), bytes).expect("written");
        }
        let hidden = |kind: &str| format!("`{kind}/a` is not shared: another file of yours is `a`");
        assert_eq!(scanned(&mut core), [hidden("downloaded"), hidden("replicated")]);
        assert_eq!(published(&core), Some((FileOrigin::Local, 1)));
        std::fs::remove_file(path(FileOrigin::Local)).expect("removed");
        assert_eq!(scanned(&mut core), [hidden("replicated")]);
        assert_eq!(published(&core), Some((FileOrigin::Downloaded, 2)));
        std::fs::rename(path(FileOrigin::Downloaded), path(FileOrigin::Local)).expect("renamed");
        assert_eq!(scanned(&mut core), [hidden("replicated")]);
        assert_eq!(published(&core), Some((FileOrigin::Local, 2)));
        std::fs::remove_file(path(FileOrigin::Local)).expect("removed");
        assert_eq!((scanned(&mut core), published(&core)), (vec![], Some((FileOrigin::Replicated, 3))));
        std::fs::remove_file(path(FileOrigin::Replicated)).expect("removed");
        assert_eq!((scanned(&mut core), published(&core)), (vec![], None));
    }

    #[test]
    fn what_is_placed_behind_a_file_of_its_name_does_not_replace_it() {
        let (mut core, dir) = core_with(Layout::Split);
        let path = |kind: FileOrigin| dir.path().join(Layout::Split.folder(kind)).join("a");
        std::fs::write(path(FileOrigin::Local), "1").expect("written");
        scanned(&mut core);
        let place = |core: &mut Indexer, kind: FileOrigin| {
            let name = FileName::new("a").expect("a name");
            std::fs::write(path(kind), "22").expect("written");
            let folder = core.parts.folders.of(kind).expect("a folder");
            let hashed = crate::store::hash_file(&folder, &name, &core.parts.stop).expect("hashed");
            let (reply, done) = bounded(1);
            core.take(Event::Placed { file: SharedFile::hashed(&name, kind, hashed), reply });
            assert_eq!(done.try_recv(), Ok(()));
        };
        place(&mut core, FileOrigin::Replicated);
        assert_eq!(published(&core), Some((FileOrigin::Local, 1)));
        // What stood there may have gone behind our back.
        std::fs::remove_file(path(FileOrigin::Local)).expect("removed");
        looked_at(&mut core);
        assert_eq!(published(&core), Some((FileOrigin::Replicated, 2)));
        place(&mut core, FileOrigin::Downloaded);
        assert_eq!(published(&core), Some((FileOrigin::Downloaded, 2)));
    }

    /// Does the one task that waits, as a worker would.
    fn looked_at(core: &mut Indexer) {
        let event = in_hand(core).run(&core.parts.folders, &core.parts.stop);
        core.take(event);
    }

    fn in_hand(core: &mut Indexer) -> Task {
        core.next_task().expect("a task waits")
    }
}
