//! Serves a tracker by HTTP: maps each path to its answer.

use std::net::IpAddr;

use super::api;
use super::context::TrackerSite;
use crate::proto::event::Event;
use crate::proto::http::Request;
use crate::rt::{EventBroadcast, Stop};
use crate::tracker::View;
use crate::types::limits;
use crate::web::service::access::{AccessControl, ConnAddrs};
use crate::web::service::http_service::Site;
use crate::web::service::params;
use crate::web::service::response::{Answer, Problem, Reply, TEXT};
use crate::web::service::server::{Extras, WebConfig, WebError, WebServer};
use crate::web::view::assets;
use crate::web::view::metalink;

/// Serves the registry behind `view` until the server is stopped or dropped.
///
/// # Errors
/// [`WebError`]; nothing is left running then.
pub fn serve_tracker(view: View, config: &WebConfig) -> Result<WebServer, WebError> {
    let extras = Extras { file_fronts: 0, rate: None, changes: view.changes(), stop: Stop::new()? };
    WebServer::start(TrackerSite { view }, config, extras)
}

impl Site for TrackerSite {
    fn answer(&self, request: &Request, addrs: ConnAddrs, _gate: &AccessControl) -> Reply {
        let asker = addrs.peer.ip();
        if request.method.changes() {
            return Reply::Now(Problem::method_not_allowed("GET, HEAD").json());
        }
        if let Some(asset) = assets::asset(request) {
            return Reply::Now(asset);
        }
        Reply::Now(match request.path.as_str() {
            "/" if request.prefers_json() => api::endpoints(),
            "/" => self.search_page(request, asker),
            "/peers" => self.peers_page(request),
            "/stats" => self.stats_page(),
            "/api/v1/events" => return params::events(request),
            "/api/v1/status" => self.status(),
            "/api/v1/peers" => self.peers(request),
            "/api/v1/files" => self.files(request),
            "/api/v1/find" => self.find(request, asker),
            "/api/v1/stats" => self.stats(),
            "/api/v1/openapi.json" => Answer::text(200, "application/json", assets::OPENAPI.to_owned()),
            "/metrics" => self.metrics(request),
            path if metalink::name_of(path).is_some() => self.metalink(request, asker),
            // The tracker is ready when it can answer at all: nodes register with it later.
            "/healthz" | "/readyz" => Answer::text(200, TEXT, "ok\n".into()),
            path if path.starts_with("/api/") => Problem::not_found("there is nothing at this path").json(),
            _ => self.frame().problem(&Problem::not_found("there is no such page")),
        })
    }

    fn is_file(&self, _request: &Request) -> bool {
        false
    }

    fn feed(&self) -> &EventBroadcast {
        self.view.events()
    }

    fn figures(&self) -> Vec<Event> {
        let counts = self.view.counts();
        let finds = usize::try_from(self.view.finds().total()).unwrap_or(usize::MAX);
        let figures = [
            ("nodes_live", counts.live),
            ("nodes_suspect", counts.suspect),
            ("files", counts.files),
            ("finds", finds),
        ];
        figures.map(|(name, value)| Event::stat(name, value)).into()
    }
}

impl TrackerSite {
    /// The metalink of a file: its full sources that serve HTTP, the lowest load first.
    fn metalink(&self, request: &Request, asker: IpAddr) -> Answer {
        let answer = metalink::read_request(request).and_then(|wanted| {
            let result = self.find_contents(&wanted.query(), limits::HTTP_ROWS_MAX, asker);
            let (contents, _) = result.map_err(|why| Problem::bad_request(why, "ask for another name"))?;
            metalink::answer(&wanted, &contents, |_| None)
        });
        answer.unwrap_or_else(|problem| problem.json())
    }
}
