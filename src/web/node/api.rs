//! The node's interface for programs, under `/api/v1`; `docs/openapi.json` describes it.

use serde_json::{Value, json};

use super::context::{NodeSite, NodeView, problem_of};
use super::paths::{DONE, SHOWN, job_id};
use crate::node::{Job, JobId, JobState, OwnFile, events};
use crate::proto::event::{ErrorCode, Event, rfc3339};
use crate::proto::http::Request;
use crate::rt::clock;
use crate::web::service::params::{self, NamePageRequest, wanted};
use crate::web::service::response::{Answer, Problem, Reply, TEXT, event_json};
use crate::web::view::peers;
use crate::web::view::sources::items;

/// Lists the paths of the interface.
pub(super) fn endpoints() -> Answer {
    let paths: Vec<String> = SHOWN.iter().chain(&DONE).map(|path| format!("/api/v1/{path}")).collect();
    let others = ["/files/NAME", "/metalink/NAME.meta4", "/metrics", "/healthz", "/readyz"];
    Answer::json(
        200,
        &json!({ "program": "node", "version": env!("CARGO_PKG_VERSION"), "api": paths, "other": others }),
    )
}

impl NodeView {
    pub(super) fn status(&self) -> Answer {
        let uptime = clock::now().saturating_duration_since(self.started);
        let started_ns = clock::wall_ns().saturating_sub(uptime.as_nanos() as i64);
        let uploads = self.node.upload_meter().now();
        let status = json!({
            "program": "node",
            "version": env!("CARGO_PKG_VERSION"),
            "node": self.node.id().to_string(),
            "addr": self.node.addr().to_string(),
            "started": rfc3339(started_ns),
            "uptime_ms": uptime.as_millis() as u64,
            "files": self.shared_files.len(),
            "load": self.shared_files.load(),
            "upload_peers": uploads.peers,
            "uploaded_bytes": uploads.sent_bytes,
        });
        Answer::json(200, &status)
    }

    pub(super) fn limits(&self) -> Answer {
        let max_upload_bytes_per_s = self.node.max_upload();
        Answer::json(200, &event_json(&Event::Limit { max_upload_bytes_per_s }, json!({})))
    }

    pub(super) fn load(&self) -> Answer {
        let load = Event::Load { addr: self.node.addr(), load: self.shared_files.load() };
        Answer::json(200, &event_json(&load, json!({})))
    }

    pub(super) fn files(&self, request: &Request) -> Answer {
        let NamePageRequest { prefix, after, max } = match params::names(request) {
            Ok(page) => page,
            Err(problem) => return problem.json(),
        };
        let (files, more) = self.shared_files.files(prefix, after.as_ref(), max);
        let next = files.last().filter(|_| more).map(|file| file.entry.name.as_str());
        let items: Vec<Value> = files.iter().map(file).collect();
        Answer::json(200, &json!({ "items": items, "next": next }))
    }

    pub(super) fn downloads(&self, request: &Request) -> Answer {
        let (jobs, next) = match params::slice(request) {
            Ok(slice) => params::page_of(self.node.jobs(), slice),
            Err(problem) => return problem.json(),
        };
        Answer::json(200, &json!({ "items": jobs.iter().map(job).collect::<Vec<_>>(), "next": next }))
    }

    /// The download at `/api/v1/downloads/ID`.
    pub(super) fn download(&self, path: &str) -> Answer {
        let id = path.strip_prefix("/api/v1/downloads/").and_then(job_id);
        id.map_or_else(|| Problem::not_found("there is no such download").json(), |id| self.job(id, 200))
    }

    /// The job with this number.
    pub(super) fn job(&self, id: JobId, status: u16) -> Answer {
        match self.node.jobs().iter().find(|job| job.id == id) {
            Some(found) => Answer::json(status, &job(found)),
            None => Problem::not_found("there is no such download").json(),
        }
    }

    /// The page `(skip, max)` of the nodes.
    fn peers(&self, slice: (usize, usize)) -> Answer {
        match self.node.nodes(&self.stop) {
            Ok(nodes) => {
                let (nodes, next) = params::page_of(nodes, slice);
                let items: Vec<Value> = nodes.iter().map(|node| peers::json((node, None))).collect();
                Answer::json(200, &json!({ "items": items, "next": next }))
            }
            Err(error) => problem_of(&error).json(),
        }
    }

    /// 200 when peers can find the files of this node.
    pub(super) fn readiness(&self) -> Answer {
        match self.shared_files.why_not_ready() {
            None => Answer::text(200, TEXT, "ok\n".into()),
            Some(why) => Answer::text(503, TEXT, format!("{why}\n")).retry_after(1),
        }
    }
}

impl NodeSite {
    pub(super) fn peers(&self, request: &Request) -> Reply {
        match params::slice(request) {
            Ok(slice) => self.later(move |view| view.peers(slice)),
            Err(problem) => Reply::Now(problem.json()),
        }
    }

    pub(super) fn find(&self, request: &Request) -> Reply {
        let query = match wanted(request) {
            Ok(query) => query,
            Err(problem) => return Reply::Now(problem.json()),
        };
        self.later(move |view| match view.found(&query) {
            Ok(contents) if contents.is_empty() => {
                Problem::new(404, ErrorCode::NotFound, "no node that answers has it", "try again later")
                    .json()
            }
            Ok(contents) => Answer::json(200, &json!({ "items": items(&contents), "next": null })),
            Err(problem) => problem.json(),
        })
    }
}

fn file(file: &OwnFile) -> Value {
    event_json(&events::file(file), json!({ "modified": rfc3339(file.entry.mtime_ns) }))
}

fn job(job: &Job) -> Value {
    let (figures, now) = (&job.progress, clock::now());
    let is_running = job.state == JobState::Running;
    let left = figures.time_left(now).filter(|_| is_running);
    let more = json!({
        "fetched_bytes": figures.fetched_bytes,
        "rate_bytes_per_s": figures.rate_bytes_per_s(now).filter(|_| is_running),
        "eta_ms": left.map(|left| left.as_millis() as u64),
        "sources": figures.sources(),
    });
    event_json(&events::job(job), more)
}
