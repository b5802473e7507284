//! The tracker's interface for programs, under `/api/v1`; `docs/openapi.json` describes it.

use std::net::IpAddr;

use serde_json::{Value, json};

use super::TrackerSite;
use crate::logic::history::SLOT;
use crate::proto::http::{Request, rfc3339};
use crate::rt::clock;
use crate::tracker::{KnownNode, RecentFind, Via};
use crate::types::FileName;
use crate::web::answer::{Answer, Problem};
use crate::web::asked::{self, NamesAsked, rows, skipped, wanted};
use crate::web::sources::{FoundContent, http_of, text_of};

/// What there is, for a program that asks at the door.
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
            "address": self.view.addr().to_string(),
            "epoch": format!("{:016x}", self.view.epoch().0),
            "started": rfc3339(started_ns),
            "uptime_ms": uptime.as_millis() as u64,
            "peers": { "live": counts.live, "suspect": counts.suspect, "unproved": counts.unproved },
            "files": counts.files,
        });
        Answer::json(200, &status)
    }

    pub(super) fn peers(&self, request: &Request) -> Answer {
        let (skip, max) = match (skipped(request, "cursor"), rows(request)) {
            (Ok(skip), Ok(max)) => (skip, max),
            (Err(problem), _) | (_, Err(problem)) => return problem.json(),
        };
        let (nodes, more) = self.view.nodes(skip, max);
        let next = more.then(|| (skip + nodes.len()).to_string());
        Answer::json(200, &json!({ "items": nodes.iter().map(peer).collect::<Vec<_>>(), "next": next }))
    }

    pub(super) fn files(&self, request: &Request) -> Answer {
        let NamesAsked { prefix, after, max } = match asked::names(request) {
            Ok(asked) => asked,
            Err(problem) => return problem.json(),
        };
        let (names, more) = self.view.names(prefix, after.as_ref(), max);
        let next = names.last().filter(|_| more).map(FileName::as_str);
        let items: Vec<Value> = names.iter().map(|name| json!({ "name": name.as_str() })).collect();
        Answer::json(200, &json!({ "items": items, "next": next }))
    }

    pub(super) fn find(&self, request: &Request, asker: IpAddr) -> Answer {
        let found = wanted(request).and_then(|query| {
            self.found(&query, asker).map_err(|why| Problem::bad(why, "ask for fewer rows"))
        });
        match found {
            Ok((contents, _)) if contents.is_empty() => {
                Problem::new(404, "not_found", "no live node has it", "GET /api/v1/files lists what there is")
                    .json()
            }
            Ok((contents, more)) => {
                let items: Vec<Value> = contents.iter().map(FoundContent::json).collect();
                Answer::json(200, &json!({ "items": items, "next": null, "truncated": more }))
            }
            Err(problem) => problem.json(),
        }
    }

    pub(super) fn stats(&self) -> Answer {
        let mut tally = self.view.tally();
        let history = tally.history.sums(clock::now());
        let [native_found, http_found] = tally.finds.found;
        let [native_none, http_none] = tally.finds.none;
        let stats = json!({
            "finds": {
                "native": { "found": native_found, "none": native_none },
                "http": { "found": http_found, "none": http_none },
            },
            "announces": tally.announces,
            "history": { "slot_ms": SLOT.as_millis() as u64, "finds": history },
            "recent": tally.recent.iter().map(recent).collect::<Vec<_>>(),
        });
        Answer::json(200, &stats)
    }
}

fn peer(node: &KnownNode) -> Value {
    let KnownNode { summary, silent_for } = node;
    json!({
        "node": summary.node.to_string(),
        "address": summary.endpoint.to_string(),
        "http": http_of(summary).map(|http| format!("http://{http}/")),
        "state": summary.liveness.to_string(),
        "files": summary.files,
        "load": summary.load,
        "silent_ms": silent_for.as_millis() as u64,
    })
}

fn recent(find: &RecentFind) -> Value {
    json!({
        "id": find.number,
        "at": rfc3339(find.at_ns),
        "query": text_of(&find.query),
        "asker": find.asker.to_string(),
        "via": match find.via { Via::Native => "native", Via::Http => "http" },
        "rows": find.rows,
        "more": find.more,
        "sources": find.sources.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "took_us": find.took.as_micros() as u64,
    })
}
