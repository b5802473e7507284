//! What a node shows: a search with latency, load and score, its files to fetch, its downloads to watch and
//! to steer.
//!
//! What asks others, or has to do with disks, runs on workers; files are sent by fronts of their own. Changes
//! are asked for by `POST` and `PUT` alone, and pass the gate before they come here.

mod api;
mod downloads;
mod figures;
mod files;
mod pages;
mod stats;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crossbeam_channel::never;
use parking_lot::Mutex;

use self::stats::Past;
use super::access::{AccessControl, ConnAddrs};
use super::assets;
use super::http_service::Site;
use super::metalink;
use super::page::{Figure, Frame};
use super::params;
use super::response::{Answer, Problem, Reply, TEXT};
use super::server::{Extras, WebConfig, WebError, WebServer};
use super::sources::{FoundContent, SourceRow, file_link, file_path};
use crate::node::{
    CommandError, FindReport, FoundGroup, FoundRow, JobState, Node, SharedFiles, Watching, What, events,
};
use crate::proto::event::{Event, HolderState};
use crate::proto::http::Request;
use crate::rt::{EventBroadcast, Stop, clock};
use crate::types::Query;

/// Path and label of each page.
const PAGES: [(&str, &str); 5] = [
    ("/", "Search"),
    ("/files", "Files"),
    ("/downloads", "Downloads"),
    ("/peers", "Peers"),
    ("/stats", "Stats"),
];
/// Threads that send files.
const FILE_FRONTS: usize = 2;

/// Serves a node until the server is stopped or dropped, which has to be before the node is. Others learn of
/// the port if it can be reached at the node's address.
///
/// # Errors
/// [`WebError`]; nothing is left running then.
pub fn serve_node(node: Arc<Node>, config: &WebConfig) -> Result<WebServer, WebError> {
    let (stop, shelf) = (Stop::new()?, node.shelf());
    let rate = Arc::clone(shelf.rate());
    let ended: Arc<[AtomicU64; 3]> = Arc::default();
    let watching = watch(&node, Arc::clone(&ended));
    let announced = Announced(Arc::clone(&node));
    let (started, past) = (clock::now(), Mutex::new(Past::new(node.events().subscribe(), clock::now())));
    let inner = Inner { shelf, stop: stop.clone(), started, ended, past, node };
    let extras = Extras { file_fronts: FILE_FRONTS, rate: Some(rate), changes: never(), stop };
    let site = NodeSite { inner: Arc::new(inner), _watching: watching, _announced: announced };
    let node = Arc::clone(&site.inner.node);
    let server = WebServer::start(site, config, extras)?;
    let (here, there) = (server.addr().ip(), node.addr().ip());
    if here == there || here.is_unspecified() {
        node.announce_http(Some(server.addr().port()));
    }
    Ok(server)
}

/// Has those that end counted: done, failed, cancelled.
fn watch(node: &Node, ended: Arc<[AtomicU64; 3]>) -> Watching {
    node.watch(move |news| {
        let which = match news.what {
            What::State(JobState::Done(_)) => Some(0),
            What::State(JobState::Failed(_)) => Some(1),
            What::State(JobState::Cancelled) => Some(2),
            _ => None,
        };
        if let Some(which) = which {
            ended[which].fetch_add(1, Ordering::Relaxed);
        }
    })
}

struct NodeSite {
    inner: Arc<Inner>,
    /// Until the server ends.
    _watching: Watching,
    _announced: Announced,
}

/// What answers are made from, by fronts and workers.
struct Inner {
    node: Arc<Node>,
    shelf: SharedFiles,
    /// Ends what asks others.
    stop: Stop,
    started: Instant,
    /// Downloads that were done, failed, were cancelled.
    ended: Arc<[AtomicU64; 3]>,
    past: Mutex<Past>,
}

/// Takes the announcement of the port back when the server ends.
struct Announced(Arc<Node>);

impl Drop for Announced {
    fn drop(&mut self) {
        self.0.announce_http(None);
    }
}

impl NodeSite {
    /// Has the thread for changes answer with `job`.
    fn changed(&self, job: impl FnOnce(&Inner) -> Answer + Send + 'static) -> Reply {
        let inner = Arc::clone(&self.inner);
        Reply::Changed(Box::new(move || job(&inner)))
    }

    /// Has a worker answer with `job`.
    fn later(&self, job: impl FnOnce(&Inner) -> Answer + Send + 'static) -> Reply {
        let inner = Arc::clone(&self.inner);
        Reply::Later(Box::new(move || job(&inner)))
    }
}

