//! The thread `indexer`, the only one that writes the catalog. What the walk of a scan finds, what workers
//! hash and what downloads place reach it as events.
//!
//! It uses no file: workers of the pool do that. They *look* at a name: one worker at a time hashes the file
//! there, or finds it unchanged. A scan is done when its walk has ended and a worker has looked at every file
//! that is new or has changed.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, at, never, select};

use super::catalog::SharedFile;
use super::event::{Event, LookOutcome};
use super::retries::{Retries, Retry};
use super::task::Task;
use crate::discovery::Publisher;
use crate::node::report::ScanSummary;
use crate::node::state::NodeState;
use crate::proto::event;
use crate::rt::{EventBroadcast, Pool, Stop, clock};
use crate::store::ShareFolders;
use crate::store::hash::HashError;
use crate::store::scan::{FoundFile, SkippedEntry, Unread, walk};
use crate::store::share::FileStamp;
use crate::types::{FileEntry, FileName, FileOrigin, Md5Digest, Md5Origin, Printable, limits};

/// Tasks in the worker pool at a time; more would only wait there.
const IN_FLIGHT_MAX: usize = 4;
/// Shortest time between two publications while a scan runs.
const PUBLISH_EVERY: Duration = Duration::from_millis(500);

/// State of a look at a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LookState {
    Queued,
    /// A worker looks at it.
    Running,
    /// A worker looks at it. A second look was requested meanwhile, as the result of the first may be stale.
    RunningStale,
}

#[derive(Debug, Default)]
struct Scan {
    is_walking: bool,
    /// Names that the walk has found and no worker has looked at yet.
    waiting: HashSet<FileName>,
    /// Names on the disk, each with the origin of the first folder that has it. Other names are removed from
    /// the catalog at the end.
    seen: HashMap<FileName, FileOrigin>,
    summary: ScanSummary,
    /// Why the scan is incomplete; `None` so far.
    failure: Option<String>,
    replies: Vec<Sender<Result<ScanSummary, String>>>,
}

#[derive(Debug, Default)]
struct State {
    scan: Option<Scan>,
    /// Replies to requests for another scan after the current one.
    next_scan: Vec<Sender<Result<ScanSummary, String>>>,
    /// Tasks that wait for the pool.
    tasks: VecDeque<Task>,
    /// Number of tasks in the pool.
    in_flight: usize,
    /// Names with a look that is queued or running.
    looks: HashMap<FileName, LookState>,
    /// Requests that the end of a look answers.
    checks: HashMap<FileName, Vec<Sender<Option<Arc<SharedFile>>>>>,
    published_at: Option<Instant>,
    retries: Retries,
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
    pub(crate) broadcast: EventBroadcast,
    /// The queue of the indexer. Workers send their results through clones of the sender.
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
            let retry = self.state.retries.next_at().map_or_else(never, at);
            select! {
                recv(self.parts.stop.receiver()) -> _ => return,
                recv(retry) -> now => {
                    let due = now.map(|now| self.state.retries.take_due(now)).unwrap_or_default();
                    due.into_iter().for_each(|name| self.look(name));
                }
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
            Event::Found(origin, file) => self.apply_found(origin, file),
            Event::Skipped(origin, skipped) => self.apply_skipped(origin, skipped),
            Event::FolderSkipped(why) => self.warn(why),
            Event::WalkEnded(result) => {
                if let Some(scan) = &mut self.state.scan {
                    scan.is_walking = false;
                    scan.failure = scan.failure.take().or(result.err());
                }
            }
            Event::Check { name, reply } => {
                self.state.checks.entry(name.clone()).or_default().push(reply);
                self.look(name);
            }
            Event::LookAgain { name } => self.look(name),
            Event::Looked { name, outcome } => {
                self.state.in_flight -= 1;
                if self.state.looks.remove(&name) == Some(LookState::RunningStale) {
                    return self.look(name);
                }
                self.apply_look(&name, outcome);
                if let Some(scan) = &mut self.state.scan {
                    scan.waiting.remove(&name);
                }
                let file = self.shared_file(&name);
                for reply in self.state.checks.remove(&name).unwrap_or_default() {
                    // An error: the requester waits no longer.
                    reply.send(file.clone()).ok();
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
                self.add_placed(file);
                // An error: the requester waits no longer.
                reply.send(()).ok();
                self.parts.publisher.publish();
            }
            Event::Md5 { name, stamp, md5 } => {
                self.state.in_flight -= 1;
                self.apply_md5(&name, &stamp, md5);
            }
        }
    }

    fn begin_scan(&mut self, replies: Vec<Sender<Result<ScanSummary, String>>>) {
        self.state.scan = Some(Scan { is_walking: true, replies, ..Scan::default() });
        let (folders, to_indexer, stop) = self.for_worker();
        let queued = self.parts.pool.try_run(move || {
            for error in folders.renew() {
                send(&to_indexer, &stop, Event::FolderSkipped(error.to_string()));
            }
            let result = folders.shared().into_iter().try_for_each(|(origin, folder)| {
                let mut found = |file| send(&to_indexer, &stop, Event::Found(origin, file));
                let mut skip = |skipped| send(&to_indexer, &stop, Event::Skipped(origin, skipped));
                walk(&folder, &stop, &mut found, &mut skip).map_err(|error| error.to_string())
            });
            send(&to_indexer, &stop, Event::WalkEnded(result));
        });
        if queued.is_err()
            && let Some(scan) = &mut self.state.scan
        {
            scan.is_walking = false;
            scan.failure = Some("too much is being hashed already".into());
        }
    }

