//! The indexer thread, which owns the catalog of the node. Scans, hashes and finished downloads reach it as
//! events, and it alone writes the catalog.
//!
//! It never blocks: file work goes to the worker pool. One worker at a time hashes a name. A scan is done
//! when its walk has ended and every file that it found is hashed.

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

/// Tasks in the worker pool at a time; more would only wait there.
const IN_FLIGHT_MAX: usize = 4;
/// Interval at which a running scan publishes what it has found.
const PUBLISH_EVERY: Duration = Duration::from_millis(500);

/// State of a look at a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Looking {
    Queued,
    /// A worker looks at it.
    Running,
    /// A worker looks at it, and another look was requested since: the result may be stale.
    RunningStale,
}

#[derive(Debug, Default)]
struct Scan {
    walking: bool,
    /// Names that the walk has found and no worker has looked at yet.
    waiting: HashSet<FileName>,
    /// Names on the disk, each with the kind of the first folder that has it.
    seen: HashMap<FileName, FileOrigin>,
    summary: ScanSummary,
    failed: Option<String>,
    replies: Vec<Sender<Result<ScanSummary, String>>>,
}

#[derive(Debug, Default)]
struct State {
    scan: Option<Scan>,
    /// Replies to requests for another scan after the current one.
    next_scan: Vec<Sender<Result<ScanSummary, String>>>,
    tasks: VecDeque<Task>,
    in_flight: usize,
    /// Names with a look that is queued or running.
    looking: HashMap<FileName, Looking>,
    checks: HashMap<FileName, Vec<Sender<Option<Arc<SharedFile>>>>>,
    published_at: Option<Instant>,
}

/// The indexer, not yet running.
pub(crate) struct Indexer {
    parts: IndexerParts,
    state: State,
}

/// What an indexer needs.
pub(crate) struct IndexerParts {
    pub(crate) state: Arc<NodeState>,
    pub(crate) folders: Arc<ShareFolders>,
    pub(crate) publisher: Arc<dyn Publisher>,
    pub(crate) pool: Pool,
    pub(crate) feed: EventBroadcast,
    /// Workers send their results through the sender.
    pub(crate) events: (Sender<Event>, Receiver<Event>),
    /// Receives the result of the first scan; `None`: there is a scan only on request.
    pub(crate) first_scan: Option<Sender<ScanSummary>>,
    pub(crate) stop: Stop,
}

impl Indexer {
    pub(crate) fn new(parts: IndexerParts) -> Indexer {
        Indexer { parts, state: State::default() }
    }

