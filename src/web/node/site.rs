//! Serves a node by HTTP: maps each path to its answer.

use std::sync::Arc;

use crossbeam_channel::never;
use parking_lot::Mutex;

use super::context::{EndedJobs, HttpPortAnnouncement, NodeSite, NodeView};
use super::past::Past;
use super::{api, files};
use crate::node::Node;
use crate::proto::event::Event;
use crate::proto::http::Request;
use crate::rt::{EventBroadcast, Stop, clock};
use crate::web::service::access::{AccessControl, ConnAddrs};
use crate::web::service::http_service::Site;
use crate::web::service::params;
use crate::web::service::response::{Answer, Problem, Reply, TEXT};
use crate::web::service::server::{Extras, WebConfig, WebError, WebServer};
use crate::web::view::assets;
use crate::web::view::metalink;

/// Threads that send files.
const FILE_FRONTS: usize = 2;

/// Serves a node until the server is stopped or dropped. Stop the server before the node. The node publishes
/// the HTTP port if peers can reach that port at the address of the node.
///
/// # Errors
/// [`WebError`]; nothing is left running then.
pub fn serve_node(node: Arc<Node>, config: &WebConfig) -> Result<WebServer, WebError> {
    let (stop, shared_files) = (Stop::new()?, node.shared_files());
    let rate = Arc::clone(shared_files.rate());
    let ended_jobs: Arc<EndedJobs> = Arc::default();
    let counted_jobs = Arc::clone(&ended_jobs);
    let job_watch = node.watch(move |event| counted_jobs.count(event.change));
    let port_announcement = HttpPortAnnouncement(Arc::clone(&node));
    let (started, past) = (clock::now(), Mutex::new(Past::new(node.events().subscribe(), clock::now())));
    let view = NodeView { shared_files, stop: stop.clone(), started, ended_jobs, past, node };
    // A node gives no signal for a change without an event: streams show it at the next interval.
    let extras = Extras { file_fronts: FILE_FRONTS, rate: Some(rate), changes: never(), stop };
    let site =
        NodeSite { view: Arc::new(view), _job_watch: job_watch, _port_announcement: port_announcement };
    let node = Arc::clone(&site.view.node);
    let server = WebServer::start(site, config, extras)?;
    let (http_ip, node_ip) = (server.addr().ip(), node.addr().ip());
    if http_ip == node_ip || http_ip.is_unspecified() {
        node.announce_http(Some(server.addr().port()));
    }
    Ok(server)
}

impl Site for NodeSite {
    fn answer(&self, request: &Request, addrs: ConnAddrs, access: &AccessControl) -> Reply {
        let view = &self.view;
        if request.method.changes() {
            return self.change(request);
        }
        if let Some(asset) = assets::asset(request) {
            return Reply::Now(asset);
        }
        if let Some(name) = files::name_of(&request.path) {
            return view.file(name, request, addrs);
        }
        Reply::Now(match request.path.as_str() {
            "/" if request.prefers_json() => api::endpoints(),
            "/" => return self.search_page(request, access),
            "/files" => view.files_page(request),
            "/downloads" => view.downloads_page(request, access.form_token()),
            "/peers" => return self.peers_page(request),
            "/stats" => view.stats_page(),
            "/api/v1/stats" => view.stats(),
            "/api/v1/events" => return params::events(request),
            "/api/v1/status" => view.status(),
            "/api/v1/load" => view.load(),
            "/api/v1/limits" => view.limits(),
            "/api/v1/files" => view.files(request),
            "/api/v1/downloads" => view.downloads(request),
            "/api/v1/peers" => return self.peers(request),
            "/api/v1/find" => return self.find(request),
            "/api/v1/openapi.json" => Answer::text(200, "application/json", assets::OPENAPI.to_owned()),
            "/metrics" => view.metrics(request),
            "/healthz" => Answer::text(200, TEXT, "ok\n".into()),
            "/readyz" => view.readiness(),
            path if metalink::name_of(path).is_some() => return self.metalink(request, addrs),
            path if path.starts_with("/api/v1/downloads/") => view.download(path),
            path if path.starts_with("/api/") => Problem::not_found("there is nothing at this path").json(),
            _ => view.frame().problem(&Problem::not_found("there is no such page")),
        })
    }

    fn is_file(&self, request: &Request) -> bool {
        !request.method.changes() && files::name_of(&request.path).is_some()
    }

    fn feed(&self) -> &EventBroadcast {
        self.view.node.events()
    }

    fn figures(&self) -> Vec<Event> {
        let NodeView { node, shared_files, .. } = &*self.view;
        let unfinished = node.jobs().iter().filter(|job| !job.state.has_ended()).count();
        let load = usize::try_from(shared_files.load()).unwrap_or(usize::MAX);
        let figures = [("downloads", unfinished), ("files", shared_files.len()), ("load", load)];
        figures.map(|(name, value)| Event::stat(name, value)).into()
    }

    fn tick(&self) {
        self.view.sample();
    }
}
