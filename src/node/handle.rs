//! The handle of a running node: starts its threads, runs people's commands on the caller's thread, stops
//! everything in order.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::{Receiver, at, select};
use parking_lot::Mutex;

use super::completion_names::KnownNames;
use super::context::Context;
use super::error::{CommandError, DownloadError};
use super::events;
use super::find::{probe, search};
use super::jobs::{Job, JobError, JobEvent, JobId, Jobs, Watching};
use super::replicas::request;
use super::report::{
    DownloadRequest, Downloaded, FindReport, OwnFile, Ready, ReplicationReport, ScanSummary,
};
use super::serve::meter::UploadMeter;
use super::serve::reader::ShareReader;
use super::serve::shared_files::SharedFiles;
use super::stats::NodeStats;
use super::threads::running::Running;
use crate::discovery::NamePage;
use crate::net::TokenBucket;
use crate::proto::event::DownloadEvent;
use crate::rt::{Ended, EventBroadcast, Pool, Stop, StopReport, clock};
use crate::store;
use crate::types::{FileEntry, FileName, NodeId, NodeSummary, Query, limits};

/// A running node.
#[derive(Debug)]
pub struct Node {
    pub(super) addr: SocketAddr,
    pub(super) started_at: Instant,
    pub(super) context: Arc<Context>,
    pub(super) events: EventBroadcast,
    pub(super) jobs: Jobs,
    /// Publishes what becomes of the jobs.
    pub(super) _published: Watching,
    pub(super) stats: Arc<Mutex<NodeStats>>,
    /// Every byte that is sent of a file is paid from it.
    pub(super) upload_rate: Arc<TokenBucket>,
    pub(super) pool: Pool,
    pub(super) first_scan: Receiver<ScanSummary>,
    pub(super) known_names: KnownNames,
    pub(super) wait_for_tracker: bool,
    /// The empty directory of its parts goes with it.
    pub(super) leaves_no_trace: bool,
    pub(super) running: Running,
}

impl Node {
    /// Where the listener is bound; a guest has none.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Waits until the node is registered and its first scan published, or 2 s after start if the scan takes
    /// longer. The end of the scan is told by a notice.
    ///
    /// # Errors
    /// [`CommandError::NoTracker`] unless the node was to wait for it, [`CommandError::Cancelled`].
    pub fn wait_ready(&self, cancel: &Stop) -> Result<Ready, CommandError> {
        let patience = at(self.started_at + limits::ms(limits::START_SCAN_WAIT_MS));
        let scanned = select! {
            recv(self.first_scan) -> scanned => scanned.ok(),
            recv(patience) -> _ => None,
            recv(cancel.receiver()) -> _ => return Err(CommandError::Cancelled),
        };
        let mut told = None;
        loop {
            let deadline = clock::now() + limits::ms(limits::TRACKER_REPLY_MS);
            match self.context.tracker.publish_now(deadline, cancel) {
                Ok(()) => break,
                Err(error) if !self.wait_for_tracker => return Err(error.into()),
                Err(error) => {
                    if told.as_ref() != Some(&error) {
                        self.context.notices.warn(format!("{error}; it is tried again"));
                        told = Some(error);
                    }
                    if cancel.wait_until(clock::now() + limits::ms(limits::RECONNECT_JITTER_MS)) {
                        return Err(CommandError::Cancelled);
                    }
                }
            }
        }
        Ok(match scanned {
            Some(summary) => Ready::Complete { files: summary.files },
            None => Ready::Scanning,
        })
    }

    /// Rescans the share and publishes what has changed.
    ///
    /// # Errors
    /// [`CommandError::Share`], [`CommandError::NoTracker`] or [`CommandError::Cancelled`].
    pub fn update_list(&self, cancel: &Stop) -> Result<ScanSummary, CommandError> {
        let summary = self.context.indexer.rescan(cancel)?;
        let deadline = clock::now() + limits::ms(limits::TRACKER_REPLY_MS);
        self.context.tracker.publish_now(deadline, cancel)?;
        self.context.state.replicas.look_again();
        Ok(summary)
    }

    /// Who has what `query` names, ranked. An empty report: nobody.
    ///
    /// # Errors
    /// [`CommandError`]; `NoneAnswered` if holders are known and not one answered.
    pub fn find(&self, query: &Query, cancel: &Stop) -> Result<FindReport, CommandError> {
        let began = clock::now();
        let report = search::find(&self.context, query, cancel)?;
        let took = clock::now().saturating_duration_since(began);
        self.stats.lock().record_find(took);
        self.events.publish_event(events::searched(query, &report, took));
        Ok(report)
    }

    /// What happens at this node.
    pub fn events(&self) -> &EventBroadcast {
        &self.events
    }

    /// Downloads a file, on this thread, to where downloads are placed.
    ///
    /// # Errors
    /// [`DownloadError`]; nothing of the user's was changed then.
    pub fn download(
        &self,
        request: &DownloadRequest,
        cancel: &Stop,
        progress: &mut dyn FnMut(DownloadEvent),
    ) -> Result<Downloaded, DownloadError> {
        self.jobs.run(request, cancel, progress)
    }