    /// Adds a file that a download has placed. If a file of an earlier origin has the same name, the earlier
    /// one stays published.
    fn add_placed(&mut self, file: SharedFile) {
        let (name, origin) = (file.entry.name.clone(), self.folder_origin(file.origin));
        let published = self.shared_file(&name).map(|file| self.folder_origin(file.origin));
        self.parts.state.catalog.write().remove_partial(&file.entry.key());
        if published.is_some_and(|published| published < origin) {
            self.warn_hidden(&name, origin);
            // The user may have removed the published file: a look shows it.
            return self.look(name);
        }
        self.record_seen(&name, origin);
        if file.entry.md5_origin == Md5Origin::Claimed {
            self.state.tasks.push_back(Task::Md5 { name, origin: file.origin, stamp: file.stamp });
        }
        self.parts.state.catalog.write().insert(file);
    }

    /// Warns that a file is not published because a file of an earlier origin has the same name.
    fn warn_hidden(&mut self, name: &FileName, origin: FileOrigin) {
        let path = self.parts.folders.layout().path(origin, name);
        let path = Printable(&path);
        self.warn(format!("`{path}` is not shared: another file of yours is `{name}`"));
    }

    /// Records that the name is on the disk.
    fn record_seen(&mut self, name: &FileName, origin: FileOrigin) {
        if let Some(scan) = &mut self.state.scan {
            let first = scan.seen.entry(name.clone()).or_insert(origin);
            *first = origin.min(*first);
        }
    }

    /// The origin by which the indexer orders files: origins that share a folder count as one.
    fn folder_origin(&self, origin: FileOrigin) -> FileOrigin {
        self.parts.folders.layout().unmarked(origin)
    }

    fn apply_found(&mut self, origin: FileOrigin, found: FoundFile) {
        let Some(scan) = &mut self.state.scan else { return };
        if scan.seen.len() >= limits::FILES_PER_NODE_MAX {
            if scan.failure.is_none() {
                scan.failure = Some(format!("more than {} files", limits::FILES_PER_NODE_MAX));
            }
            return;
        }
        if scan.seen.get(&found.name).is_some_and(|first| *first < origin) {
            return self.warn_hidden(&found.name, origin);
        }
        scan.seen.insert(found.name.clone(), origin);
        let layout = self.parts.folders.layout();
        let is_known = {
            let catalog = self.parts.state.catalog.read();
            catalog.get(&found.name).is_some_and(|file| {
                (layout.unmarked(file.origin), file.stamp) == (origin, found.stamp) && !file.racy
            })
        };
        if !is_known {
            scan.waiting.insert(found.name.clone());
            self.look_from(found.name, None);
        }
    }

    /// Keeps what is published of an entry that the walk could not read, and looks at a file again.
    fn apply_skipped(&mut self, origin: FileOrigin, skipped: SkippedEntry) {
        match skipped.unread {
            // The look warns if it fails too.
            Some(Unread::File(name)) => {
                self.record_seen(&name, origin);
                return self.look(name);
            }
            Some(Unread::Dir(dir)) => {
                let published = self.parts.state.catalog.read().names_below(&dir);
                published.into_iter().for_each(|name| self.record_seen(&name, origin));
            }
            None => {}
        }
        self.warn(skipped.why);
    }

    /// Requests a look, which hashes the file unless it is unchanged.
    fn look(&mut self, name: FileName) {
        // An equal stamp of a racy file proves nothing, so a racy file is always hashed.
        let known = {
            let catalog = self.parts.state.catalog.read();
            catalog.get(&name).filter(|file| !file.racy).map(|file| (file.origin, file.stamp))
        };
        self.look_from(name, known);
    }

    /// Requests a look, which hashes the file unless it is as `known`.
    fn look_from(&mut self, name: FileName, known: Option<(FileOrigin, FileStamp)>) {
        match self.state.looks.get_mut(&name) {
            None => {
                self.state.looks.insert(name.clone(), LookState::Queued);
                self.state.tasks.push_back(Task::Look { name, known });
            }
            // The queued look is still to come, so it sees the present state.
            Some(LookState::Queued) => {}
            Some(state) => *state = LookState::RunningStale,
        }
    }

