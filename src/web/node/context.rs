//! The state behind the answers of a node: the node itself, its files, its recent past.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::Mutex;

use super::past::Past;
use crate::node::{
    CommandError, FindReport, FoundGroup, FoundRow, JobChange, JobState, Node, SharedFiles, WatcherGuard,
    events,
};
use crate::proto::event::HolderState;
use crate::rt::Stop;
use crate::types::Query;
use crate::web::service::response::{Answer, Problem, Reply};
use crate::web::view::page::{Figure, Frame};
use crate::web::view::sources::{FoundContent, SourceRow, file_link, file_path};

/// Path and label of each page.
pub(super) const PAGES: [(&str, &str); 5] = [
    ("/", "Search"),
    ("/files", "Files"),
    ("/downloads", "Downloads"),
    ("/peers", "Peers"),
    ("/stats", "Stats"),
];

/// The site of a node. The two guards end with the server.
pub(super) struct NodeSite {
    pub(super) view: Arc<NodeView>,
    pub(super) _job_watch: WatcherGuard,
    pub(super) _port_announcement: HttpPortAnnouncement,
}

/// The state from which fronts and workers make answers.
pub(super) struct NodeView {
    pub(super) node: Arc<Node>,
    pub(super) shared_files: SharedFiles,
    /// Ends requests to peers.
    pub(super) stop: Stop,
    pub(super) started: Instant,
    pub(super) ended_jobs: Arc<EndedJobs>,
    pub(super) past: Mutex<Past>,
}

/// Numbers of jobs that have ended since the start of the server.
#[derive(Default)]
pub(super) struct EndedJobs {
    done: AtomicU64,
    failed: AtomicU64,
    cancelled: AtomicU64,
}

impl EndedJobs {
    /// Counts the job if `change` is its end.
    pub(super) fn count(&self, change: JobChange<'_>) {
        let counter = match change {
            JobChange::Ended(Ok(_)) => &self.done,
            JobChange::Ended(Err(_)) => &self.failed,
            JobChange::State(JobState::Cancelled) => &self.cancelled,
            _ => return,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Each result with the number of its jobs.
    pub(super) fn by_result(&self) -> [(&'static str, u64); 3] {
        let counters = [("done", &self.done), ("failed", &self.failed), ("cancelled", &self.cancelled)];
        counters.map(|(result, counter)| (result, counter.load(Ordering::Relaxed)))
    }
}

/// The published HTTP port of a node. Dropping this value withdraws the port.
pub(super) struct HttpPortAnnouncement(pub(super) Arc<Node>);

impl Drop for HttpPortAnnouncement {
    fn drop(&mut self) {
        self.0.announce_http(None);
    }
}

impl NodeSite {
    /// A reply that the thread for changes makes with `make`.
    pub(super) fn on_change_thread(&self, make: impl FnOnce(&NodeView) -> Answer + Send + 'static) -> Reply {
        let view = Arc::clone(&self.view);
        Reply::OnChangeThread(Box::new(move || make(&view)))
    }

    /// A reply that a worker makes with `make`.
    pub(super) fn on_worker(&self, make: impl FnOnce(&NodeView) -> Answer + Send + 'static) -> Reply {
        let view = Arc::clone(&self.view);
        Reply::OnWorker(Box::new(move || make(&view)))
    }
}

impl NodeView {
    pub(super) fn frame(&self) -> Frame {
        Frame {
            program: "node",
            addr: self.node.addr().to_string(),
            pages: &PAGES,
            summary: vec![
                Figure { label: "files", stat: "files", value: self.shared_files.len() },
                Figure { label: "load", stat: "load", value: self.shared_files.load() as usize },
            ],
        }
    }

    /// Finds the contents for `query`, with their sources ranked for a download by this node. This asks all
    /// holders, so call it on a worker.
    pub(super) fn find_contents(&self, query: &Query) -> Result<Vec<FoundContent>, Problem> {
        let report = self.node.find(query, &self.stop).map_err(|error| problem_of(&error))?;
        Ok(contents_of(report))
    }
}

/// The contents of a report, with a row for each source.
fn contents_of(report: FindReport) -> Vec<FoundContent> {
    let content = |FoundGroup { key, rows }: FoundGroup| {
        let rows = rows.into_iter().map(|row| {
            let holder = events::event_holder(&row, report.resolved);
            let FoundRow { http, entry, .. } = row;
            let own_link = || (holder.state == HolderState::Own).then(|| file_path(&holder.name));
            let link = http.map(|http| file_link(http, &holder.name)).or_else(own_link);
            SourceRow { md5_origin: entry.md5_origin, link, holder }
        });
        FoundContent {
            key,
            resolved: report.resolved.is_some_and(|resolved| resolved.key == key),
            rows: rows.collect(),
        }
    };
    report.groups.into_iter().map(content).collect()
}

/// The problem for a command that failed. The status is 503: the request is right, and can succeed later.
pub(super) fn problem_of(error: &CommandError) -> Problem {
    let hint = match error {
        CommandError::NoTracker { .. } | CommandError::TrackerRefused { .. } => {
            "start the tracker, or wait until it is back"
        }
        CommandError::Latency { .. } | CommandError::Share(_) => "correct it on the machine of this node",
        CommandError::NoneAnswered(_)
        | CommandError::NoAnswer { .. }
        | CommandError::Unreachable { .. }
        | CommandError::System(_)
        | CommandError::Bug(_)
        | CommandError::Cancelled => "try again later",
    };
    Problem::new(503, error.into(), error.to_string(), hint)
}
