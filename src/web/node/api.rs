//! The node's interface for programs, under `/api/v1`; `docs/openapi.json` describes it.

use serde_json::{Value, json};

use super::downloads::job_id;
use super::{Inner, NodeSite, problem_of};
use crate::node::{Job, JobId, JobState, Origin, ScanSummary};
use crate::proto::http::{Request, rfc3339};
use crate::rt::clock;
use crate::types::{FileEntry, NodeSummary};
use crate::web::answer::{Answer, Problem, Reply};
use crate::web::asked::{self, NamesAsked, wanted};
use crate::web::sources::{FoundContent, http_of};

/// What there is, for a program that asks at the door.
pub(super) fn endpoints() -> Answer {
    let paths = [
        "status",
        "load",
        "limits",
        "files",
        "find",
        "peers",
        "downloads",
        "stats",
        "updatelist",
        "events",
        "openapi.json",
    ];
    let paths: Vec<String> = paths.iter().map(|path| format!("/api/v1/{path}")).collect();
    let others = ["/files/NAME", "/metalink/NAME.meta4", "/metrics", "/healthz", "/readyz"];
    Answer::json(
        200,
        &json!({ "program": "node", "version": env!("CARGO_PKG_VERSION"), "api": paths, "other": others }),
    )
}

impl Inner {
    pub(super) fn status(&self) -> Answer {
        let uptime = clock::now().saturating_duration_since(self.started);
        let started_ns = clock::wall_ns().saturating_sub(uptime.as_nanos() as i64);
        let uploads = self.node.upload_meter().now();
        let status = json!({
            "program": "node",
            "version": env!("CARGO_PKG_VERSION"),
            "node": self.node.id().to_string(),
            "address": self.node.addr().to_string(),
            "started": rfc3339(started_ns),
            "uptime_ms": uptime.as_millis() as u64,
            "files": self.shelf.len(),
            "load": self.shelf.load(),
            "upload_peers": uploads.peers,
            "sent_bytes": uploads.sent_bytes,
        });
        Answer::json(200, &status)
    }

    pub(super) fn limits(&self) -> Answer {
        Answer::json(200, &json!({ "max_upload": self.node.max_upload() }))
    }

    pub(super) fn files(&self, request: &Request) -> Answer {
        let NamesAsked { prefix, after, max } = match asked::names(request) {
            Ok(asked) => asked,
            Err(problem) => return problem.json(),
        };
        let (entries, more) = self.shelf.entries(prefix, after.as_ref(), max);
        let next = entries.last().filter(|_| more).map(|entry| entry.name.as_str());
        let items: Vec<Value> = entries.iter().map(|entry| file(entry)).collect();
        Answer::json(200, &json!({ "items": items, "next": next }))
    }

    pub(super) fn downloads(&self) -> Answer {
        let items: Vec<Value> = self.node.jobs().iter().map(job).collect();
        Answer::json(200, &json!({ "items": items, "next": null }))
    }

    /// The download at `/api/v1/downloads/ID`.
    pub(super) fn download(&self, path: &str) -> Answer {
        let id = path.strip_prefix("/api/v1/downloads/").and_then(job_id);
        id.map_or_else(|| Problem::not_found("there is no such download").json(), |id| self.job(id, 200))
    }

    /// The download with this number, as it stands.
    pub(super) fn job(&self, id: JobId, status: u16) -> Answer {
        match self.node.jobs().iter().find(|job| job.id == id) {
            Some(found) => Answer::json(status, &job(found)),
            None => Problem::not_found("there is no such download").json(),
        }
    }

    pub(super) fn peers(&self) -> Answer {
        match self.node.nodes(&self.stop) {
            Ok(nodes) => Answer::json(
                200,
                &json!({ "items": nodes.iter().map(peer).collect::<Vec<_>>(), "next": null }),
            ),
            Err(error) => problem_of(&error).json(),
        }
    }
}

impl NodeSite {
    pub(super) fn find(&self, request: &Request) -> Reply {
        let query = match wanted(request) {
            Ok(query) => query,
            Err(problem) => return Reply::Now(problem.json()),
        };
        self.later(move |inner| match inner.found(&query) {
            Ok(contents) if contents.is_empty() => {
                Problem::new(404, "not_found", "no node that answers has it", "try again later").json()
            }
            Ok(contents) => {
                let items: Vec<Value> = contents.iter().map(FoundContent::json).collect();
                Answer::json(200, &json!({ "items": items, "next": null }))
            }
            Err(problem) => problem.json(),
        })
    }
}

/// What a look at the share has changed.
pub(super) fn summary(summary: &ScanSummary) -> Answer {
    let ScanSummary { files, added, removed, changed } = summary;
    Answer::json(200, &json!({ "files": files, "added": added, "removed": removed, "changed": changed }))
}

fn file(entry: &FileEntry) -> Value {
    json!({
        "name": entry.name.as_str(),
        "size": entry.size_bytes,
        "b3": entry.content.to_string(),
        "md5": entry.md5.to_string(),
        "modified": rfc3339(entry.mtime_ns),
    })
}

fn job(job: &Job) -> Value {
    let Job { id, request, origin, state, figures } = job;
    let now = clock::now();
    let is_running = *state == JobState::Running;
    let rate = figures.rate_bytes_per_s(now).filter(|_| is_running);
    let left = figures.time_left(now).filter(|_| is_running);
    json!({
        "id": id.0,
        "name": request.name.as_str(),
        "state": state.as_str(),
        "origin": match origin { Origin::Asked => "asked", Origin::Background => "background", Origin::Unasked => "unasked" },
        "done_bytes": figures.done_bytes,
        "total_bytes": figures.total_bytes,
        "fetched_bytes": figures.fetched_bytes,
        "rate": rate,
        "left_ms": left.map(|left| left.as_millis() as u64),
        "sources": figures.sources(),
        "error": match state { JobState::Failed(error) => Some(error.to_string()), _ => None },
    })
}

fn peer(summary: &NodeSummary) -> Value {
    json!({
        "node": summary.node.to_string(),
        "address": summary.endpoint.to_string(),
        "http": http_of(summary).map(|http| format!("http://{http}/")),
        "state": summary.liveness.to_string(),
        "files": summary.files,
        "load": summary.load,
    })
}
