//! The handle of a running node, with one method for each command.
//!
//! A command runs on the thread of its caller. A trigger of `cancel` ends the command.

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
use super::jobs::{Job, JobError, JobEvent, JobId, Jobs, WatcherGuard};
use super::replicas::request;
use super::report::{
    DownloadRequest, Downloaded, FindReport, OwnFile, Ready, ReplicationReport, ScanSummary,
};
use super::serve::meter::UploadMeter;
use super::serve::reader::ShareReader;
use super::serve::shared_files::SharedFiles;
use super::stats::NodeStats;
use super::threads::node_threads::NodeThreads;
use crate::discovery::{DiscoveryError, NamePage, Publisher};
use crate::net::TokenBucket;
use crate::proto::event::DownloadEvent;
use crate::rt::{Ended, EventBroadcast, Pool, Stop, StopReport, clock};
use crate::store::{self, Share};
use crate::types::{FileEntry, FileName, NodeId, NodeSummary, Query, limits};

/// A running node.
#[derive(Debug)]
pub struct Node {
    /// Where the listener is bound.
    pub(super) addr: SocketAddr,
    pub(super) started_at: Instant,
    pub(super) context: Arc<Context>,
    pub(super) events: EventBroadcast,
    pub(super) jobs: Jobs,
    /// Keeps the watcher that publishes the events of jobs.
    pub(super) _job_publisher: WatcherGuard,
    pub(super) stats: Arc<Mutex<NodeStats>>,
    /// Limits the bytes of files that are sent per second.
    pub(super) upload_rate: Arc<TokenBucket>,
    pub(super) pool: Pool,
    pub(super) first_scan: Receiver<ScanSummary>,
    pub(super) known_names: KnownNames,
    pub(super) wait_for_tracker: bool,
    pub(super) publisher: Arc<dyn Publisher>,
    pub(super) reader: ShareReader,
    /// The directory of a guest's downloads. Its directory of partial files is removed at the stop, if it is
    /// empty.
    pub(super) guest_folder: Option<Arc<Share>>,
    pub(super) threads: NodeThreads,
}