impl Site for NodeSite {
    fn answer(&self, request: &Request, visitor: ConnAddrs, gate: &AccessControl) -> Reply {
        let inner = &self.inner;
        if request.method.changes() {
            return self.change(request);
        }
        if let Some(asset) = assets::asset(request) {
            return Reply::Now(asset);
        }
        if let Some(name) = files::name_of(&request.path) {
            return inner.file(name, request, visitor);
        }
        Reply::Now(match request.path.as_str() {
            "/" if request.prefers_json() => api::endpoints(),
            "/" => return self.search_page(request, gate),
            "/files" => inner.files_page(request),
            "/downloads" => inner.downloads_page(request, gate.form_token()),
            "/peers" => return self.peers_page(request),
            "/stats" => inner.stats_page(),
            "/api/v1/stats" => inner.stats(),
            "/api/v1/events" => return params::events(request),
            "/api/v1/status" => inner.status(),
            "/api/v1/load" => inner.load(),
            "/api/v1/limits" => inner.limits(),
            "/api/v1/files" => inner.files(request),
            "/api/v1/downloads" => inner.downloads(request),
            "/api/v1/peers" => return self.peers(request),
            "/api/v1/find" => return self.find(request),
            "/api/v1/openapi.json" => Answer::text(200, "application/json", assets::OPENAPI.to_owned()),
            "/metrics" => inner.metrics(request),
            "/healthz" => Answer::text(200, TEXT, "ok\n".into()),
            "/readyz" => inner.readiness(),
            path if metalink::name_of(path).is_some() => return self.metalink(request, visitor),
            path if path.starts_with("/api/v1/downloads/") => inner.download(path),
            path if path.starts_with("/api/") => Problem::not_found("there is nothing at this path").json(),
            _ => inner.frame().problem(&Problem::not_found("there is no such page")),
        })
    }

    fn is_file(&self, request: &Request) -> bool {
        !request.method.changes() && files::name_of(&request.path).is_some()
    }

    fn feed(&self) -> &EventBroadcast {
        self.inner.node.events()
    }

    fn figures(&self) -> Vec<Event> {
        let Inner { node, shelf, .. } = &*self.inner;
        let unfinished = node.jobs().iter().filter(|job| !job.state.has_ended()).count();
        let load = usize::try_from(shelf.load()).unwrap_or(usize::MAX);
        let figures = [("downloads", unfinished), ("files", shelf.len()), ("load", load)];
        figures.map(|(name, value)| Event::stat(name, value)).into()
    }

    fn tick(&self) {
        self.inner.sample();
    }
}

impl Inner {
    fn frame(&self) -> Frame {
        Frame {
            program: "node",
            addr: self.node.addr().to_string(),
            pages: &PAGES,
            summary: vec![
                Figure { label: "files", stat: "files", value: self.shelf.len() },
                Figure { label: "load", stat: "load", value: self.shelf.load() as usize },
            ],
        }
    }

    /// Contents that fit `query`, ranked for a download into this node. Asks all holders.
    fn found(&self, query: &Query) -> Result<Vec<FoundContent>, Problem> {
        let report = self.node.find(query, &self.stop).map_err(|error| problem_of(&error))?;
        Ok(contents_of(report))
    }
}

/// The contents of a report, with its rows as events tell of them.
fn contents_of(report: FindReport) -> Vec<FoundContent> {
    let content = |FoundGroup { key, rows }: FoundGroup| {
        let rows = rows.into_iter().map(|row| {
            let holder = events::holder(&row, report.meant);
            let FoundRow { http, entry, .. } = row;
            let own_link = || (holder.state == HolderState::Own).then(|| file_path(&holder.name));
            let link = http.map(|http| file_link(http, &holder.name)).or_else(own_link);
            SourceRow { md5_origin: entry.md5_origin, link, holder }
        });
        FoundContent { key, meant: report.meant.is_some_and(|meant| meant.key == key), rows: rows.collect() }
    };
    report.groups.into_iter().map(content).collect()
}

fn problem_of(error: &CommandError) -> Problem {
    let hint = match error {
        CommandError::NoTracker { .. } | CommandError::TrackerRefused { .. } => {
            "start the tracker, or wait until it is back"
        }
        CommandError::Latency { .. } | CommandError::Share(_) => "mend it on the machine of this node",
        CommandError::NoneAnswered(_)
        | CommandError::Unreachable { .. }
        | CommandError::System(_)
        | CommandError::Bug(_)
        | CommandError::Cancelled => "try again later",
    };
    Problem::new(503, error.into(), error.to_string(), hint)
}
