//! What all answers of a node are made from: the node, its files, its recent past.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

use parking_lot::Mutex;

use super::past::Past;
use crate::node::{CommandError, FindReport, FoundGroup, FoundRow, Node, SharedFiles, Watching, events};
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
pub(super) struct NodeSite {
    pub(super) view: Arc<NodeView>,
    /// Held until the server ends.
    pub(super) _watching: Watching,
    pub(super) _announced: Announced,
}

/// What fronts and workers make answers from.
pub(super) struct NodeView {
    pub(super) node: Arc<Node>,
    pub(super) shared_files: SharedFiles,
    /// Ends requests to peers.
    pub(super) stop: Stop,
    pub(super) started: Instant,
    /// Numbers of jobs that are done, have failed, were cancelled.
    pub(super) ended: Arc<[AtomicU64; 3]>,
    pub(super) past: Mutex<Past>,
}

/// Withdraws the published port when the server ends.
pub(super) struct Announced(pub(super) Arc<Node>);

impl Drop for Announced {
    fn drop(&mut self) {
        self.0.announce_http(None);
    }
}

impl NodeSite {
    /// Runs `job` on the thread for changes.
    pub(super) fn changed(&self, job: impl FnOnce(&NodeView) -> Answer + Send + 'static) -> Reply {
        let view = Arc::clone(&self.view);
        Reply::Changed(Box::new(move || job(&view)))
    }

    /// Runs `job` on a worker.
    pub(super) fn later(&self, job: impl FnOnce(&NodeView) -> Answer + Send + 'static) -> Reply {
        let view = Arc::clone(&self.view);
        Reply::Later(Box::new(move || job(&view)))
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

    /// Finds the contents for `query`, ranked for a download by this node. It asks all holders.
    pub(super) fn found(&self, query: &Query) -> Result<Vec<FoundContent>, Problem> {
        let report = self.node.find(query, &self.stop).map_err(|error| problem_of(&error))?;
        Ok(contents_of(report))
    }
}

/// The contents of a report, with their rows as events describe them.
fn contents_of(report: FindReport) -> Vec<FoundContent> {
    let content = |FoundGroup { key, rows }: FoundGroup| {
        let rows = rows.into_iter().map(|row| {
            let holder = events::holder(&row, report.resolved);
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

pub(super) fn problem_of(error: &CommandError) -> Problem {
    let hint = match error {
        CommandError::NoTracker { .. } | CommandError::TrackerRefused { .. } => {
            "start the tracker, or wait until it is back"
        }
        CommandError::Latency { .. } | CommandError::Share(_) => "mend it on the machine of this node",
        CommandError::NoneAnswered(_)
        | CommandError::NoAnswer { .. }
        | CommandError::Unreachable { .. }
        | CommandError::System(_)
        | CommandError::Bug(_)
        | CommandError::Cancelled => "try again later",
    };
    Problem::new(503, error.into(), error.to_string(), hint)
}