    fn feed_pool(&mut self) {
        while let Some(task) = self.next_task() {
            let (folders, to_indexer, stop) = self.for_worker();
            let run = move || send(&to_indexer, &stop, task.run(&folders, &stop));
            if self.parts.pool.try_run(run).is_err() {
                // The queue of the pool is longer than `IN_FLIGHT_MAX`: only a stopping pool refuses.
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
            self.state.looks.insert(name.clone(), LookState::Running);
        }
        self.state.in_flight += 1;
        Some(task)
    }

    fn shared_file(&self, name: &FileName) -> Option<Arc<SharedFile>> {
        self.parts.state.catalog.read().get(name).cloned()
    }

    /// Changes the catalog as a worker has seen the file.
    fn apply_look(&mut self, name: &FileName, outcome: LookOutcome) {
        // Such a file exists even if the walk has missed it: the end of the scan must not remove it.
        let known = self.shared_file(name).map(|file| self.folder_origin(file.origin));
        match (&outcome, known) {
            (LookOutcome::Hashed(origin, _), _) => self.record_seen(name, self.folder_origin(*origin)),
            (LookOutcome::Unchanged, Some(origin)) => self.record_seen(name, origin),
            (LookOutcome::Failed(error), Some(origin)) if error.is_shortage() => {
                self.record_seen(name, origin)
            }
            _ => {}
        }
        match outcome {
            LookOutcome::Unchanged => self.state.retries.forget(name),
            // A lack of descriptors says nothing about the file: it stays published.
            LookOutcome::Failed(error) if error.is_shortage() && known.is_some() => {
                self.warn(format!("`{name}` stays shared without a check: {error}"));
            }
            LookOutcome::Hashed(origin, hashed) => {
                let key = hashed.manifest.key();
                let file = SharedFile::hashed(name, origin, hashed);
                let replaced = self.parts.state.catalog.write().insert(file);
                if let Some(scan) = &mut self.state.scan {
                    match replaced {
                        None => scan.summary.added += 1,
                        Some(old) if old.entry.key() != key => scan.summary.changed += 1,
                        Some(_) => {}
                    }
                }
                self.publish();
                self.state.retries.forget(name);
            }
            LookOutcome::Failed(error) => {
                let was_shared = self.parts.state.catalog.write().remove(name);
                if was_shared && let Some(scan) = &mut self.state.scan {
                    scan.summary.removed += 1;
                }
                if was_shared {
                    self.publish();
                }
                self.after_failed_look(name, &error);
            }
        }
    }

    /// Warns of a file that is not shared. If the reason can pass, the indexer looks at the file again.
    fn after_failed_look(&mut self, name: &FileName, error: &HashError) {
        if self.parts.stop.is_triggered() {
            return;
        }
        if error.can_pass() {
            let when = match self.state.retries.schedule(name, clock::now()) {
                Retry::First => "yet",
                Retry::Again => return,
                Retry::Refused => "before the next scan",
            };
            return self.warn(format!("`{name}` is not shared {when}: {error}"));
        }
        self.state.retries.forget(name);
        if !error.is_absence() {
            self.warn(format!("`{name}` is not shared: {error}"));
        }
    }

    /// Replaces a claimed MD5 by the computed one; a warning names each holder that claimed another one.
    fn apply_md5(&mut self, name: &FileName, stamp: &FileStamp, md5: Md5Digest) {
        let Some(file) = self
            .shared_file(name)
            .filter(|file| file.stamp == *stamp && file.entry.md5_origin == Md5Origin::Claimed)
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
            origin: file.origin,
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
        let Some(mut scan) = self.state.scan.take_if(|scan| !scan.is_walking && scan.waiting.is_empty())
        else {
            return;
        };
        // An incomplete scan says nothing about the names that it has not seen.
        if scan.failure.is_none() {
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
        let result = scan.failure.map_or(Ok(scan.summary), Err);
        if let Some(first_scan) = self.parts.first_scan.take() {
            if result.is_ok() {
                self.inform(format!("ready: {} files", scan.summary.files));
            }
            self.parts.state.is_scanned.store(true, Ordering::Relaxed);
            // An error: the node is being dropped.
            first_scan.send(scan.summary).ok();
        }
        if let (Err(why), true) = (&result, scan.replies.is_empty()) {
            self.warn(format!("the shared directory cannot be scanned: {}", Printable(why)));
        }
        for reply in scan.replies {
            // An error: the requester waits no longer.
            reply.send(result.clone()).ok();
        }
        let replies = std::mem::take(&mut self.state.next_scan);
        if !replies.is_empty() {
            self.begin_scan(replies);
        }
    }

    /// Clones for the closure that a worker runs.
    fn for_worker(&self) -> (Arc<ShareFolders>, Sender<Event>, Stop) {
        (Arc::clone(&self.parts.folders), self.parts.events.0.clone(), self.parts.stop.clone())
    }

    fn warn(&self, text: String) {
        self.parts.broadcast.publish_event(event::Event::warning(text));
    }

    fn inform(&self, text: String) {
        self.parts.broadcast.publish_event(event::Event::info(text));
    }
}

/// Sends an event to the indexer, from a worker. Waits while the queue is full; a stop ends the wait.
fn send(to_indexer: &Sender<Event>, stop: &Stop, event: Event) {
    select! {
        send(to_indexer, event) -> _ => {}
        recv(stop.receiver()) -> _ => {}
    }
}

#[cfg(test)]
mod tests;