    /// Has a file downloaded into the share with nobody waiting; [`Node::watch`] tells of it.
    ///
    /// # Errors
    /// [`JobError::TooMany`].
    pub fn start_download(&self, request: DownloadRequest) -> Result<JobId, JobError> {
        self.jobs.start_download(request)
    }

    /// Every download of this node, the oldest first; of those that have ended the last
    /// [`limits::JOBS_ENDED_MAX`].
    pub fn jobs(&self) -> Vec<Job> {
        self.jobs.all()
    }

    /// Stops a download for now, whoever asked for it. What was fetched is kept.
    ///
    /// # Errors
    /// [`JobError`].
    pub fn pause(&self, id: JobId) -> Result<(), JobError> {
        self.jobs.pause(id)
    }

    /// Has a paused download go on.
    ///
    /// # Errors
    /// [`JobError`]; `Pausing` while it has not stopped yet.
    pub fn resume(&self, id: JobId) -> Result<(), JobError> {
        self.jobs.resume(id)
    }

    /// Ends a download, whoever asked for it. What was fetched is kept for the next download of the content.
    ///
    /// # Errors
    /// [`JobError`].
    pub fn cancel(&self, id: JobId) -> Result<(), JobError> {
        self.jobs.cancel(id)
    }

    /// Has `watcher` told of every download until what is returned is dropped. It is called on the download's
    /// thread and must not wait.
    pub fn watch(&self, watcher: impl Fn(&JobEvent<'_>) + Send + Sync + 'static) -> Watching {
        self.jobs.watch(watcher)
    }

    /// Has the tracker see to `copies` live copies of what `query` means, on nodes that keep replicas; 0
    /// takes that back. The wish stays with the tracker; a restarted one is told it again while this node
    /// runs. Does not wait for the copies.
    ///
    /// # Errors
    /// [`DownloadError::NotFound`] if no live node has all of it, [`DownloadError::Ambiguous`] if the query
    /// means several contents alike; [`DownloadError::Command`] if the tracker could not be asked, or
    /// refuses.
    pub fn replicate(
        &self,
        query: &Query,
        copies: u32,
        cancel: &Stop,
    ) -> Result<ReplicationReport, DownloadError> {
        request::replicate(&self.context, query, copies, cancel)
    }

    /// A download of that name that was cancelled, or is being gone on with by itself, is not gone on with by
    /// itself any more. What it has fetched stays for the next download of the same content.
    pub fn set_aside(&self, name: &FileName) {
        self.jobs.set_aside(name);
    }

    /// The load of the node at `endpoint`.
    ///
    /// # Errors
    /// [`CommandError::Unreachable`] or [`CommandError::Cancelled`].
    pub fn load_of(&self, endpoint: SocketAddr, cancel: &Stop) -> Result<u32, CommandError> {
        probe::load_of(&self.context.peers, endpoint, cancel)
    }

    /// The own files that are published, by name.
    pub fn files(&self) -> Vec<OwnFile> {
        let catalog = self.context.state.catalog.read();
        catalog
            .files()
            .map(|file| OwnFile { kind: file.kind, entry: FileEntry::clone(&file.entry) })
            .collect()
    }

    /// All nodes that the tracker knows.
    ///
    /// # Errors
    /// [`CommandError::NoTracker`] or [`CommandError::Cancelled`].
    pub fn nodes(&self, cancel: &Stop) -> Result<Vec<NodeSummary>, CommandError> {
        Ok(self.context.tracker.nodes(cancel)?)
    }

    /// A page of the names that the tracker has live holders of, in order, those after `after`.
    ///
    /// # Errors
    /// [`CommandError::NoTracker`] or [`CommandError::Cancelled`].
    pub fn swarm_names(&self, after: Option<FileName>, cancel: &Stop) -> Result<NamePage, CommandError> {
        Ok(self.context.tracker.names(after, cancel)?)
    }

    /// Has the tracker tell others that this node has an HTTP server at this port of its address (0 or
    /// `None`: that it has none), so that links can lead there. Does not wait; to be called as soon as the
    /// server is bound, and again when it is gone.
    pub fn announce_http(&self, port: Option<u16>) {
        self.context.state.traits.lock().http_port = port.filter(|port| *port != 0);
        self.context.publisher.publish();
    }

    /// Names for completion, kept up to date by [`Node::refresh_names`].
    pub fn known_names(&self) -> KnownNames {
        self.known_names.clone()
    }

    /// Has the names seen at the tracker brought up to date, some time soon. Does not wait.
    pub fn refresh_names(&self) {
        let Some(turn) = self.known_names.refreshing() else { return };
        let (context, stop) = (Arc::clone(&self.context), self.running.commands.clone());
        let _pool_is_busy = self.pool.try_run(move || {
            // One page is enough for completion.
            if let Ok((names, _)) = context.tracker.names(None, &stop) {
                turn.saw(names);
            }
        });
    }

    /// The own files, for other protocols.
    pub fn shared_files(&self) -> SharedFiles {
        let Context { state, folders, indexer, tracker, .. } = &*self.context;
        let reader = ShareReader { folders: Arc::clone(folders), indexer: indexer.clone() };
        SharedFiles::new(Arc::clone(state), reader, Arc::clone(tracker), Arc::clone(&self.upload_rate))
    }

    /// Bytes that downloads have fetched since the start, each as often as it was fetched.
    pub fn fetched_bytes(&self) -> u64 {
        self.jobs.fetched_bytes()
    }

    /// This node's id.
    pub fn id(&self) -> NodeId {
        self.context.state.node
    }

    #[cfg(test)]
    pub(super) fn downloader(&self) -> &super::download::Downloader {
        self.jobs.downloader()
    }

    /// What was found and downloaded since the start.
    pub fn tally(&self) -> NodeStats {
        self.stats.lock().clone()
    }

    /// What is uploaded, for whoever shows it.
    pub fn upload_meter(&self) -> UploadMeter {
        UploadMeter::new(Arc::clone(&self.context.state))
    }

    /// The rate of all uploads together, in bytes per second; `None`: no limit.
    pub fn max_upload(&self) -> Option<u64> {
        self.upload_rate.rate_bytes_per_s()
    }

    /// Changes that rate, for what is being sent too.
    pub fn set_max_upload(&self, rate_bytes_per_s: Option<u64>) {
        self.upload_rate.set_rate(rate_bytes_per_s);
    }

    /// Delivers each thread that ends; one that ends before `stop` is a fault.
    pub fn ended(&self) -> &Receiver<Ended> {
        self.running.threads.ended()
    }

    /// Leaves the tracker, ends transfers, joins every thread; at most 5 s. Of no use afterwards, but that it
    /// holds the share until it is dropped.
    pub fn stop(&self) -> StopReport {
        self.stop_by(clock::now() + limits::ms(limits::STOP_DEADLINE_MS))
    }

    /// The same for who has other things to stop by then.
    pub fn stop_by(&self, deadline: Instant) -> StopReport {
        let left = || self.context.tracker.wait_until_left(deadline);
        let report = self.running.stop(deadline, left);
        if self.leaves_no_trace {
            store::leave_no_trace(&self.context.folders.downloads());
        }
        report
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::{GuestFolder, Membership, NodeConfig, Outcome, StartError};
    use crate::tracker::{Tracker, TrackerConfig};
    use std::fs;
    use std::path::Path;

    fn guest() -> Membership {
        Membership::Guest(GuestFolder::Share)
    }

    fn started(share: &Path, tracker: &Tracker, membership: Membership) -> Result<Node, StartError> {
        let config = NodeConfig::new([127, 0, 0, 1].into(), share, tracker.addr());
        let node = Node::start(NodeConfig { membership, ..config })?;
        node.wait_ready(&Stop::new().expect("a descriptor")).expect("ready");
        Ok(node)
    }

    #[test]
    fn a_guest_downloads_and_nobody_hears_of_it() {
        let (from, to) =
            (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
        fs::write(from.path().join("a"), vec![7; (2 << 20) + 1]).expect("written");
        fs::write(to.path().join("own"), "not offered").expect("written");
        let tracker = Tracker::start(&TrackerConfig::default()).expect("it starts");
        let member = started(from.path(), &tracker, Membership::Member).expect("it starts");
        let guests =
            [(); 2].map(|()| started(to.path(), &tracker, guest()).expect("several may visit at once"));
        let stop = Stop::new().expect("a descriptor");
        for guest in &guests {
            let name = FileName::new("a").expect("a name");
            let found = guest.find(&Query::Name(name.clone()), &stop).expect("found");
            assert_eq!(found.groups.iter().map(|group| group.rows.len()).sum::<usize>(), 1);
            let request = DownloadRequest { name, checksum: None, verify_whole: false, force: false };
            let done = guest.download(&request, &stop, &mut |_| {}).expect("downloaded");
            let is_first = std::ptr::eq(guest, &guests[0]);
            assert_eq!(matches!(done.outcome, Outcome::Fetched { .. }), is_first, "{done:?}");
        }
        let known: Vec<_> =
            member.nodes(&stop).expect("listed").into_iter().map(|node| node.endpoint).collect();
        assert_eq!(known, [member.addr()]);
        let in_use = started(from.path(), &tracker, guest()).map(drop).expect_err("it is shared");
        assert!(matches!(in_use, StartError::ShareInUse { .. }), "{in_use}");
        let member_too = started(to.path(), &tracker, Membership::Member).expect("guests keep nobody out");
        let reports = guests.into_iter().chain([member_too, member]).map(|node| node.stop());
        for report in reports.collect::<Vec<_>>().into_iter().chain([tracker.stop()]) {
            assert!(report.is_clean(), "{report:?}");
        }
        let mut names: Vec<_> =
            fs::read_dir(to.path()).expect("listed").flatten().map(|entry| entry.file_name()).collect();
        names.sort();
        assert_eq!(names, ["a", "own"], "no trace is left");
    }
}
