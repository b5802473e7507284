//! The tracker's interface for programs, under `/api/v1`; `docs/openapi.json` describes it.

use std::net::IpAddr;

use serde_json::{Map, Value, json};

use super::context::{TrackerSite, peer_row};
use crate::logic::rate_history::SLOT;
use crate::proto::event::{ErrorCode, Event, rfc3339};
use crate::proto::http::Request;
use crate::rt::clock;
use crate::tracker::{RecentFind, Via};
use crate::types::{FileName, limits};
use crate::web::service::params::{self, NamePageRequest, RowPage, requested_query};
use crate::web::service::response::{Answer, Problem, event_json};
use crate::web::view::sources::items;

/// Lists the paths of the interface.
pub(super) fn endpoints() -> Answer {
    let paths = ["status", "peers", "files", "find", "stats", "events", "openapi.json"];
    let paths: Vec<String> = paths.iter().map(|path| format!("/api/v1/{path}")).collect();
    let others = ["/metrics", "/healthz", "/readyz"];
    Answer::json(
        200,
        &json!({ "program": "tracker", "version": env!("CARGO_PKG_VERSION"), "api": paths, "other": others }),
    )
}

impl TrackerSite {
    pub(super) fn status(&self) -> Answer {
        let (counts, uptime) = (self.view.counts(), self.view.uptime());
        let started_ns = clock::wall_ns().saturating_sub(uptime.as_nanos() as i64);
        let status = json!({
            "program": "tracker",
            "version": env!("CARGO_PKG_VERSION"),
            "addr": self.view.addr().to_string(),
            "epoch": format!("{:016x}", self.view.epoch().0),
            "started": rfc3339(started_ns),
            "uptime_ms": uptime.as_millis() as u64,
            "nodes_live": counts.live,
            "nodes_suspect": counts.suspect,
            "nodes_unproved": counts.unproved,
            "files": counts.files,
        });
        Answer::json(200, &status)
    }

    pub(super) fn peers(&self, request: &Request) -> Answer {
        let RowPage { skip, rows_max } = match params::row_page(request) {
            Ok(page) => page,
            Err(problem) => return problem.json(),
        };
        let (nodes, more) = self.view.nodes(skip, rows_max);
        let next = more.then(|| (skip + nodes.len()).to_string());
        let items: Vec<Value> = nodes.iter().map(|node| peer_row(node).json()).collect();
        Answer::json(200, &json!({ "items": items, "next": next }))
    }

    pub(super) fn files(&self, request: &Request) -> Answer {
        let NamePageRequest { prefix, after, names_max } = match params::names(request) {
            Ok(page) => page,
            Err(problem) => return problem.json(),
        };
        let (names, more) = self.view.names(prefix, after.as_ref(), names_max);
        let next = names.last().filter(|_| more).map(FileName::as_str);
        let items: Vec<Value> =
            names.iter().map(|name| event_json(&Event::Name { name: name.clone() }, json!({}))).collect();
        Answer::json(200, &json!({ "items": items, "next": next }))
    }

    pub(super) fn find(&self, request: &Request, asker: IpAddr) -> Answer {
        let result = requested_query(request).and_then(|query| {
            self.find_contents(&query, limits::HTTP_ROWS_MAX, asker)
                .map_err(|why| Problem::bad_request(why, "ask for something else"))
        });
        match result {
            Ok((contents, _)) if contents.is_empty() => Problem::new(
                404,
                ErrorCode::NotFound,
                "no live node has it",
                "GET /api/v1/files lists what there is",
            )
            .json(),
            Ok((contents, more)) => {
                Answer::json(200, &json!({ "items": items(&contents), "next": null, "truncated": more }))
            }
            Err(problem) => problem.json(),
        }
    }

    pub(super) fn stats(&self) -> Answer {
        let mut tally = self.view.stats();
        let history = tally.history.sums(clock::now());
        let finds: Map<String, Value> = Via::ALL
            .into_iter()
            .map(|via| (via, tally.finds.of(via)))
            .map(|(via, counts)| {
                (via.as_str().to_owned(), json!({ "found": counts.with_rows, "none": counts.empty }))
            })
            .collect();
        let stats = json!({
            "finds": finds,
            "announces": tally.publications,
            "history": { "slot_ms": SLOT.as_millis() as u64, "finds": history },
            "recent": tally.recent.iter().map(recent).collect::<Vec<_>>(),
        });
        Answer::json(200, &stats)
    }
}

/// A find as the `searched` event of a node, with further fields. A tracker does not know the source with
/// which a download begins.
fn recent(find: &RecentFind) -> Value {
    let searched = Event::Searched {
        query: find.query.to_string(),
        rows: find.rows as u64,
        addr: None,
        score_ms: None,
        took_us: u64::try_from(find.duration.as_micros()).unwrap_or(u64::MAX),
    };
    let more = json!({
        "id": find.number,
        "ts": rfc3339(find.at_ns),
        "asker": find.requester.to_string(),
        "via": find.via.as_str(),
        "more": find.more,
        "sources": find.sources.iter().map(ToString::to_string).collect::<Vec<_>>(),
    });
    event_json(&searched, more)
}