impl Node {
    /// Address of the listener. A guest has no listener, and returns its configured address.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Waits until the node is registered and its first scan is published. Waits for the scan at most 2 s
    /// from the start; a notice tells the end of a longer scan. Only the first call gets the result of the
    /// scan: a further one returns [`Ready::Scanning`].
    ///
    /// # Errors
    /// [`CommandError::NoTracker`] and [`CommandError::TrackerRefused`], unless the node is configured to
    /// wait for the tracker; [`CommandError::Cancelled`].
    pub fn wait_ready(&self, cancel: &Stop) -> Result<Ready, CommandError> {
        let timeout = at(self.started_at + limits::ms(limits::START_SCAN_WAIT_MS));
        let scanned = select! {
            recv(self.first_scan) -> scanned => scanned.ok(),
            recv(timeout) -> _ => None,
            recv(cancel.receiver()) -> _ => return Err(CommandError::Cancelled),
        };
        let mut last_error = None;
        loop {
            let deadline = clock::now() + limits::ms(limits::TRACKER_REPLY_MS);
            match self.context.tracker.publish_now(deadline, cancel) {
                Ok(()) => break,
                Err(DiscoveryError::Cancelled) => return Err(CommandError::Cancelled),
                Err(error) if !self.wait_for_tracker => return Err(error.into()),
                Err(error) => {
                    if last_error.as_ref() != Some(&error) {
                        self.context.notices.warn(format!("{error}; it is tried again"));
                        last_error = Some(error);
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

    /// Scans the shared directory again and publishes the changes.
    ///
    /// # Errors
    /// [`CommandError::Share`], [`CommandError::NoTracker`], [`CommandError::TrackerRefused`] or
    /// [`CommandError::Cancelled`].
    pub fn update_list(&self, cancel: &Stop) -> Result<ScanSummary, CommandError> {
        let summary = self.context.indexer.rescan(cancel)?;
        let deadline = clock::now() + limits::ms(limits::TRACKER_REPLY_MS);
        self.context.tracker.publish_now(deadline, cancel)?;
        // The user may have removed files, so that there is room for more replicas.
        self.context.state.replicas.request_measurement();
        Ok(summary)
    }

    /// Finds the live holders of what `query` names, and ranks them. The report is empty if no holder is
    /// known.
    ///
    /// # Errors
    /// [`CommandError`]; `NoneAnswered` if holders are known, none of them answered and this node has no such
    /// file.
    pub fn find(&self, query: &Query, cancel: &Stop) -> Result<FindReport, CommandError> {
        let started_at = clock::now();
        let report = search::find(&self.context, query, cancel)?;
        let elapsed = clock::now().saturating_duration_since(started_at);
        self.stats.lock().record_find(elapsed);
        self.events.publish_event(events::search_event(query, &report, elapsed));
        Ok(report)
    }

    /// The events of this node.
    pub fn events(&self) -> &EventBroadcast {
        &self.events
    }

    /// Downloads a file on this thread and places it in the directory of downloads.
    ///
    /// # Errors
    /// [`DownloadError`].
    pub fn download(
        &self,
        request: &DownloadRequest,
        cancel: &Stop,
        progress: &mut dyn FnMut(DownloadEvent),
    ) -> Result<Downloaded, DownloadError> {
        self.jobs.run(request, cancel, progress)
    }

    /// Starts a background download, which watchers can follow.
    ///
    /// # Errors
    /// [`JobError::TooMany`].
    pub fn start_download(&self, request: DownloadRequest) -> Result<JobId, JobError> {
        self.jobs.start_download(request)
    }

    /// All downloads of this node, oldest first; of the ended ones the last [`limits::JOBS_ENDED_MAX`].
    pub fn jobs(&self) -> Vec<Job> {
        self.jobs.all()
    }

    /// Pauses a download of any source. What was fetched is kept.
    ///
    /// # Errors
    /// [`JobError`].
    pub fn pause(&self, id: JobId) -> Result<(), JobError> {
        self.jobs.pause(id)
    }

    /// Resumes a paused download.
    ///
    /// # Errors
    /// [`JobError`]; `Pausing` while its run has not stopped yet.
    pub fn resume(&self, id: JobId) -> Result<(), JobError> {
        self.jobs.resume(id)
    }

    /// Cancels a download of any source. What was fetched is kept for the next download of the content.
    ///
    /// # Errors
    /// [`JobError`].
    pub fn cancel(&self, id: JobId) -> Result<(), JobError> {
        self.jobs.cancel(id)
    }

    /// Calls `watcher` for each event of each download until the result is dropped. `watcher` runs on the
    /// thread of the download or of a command about it, and must not wait.
    pub fn watch(&self, watcher: impl Fn(&JobEvent<'_>) + Send + Sync + 'static) -> WatcherGuard {
        self.jobs.watch(watcher)
    }

    /// Requests that the tracker ensures `copies` live copies of what `query` names, on nodes that keep
    /// replicas; 0 ends the request. The tracker keeps the request, and a restarted tracker receives it again
    /// while this node runs. Does not wait for the copies.
    ///
    /// # Errors
    /// [`DownloadError::NotFound`] if no live node has the whole content, [`DownloadError::Ambiguous`] if the
    /// query names several contents and none has more holders than each other one, [`DownloadError::Command`]
    /// if the tracker does not answer or refuses, and after a cancel.
    pub fn replicate(
        &self,
        query: &Query,
        copies: u32,
        cancel: &Stop,
    ) -> Result<ReplicationReport, DownloadError> {
        request::replicate(&self.context, query, copies, cancel)
    }

    /// Quarantines the unfinished downloads of `name`, so that a restarted node does not resume them, and
    /// ends the jobs that resume them now. What was fetched is kept for the next download of the content.
    pub fn quarantine(&self, name: &FileName) {
        self.jobs.quarantine(name);
    }

    /// The load of the node at `endpoint`.
    ///
    /// # Errors
    /// [`CommandError::Unreachable`] or [`CommandError::Cancelled`].
    pub fn load_of(&self, endpoint: SocketAddr, cancel: &Stop) -> Result<u32, CommandError> {
        probe::load_of(&self.context.peers, endpoint, cancel)
    }

    /// The published files of this node, by name.
    pub fn files(&self) -> Vec<OwnFile> {
        let catalog = self.context.state.catalog.read();
        catalog
            .files()
            .map(|file| OwnFile { origin: file.origin, entry: FileEntry::clone(&file.entry) })
            .collect()
    }

    /// All nodes that the tracker knows.
    ///
    /// # Errors
    /// [`CommandError::NoTracker`], [`CommandError::TrackerRefused`] or [`CommandError::Cancelled`].
    pub fn nodes(&self, cancel: &Stop) -> Result<Vec<NodeSummary>, CommandError> {
        Ok(self.context.tracker.nodes(cancel)?)
    }

    /// One reply of the tracker with a part of the names that can be downloaded, in order, those after
    /// `after`.
    ///
    /// # Errors
    /// [`CommandError::NoTracker`], [`CommandError::TrackerRefused`] or [`CommandError::Cancelled`].
    pub fn swarm_names(&self, after: Option<FileName>, cancel: &Stop) -> Result<NamePage, CommandError> {
        Ok(self.context.tracker.names(after, cancel)?)
    }

    /// Publishes that this node has an HTTP server at `port` of its address, so that other nodes' pages can
    /// link to it. With 0 or `None` it publishes that there is no server. Does not wait. Call it when the
    /// server is bound, and again when it has ended.
    pub fn announce_http(&self, port: Option<u16>) {
        self.context.state.traits.lock().http_port = port.filter(|port| *port != 0);
        self.publisher.publish();
    }

    /// Names for completion. [`Node::refresh_names`] updates them.
    pub fn known_names(&self) -> KnownNames {
        self.known_names.clone()
    }

    /// Requests that a worker reads names from the tracker. Does not wait. A busy pool drops the request.
    pub fn refresh_names(&self) {
        let Some(permit) = self.known_names.refresh_permit() else { return };
        let (context, stop) = (Arc::clone(&self.context), self.threads.commands.clone());
        let read_names = move || {
            // The first page is enough for completion.
            if let Ok((names, _)) = context.tracker.names(None, &stop) {
                permit.set_names(names);
            }
        };
        self.pool.try_run(read_names).ok();
    }

    /// The shared files, for other protocols.
    pub fn shared_files(&self) -> SharedFiles {
        let Context { state, tracker, .. } = &*self.context;
        let (reader, rate) = (self.reader.clone(), Arc::clone(&self.upload_rate));
        SharedFiles::new(Arc::clone(state), reader, Arc::clone(tracker), rate)
    }

    /// Bytes that jobs have fetched since the start. A piece that was fetched twice counts twice.
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

    /// Counters of finds and downloads since the start.
    pub fn stats(&self) -> NodeStats {
        self.stats.lock().clone()
    }

    /// A meter of the uploads.
    pub fn upload_meter(&self) -> UploadMeter {
        UploadMeter::new(Arc::clone(&self.context.state))
    }

    /// Limit of all uploads together, in bytes per second; `None`: no limit.
    pub fn max_upload(&self) -> Option<u64> {
        self.upload_rate.rate_bytes_per_s()
    }

    /// Changes the limit of all uploads together. It also applies to uploads that have begun.
    pub fn set_max_upload(&self, rate_bytes_per_s: Option<u64>) {
        self.upload_rate.set_rate(rate_bytes_per_s);
    }

    /// Delivers the end of each thread. A thread that ends before [`Node::stop`] has failed.
    pub fn ended(&self) -> &Receiver<Ended> {
        self.threads.group.ended()
    }

    /// Leaves the tracker, ends transfers and joins all threads, in at most 5 s. The report names threads
    /// that did not end in time. The node holds the lock of the directory until it is dropped.
    pub fn stop(&self) -> StopReport {
        self.stop_by(clock::now() + limits::ms(limits::STOP_DEADLINE_MS))
    }

    /// [`Node::stop`] with a deadline of the caller.
    pub fn stop_by(&self, deadline: Instant) -> StopReport {
        let wait_until_left = || self.context.tracker.wait_until_left(deadline);
        let report = self.threads.stop(deadline, wait_until_left);
        if let Some(folder) = &self.guest_folder {
            store::remove_empty_directory(folder);
        }
        report
    }
}

#[cfg(test)]
impl Node {
    /// Waits until the node is registered and its whole directory is published, however long the scan takes.
    pub(super) fn wait_published(&self) {
        let never = Stop::new().expect("a descriptor");
        if self.wait_ready(&never).expect("ready") == Ready::Scanning {
            self.update_list(&never).expect("scanned");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::{GuestFolder, Membership, NodeConfig, NodeStartError, Outcome};
    use crate::tracker::{Tracker, TrackerConfig};
    use std::fs;
    use std::path::Path;

    fn guest() -> Membership {
        Membership::Guest(GuestFolder::Share)
    }

    fn start(share: &Path, tracker: &Tracker, membership: Membership) -> Result<Node, NodeStartError> {
        let config = NodeConfig::new([127, 0, 0, 1].into(), share, tracker.addr());
        let node = Node::start(NodeConfig { membership, ..config })?;
        node.wait_published();
        Ok(node)
    }

    #[test]
    fn a_cancel_while_the_node_waits_for_its_tracker_is_not_reported_as_a_fault_of_the_tracker() {
        let share = tempfile::tempdir().expect("a directory");
        let config = NodeConfig::new([127, 0, 0, 1].into(), share.path(), ([127, 0, 0, 1], 1).into());
        let membership = Membership::Guest(GuestFolder::Nowhere);
        let node =
            Node::start(NodeConfig { wait_for_tracker: true, membership, ..config }).expect("it starts");
        let mut events = node.events().subscribe();
        let cancel = Stop::new().expect("a descriptor");
        cancel.trigger();
        // Which of two ready channels `select!` takes is random: several calls go both ways.
        for _ in 0..20 {
            assert_eq!(node.wait_ready(&cancel), Err(CommandError::Cancelled));
        }
        assert!(node.stop().is_clean());
        let texts: Vec<_> =
            events.catch_up().items.iter().map(|(_, record)| format!("{:?}", record.event)).collect();
        assert!(!texts.iter().any(|text| text.contains("cancelled")), "{texts:?}");
    }

    #[test]
    fn a_guest_downloads_and_leaves_no_trace() {
        let (from, to) =
            (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
        fs::write(from.path().join("a"), vec![7; (2 << 20) + 1]).expect("written");
        fs::write(to.path().join("own"), "not shared").expect("written");
        let tracker = Tracker::start(&TrackerConfig::default()).expect("it starts");
        let member = start(from.path(), &tracker, Membership::Member).expect("it starts");
        let guests =
            [(); 2].map(|()| start(to.path(), &tracker, guest()).expect("several guests of one directory"));
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
        let in_use = start(from.path(), &tracker, guest()).map(drop).expect_err("a node shares it");
        assert!(matches!(in_use, NodeStartError::ShareInUse { .. }), "{in_use}");
        let member_too = start(to.path(), &tracker, Membership::Member).expect("guests do not lock");
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
