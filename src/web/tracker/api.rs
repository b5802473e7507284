//! The tracker's interface for programs, under `/api/v1`; `docs/openapi.json` describes it.

use std::net::IpAddr;

use serde_json::{Value, json};

use super::{TrackerSite, http_of, skipped};
use crate::logic::history::SLOT;
use crate::proto::http::{Request, rfc3339};
use crate::rt::clock;
use crate::tracker::{KnownNode, RecentFind, Via};
use crate::types::{ContentPrefix, FileName, Md5Digest, Query, limits};
use crate::web::answer::{Answer, Problem};
use crate::web::sources::{FoundContent, query_of, text_of};

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
        let prefix = request.parameter("prefix").unwrap_or_default();
        let cursor =
            request.parameter("cursor").filter(|text| !text.is_empty()).map(FileName::new).transpose();
        let (after, max) = match (cursor, rows(request)) {
            (Ok(after), Ok(max)) => (after, max),
            (Err(error), _) => {
                return Problem::bad(error.to_string(), "give what the page before told as next").json();
            }
            (_, Err(problem)) => return problem.json(),
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

/// What `name` or `hash` asks for: an MD5 of 32 digits, a BLAKE3 of 64, or `md5=` or `b3=` and a digest.
pub(in crate::web) fn wanted(request: &Request) -> Result<Query, Problem> {
    let hint = "give name=NAME, hash=md5=HEX or hash=b3=HEX";
    match (request.parameter("name"), request.parameter("hash")) {
        (Some(name), None) => {
            FileName::new(name).map(Query::Name).map_err(|error| Problem::bad(error.to_string(), hint))
        }
        (None, Some(hash)) => {
            let plain = Md5Digest::from_hex(hash)
                .map(Query::Md5)
                .or_else(|| ContentPrefix::from_hex(hash).filter(|_| hash.len() == 64).map(Query::Content));
            let is_marked = hash.starts_with("md5=") || hash.starts_with("b3=");
            let marked = || if is_marked { query_of(hash).ok() } else { None };
            plain.or_else(marked).ok_or_else(|| Problem::bad("this is no digest", hint))
        }
        _ => Err(Problem::bad("give either a name or a hash", hint)),
    }
}

/// How many rows are asked for.
pub(in crate::web) fn rows(request: &Request) -> Result<usize, Problem> {
    match request.parameter("limit").filter(|text| !text.is_empty()).map(str::parse) {
        None => Ok(limits::HTTP_ROWS_MAX),
        Some(Ok(rows)) if (1..=limits::HTTP_ROWS_MAX).contains(&rows) => Ok(rows),
        Some(_) => Err(Problem::bad(
            format!("`limit` is not 1 to {}", limits::HTTP_ROWS_MAX),
            "leave it out for all that fit",
        )),
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
