//! The node's interface for programs, under `/api/v1`; `docs/openapi.json` describes it.

use serde_json::{Value, json};

use super::context::{NodeSite, NodeView, problem_of};
use super::paths::{CHANGE_PATHS, READ_PATHS, job_id};
use crate::node::{Job, JobId, JobState, OwnFile, events};
use crate::proto::event::{ErrorCode, Event, rfc3339};
use crate::proto::http::Request;
use crate::rt::clock;
use crate::web::service::params::{self, NamePageRequest, RowPage, requested_query};
use crate::web::service::response::{Answer, Problem, Reply, TEXT, event_json};
use crate::web::view::peers::PeerRow;
use crate::web::view::sources::items;

/// Lists the paths of the interface without those of one download, and the other paths of the site.
pub(super) fn endpoints() -> Answer {
    let paths: Vec<String> =
        READ_PATHS.iter().chain(&CHANGE_PATHS).map(|path| format!("/api/v1/{path}")).collect();
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
        let NamePageRequest { prefix, after, names_max } = match params::names(request) {
            Ok(page) => page,
            Err(problem) => return problem.json(),
        };
        let (files, more) = self.shared_files.files(prefix, after.as_ref(), names_max);
        let next = files.last().filter(|_| more).map(|file| file.entry.name.as_str());
        let items: Vec<Value> = files.iter().map(file).collect();
        Answer::json(200, &json!({ "items": items, "next": next }))
    }

    pub(super) fn downloads(&self, request: &Request) -> Answer {
        let (jobs, next) = match params::row_page(request) {
            Ok(page) => page.of(self.node.jobs()),
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

    fn peers(&self, page: RowPage) -> Answer {
        match self.node.nodes(&self.stop) {
            Ok(nodes) => {
                let (nodes, next) = page.of(nodes);
                let items: Vec<Value> = nodes.iter().map(|node| PeerRow::of_node(node).json()).collect();
                Answer::json(200, &json!({ "items": items, "next": next }))
            }
            Err(error) => problem_of(&error).json(),
        }
    }

    /// 200 if peers can find the files of this node, else 503 with the reason.
    pub(super) fn readiness(&self) -> Answer {
        match self.shared_files.why_not_ready() {
            None => Answer::text(200, TEXT, "ok\n".into()),
            Some(why) => Answer::text(503, TEXT, format!("{why}\n")).with_retry_after(1),
        }
    }
}

impl NodeSite {
    pub(super) fn peers(&self, request: &Request) -> Reply {
        match params::row_page(request) {
            Ok(page) => self.on_worker(move |view| view.peers(page)),
            Err(problem) => Reply::Now(problem.json()),
        }
    }

    pub(super) fn find(&self, request: &Request) -> Reply {
        let query = match requested_query(request) {
            Ok(query) => query,
            Err(problem) => return Reply::Now(problem.json()),
        };
        self.on_worker(move |view| match view.find_contents(&query) {
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
    event_json(&events::file_event(file), json!({ "modified": rfc3339(file.entry.mtime_ns) }))
}

fn job(job: &Job) -> Value {
    let (figures, now) = (&job.progress, clock::now());
    let is_running = job.state == JobState::Running;
    let time_left = figures.time_left(now).filter(|_| is_running);
    let more = json!({
        "fetched_bytes": figures.fetched_bytes,
        "rate_bytes_per_s": figures.rate_bytes_per_s(now).filter(|_| is_running),
        "eta_ms": time_left.map(|time| time.as_millis() as u64),
        "sources": figures.sources(),
    });
    event_json(&events::job_event(job), more)
}
