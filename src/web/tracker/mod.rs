//! What a tracker shows: who has what, which nodes there are, what was asked. Everything is answered from
//! memory, nothing can be changed.

mod api;
mod figures;
mod pages;

use std::net::IpAddr;

use super::access::{AccessControl, ConnAddrs};
use super::assets;
use super::http_service::Site;
use super::metalink;
use super::page::{Figure, Frame};
use super::params;
use super::peers::Known;
use super::response::{Answer, Problem, Reply, TEXT};
use super::server::{Extras, WebConfig, WebError, WebServer};
use super::sources::{FoundContent, SourceRow, file_link, http_of};
use crate::logic::select::{Choice, choose_content, votes};
use crate::proto::event::{Event, EventHolder, HolderState};
use crate::proto::http::Request;
use crate::rt::{EventBroadcast, Stop};
use crate::tracker::{HolderRow, KnownNode, View};
use crate::types::{ContentKey, Query, limits};

/// Serves what `view` sees until the server is stopped or dropped.
///
/// # Errors
/// [`WebError`]; nothing is left running then.
pub fn serve_tracker(view: View, config: &WebConfig) -> Result<WebServer, WebError> {
    let extras = Extras { file_fronts: 0, rate: None, changes: view.changes(), stop: Stop::new()? };
    WebServer::start(TrackerSite { view }, config, extras)
}

struct TrackerSite {
    view: View,
}

fn known(node: &KnownNode) -> Known<'_> {
    (&node.summary, Some(node.silent_for))
}

impl Site for TrackerSite {
    fn answer(&self, request: &Request, visitor: ConnAddrs, _gate: &AccessControl) -> Reply {
        let asker = visitor.peer.ip();
        if request.method.changes() {
            return Reply::Now(Problem::method("GET, HEAD").json());
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
            // It is ready with its first answer: whoever is to register finds it.
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
        let finds = usize::try_from(self.view.tally_totals().total()).unwrap_or(usize::MAX);
        let figures = [
            ("nodes_live", counts.live),
            ("nodes_suspect", counts.suspect),
            ("files", counts.files),
            ("finds", finds),
        ];
        figures.map(|(name, value)| Event::stat(name, value)).into()
    }
}

/// The content that a download would take if all of `holders` answered.
fn meant(holders: &[HolderRow]) -> Option<ContentKey> {
    let votes = votes(holders.iter().map(|holder| &holder.provider));
    match choose_content(&votes.into_iter().collect::<Vec<_>>()) {
        Choice::One(key) | Choice::Majority { key, .. } => Some(key),
        Choice::Ambiguous => None,
    }
}

impl TrackerSite {
    fn frame(&self) -> Frame {
        let counts = self.view.counts();
        Frame {
            program: "tracker",
            addr: self.view.addr().to_string(),
            pages: &[("/", "Search"), ("/peers", "Peers"), ("/stats", "Stats")],
            summary: vec![
                Figure { label: "live nodes", stat: "nodes_live", value: counts.live },
                Figure { label: "files", stat: "files", value: counts.files },
            ],
        }
    }

    /// Contents that fit `query`, most live full holders first; in each the least loaded first, as far as
    /// they have told.
    fn found(
        &self,
        query: &Query,
        rows_max: usize,
        asker: IpAddr,
    ) -> Result<(Vec<FoundContent>, bool), String> {
        let found = self.view.find(query, rows_max, asker);
        let (holders, more) = found.map_err(|error| error.to_string())?;
        let mut contents: Vec<FoundContent> = Vec::new();
        let meant = meant(&holders);
        for HolderRow { provider, node } in holders {
            let key: ContentKey = provider.entry.key();
            let link = node.as_ref().and_then(http_of).map(|http| file_link(http, &provider.entry.name));
            let entry = provider.entry;
            let told = EventHolder::of(&entry, provider.endpoint);
            let holder = EventHolder { load: node.and_then(|node| node.load), ..told };
            let row = SourceRow { holder, md5_origin: entry.md5_origin, link };
            match contents.iter_mut().find(|content| content.key == key) {
                Some(content) => content.rows.push(row),
                None => contents.push(FoundContent { key, meant: meant == Some(key), rows: vec![row] }),
            }
        }
        for content in &mut contents {
            content.rows.sort_by_key(|SourceRow { holder, .. }| {
                (holder.state == HolderState::Part, holder.load.unwrap_or(u32::MAX), holder.addr)
            });
        }
        contents.sort_by_key(|content| (std::cmp::Reverse(content.full_sources().count()), content.key));
        Ok((contents, more))
    }
}

impl TrackerSite {
    /// The metalink of a file: those with all of it that serve HTTP, the least loaded first.
    fn metalink(&self, request: &Request, asker: IpAddr) -> Answer {
        let wanted = metalink::wanted(request).and_then(|wanted| {
            let found = self.found(&wanted.query(), limits::HTTP_ROWS_MAX, asker);
            let (contents, _) = found.map_err(|why| Problem::bad(why, "ask for another name"))?;
            metalink::answer(&wanted, &contents, |_| None)
        });
        wanted.unwrap_or_else(|problem| problem.json())
    }
}