    /// Begins the first scan, if there is one, then handles events until stopped.
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
                    Ok(event) => self.handle(event),
                    Err(_) => return,
                },
            }
        }
    }

    fn handle(&mut self, event: Event) {
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
                if self.state.looking.remove(&name) == Some(Looking::RunningStale) {
                    return self.look(name);
                }
                self.looked(&name, outcome);
                if let Some(scan) = &mut self.state.scan {
                    scan.waiting.remove(&name);
                }
                let now_shared = self.parts.state.catalog.read().get(&name).cloned();
                for reply in self.state.checks.remove(&name).unwrap_or_default() {
                    let _requester_may_have_gone = reply.send(now_shared.clone());
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
                let _requester_may_have_gone = reply.send(());
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
        let (folders, to_indexer, stop) = self.for_worker();
        let walking = self.parts.pool.try_run(move || {
            let mut skipped = |why| report(&to_indexer, &stop, Event::Skipped(why));
            folders.renew().into_iter().for_each(|error| skipped(error.to_string()));
            let result = folders.shared().into_iter().try_for_each(|(kind, folder)| {
                let mut found = |file| report(&to_indexer, &stop, Event::Found(kind, file));
                walk(&folder, &stop, &mut found, &mut skipped).map_err(|error| error.to_string())
            });
            report(&to_indexer, &stop, Event::WalkEnded(result));
        });
        if walking.is_err()
            && let Some(scan) = &mut self.state.scan
        {
            scan.walking = false;
            scan.failed = Some("too much is being hashed already".into());
        }
    }

    /// Adds a downloaded file. If a file of an earlier kind has the same name, that one stays published.
    fn placed(&mut self, file: SharedFile) {
        let (name, kind) = (file.entry.name.clone(), self.folder_kind(file.kind));
        let shared = self.parts.state.catalog.read().get(&name).map(|file| self.folder_kind(file.kind));
        self.parts.state.catalog.write().remove_partial(&file.entry.key());
        if shared.is_some_and(|first| first < kind) {
            self.warn_hidden(&name, kind);
            return self.look(name);
        }
        self.record_seen(&name, kind);
        if file.entry.md5_origin == Md5Origin::Claimed {
            self.state.tasks.push_back(Task::Md5 { name, kind: file.kind, stamp: file.stamp });
        }
        self.parts.state.catalog.write().insert(file);
    }

    /// Warns that a file is not published because a file of an earlier kind has the same name.
    fn warn_hidden(&mut self, name: &FileName, kind: FileOrigin) {
        let path = self.parts.folders.layout().path(kind, name);
        let path = Printable(&path);
        self.warn(format!("`{path}` is not shared: another file of yours is `{name}`"));
    }

    /// Records that the name is on the disk.
    fn record_seen(&mut self, name: &FileName, kind: FileOrigin) {
        if let Some(scan) = &mut self.state.scan {
            let first = scan.seen.entry(name.clone()).or_insert(kind);
            *first = kind.min(*first);
        }
    }

    /// The kind by which the indexer orders files: kinds that share a folder count as one.
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
            return self.warn_hidden(&found.name, kind);
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
            Some(looking) => *looking = Looking::RunningStale,
        }
    }

    fn feed_pool(&mut self) {
        while let Some(task) = self.next_task() {
            let (folders, to_indexer, stop) = self.for_worker();
            let run = move || report(&to_indexer, &stop, task.run(&folders, &stop));
            if self.parts.pool.try_run(run).is_err() {
                // Only a stopping pool refuses so few tasks.
                return;
            }
        }
    }

    /// The next task for a worker, unless [`IN_FLIGHT_MAX`] tasks run.
    fn next_task(&mut self) -> Option<Task> {
        if self.state.in_flight >= IN_FLIGHT_MAX {
            return None;
        }
        let task = self.state.tasks.pop_front()?;
        if let Task::Look { name, .. } = &task {
            self.state.looking.insert(name.clone(), Looking::Running);
        }
        self.state.in_flight += 1;
        Some(task)
    }

    fn shared(&self, name: &FileName) -> Option<Arc<SharedFile>> {
        self.parts.state.catalog.read().get(name).cloned()
    }

    fn looked(&mut self, name: &FileName, outcome: Look) {
        // The file exists, even if the walk has missed it.
        let known = self.shared(name).map(|file| self.folder_kind(file.kind));
        match (&outcome, known) {
            (Look::Hashed(kind, _), _) => self.record_seen(name, self.folder_kind(*kind)),
            (Look::Unchanged, Some(kind)) => self.record_seen(name, kind),
            (Look::Failed(error), Some(kind)) if error.is_shortage() => self.record_seen(name, kind),
            _ => {}
        }
        match outcome {
            Look::Unchanged => {}
            // A lack of descriptors says nothing about the file: it stays published.
            Look::Failed(error) if error.is_shortage() && known.is_some() => {
                self.warn(format!("`{name}` stays shared without a check: {error}"));
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

    /// The computed MD5 replaces the claimed one; a warning names each holder that claimed another one.
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

    /// Publishes the catalog; during a scan at most every [`PUBLISH_EVERY`].
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
            // The walk may be incomplete.
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
            self.warn(format!("the shared directory cannot be scanned: {}", Printable(why)));
        }
        for reply in scan.replies {
            let _requester_may_have_gone = reply.send(result.clone());
        }
        let waiting = std::mem::take(&mut self.state.next_scan);
        if !waiting.is_empty() {
            self.begin_scan(waiting);
        }
    }

    /// What the closure of a worker needs.
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

/// Sends an event to the indexer. It waits while the queue is full; a stop ends the wait.
fn report(to_indexer: &Sender<Event>, stop: &Stop, event: Event) {
    select! {
        send(to_indexer, event) -> _ => {}
        recv(stop.receiver()) -> _ => {}
    }
}

#[cfg(test)]
mod tests;
