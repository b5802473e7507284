//! Requests that change something: start, pause, resume or cancel a download, scan the share, request
//! replicas, change the upload rate.
//!
//! A form of a page gets a page as its answer; a JSON request gets JSON. A change of a download writes a
//! file, so the thread for changes makes it, not a front. A worker scans the share and requests replicas,
//! because that takes long.

use serde::Deserialize;
use serde_json::json;

use super::context::{NodeSite, NodeView, PAGES, problem_of};
use super::files;
use super::paths::{self, job_id};
use crate::node::{DownloadError, DownloadRequest, JobError, JobId, events};
use crate::proto::event::ErrorCode;
use crate::proto::http::{HeaderValue, Method, Request, parameters};
use crate::types::{Checksum, FileName, Query};
use crate::web::service::params;
use crate::web::service::response::{Answer, Problem, Reply, event_json};
use crate::web::view::metalink;

/// The status of a download that has only begun.
const ACCEPTED: u16 = 202;

/// The fields of a download request.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct DownloadForm {
    name: String,
    #[serde(default)]
    checksum: Option<String>,
    #[serde(default)]
    verify_whole: bool,
    #[serde(default)]
    force: bool,
}

/// The fields of a request for another upload rate.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LimitForm {
    /// `null`: no limit. The field is required, because an empty body is probably a mistake.
    #[serde(deserialize_with = "Option::deserialize")]
    max_upload_bytes_per_s: Option<u64>,
}

/// The fields of a replication request.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReplicationForm {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    hash: Option<String>,
    copies: u32,
}

/// An action on a download.
#[derive(Debug, Clone, Copy)]
enum JobAction {
    Pause,
    Resume,
    Cancel,
}

impl NodeSite {
    /// Handles a request that changes something.
    pub(super) fn change(&self, request: &Request) -> Reply {
        let is_api = request.path.starts_with("/api/");
        match self.try_change(request, is_api) {
            Ok(reply) => reply,
            Err(problem) if is_api => Reply::Now(problem.json()),
            Err(problem) => Reply::Now(self.view.frame().problem(&problem)),
        }
    }

    fn try_change(&self, request: &Request, is_api: bool) -> Result<Reply, Problem> {
        let path = request.path.strip_prefix("/api/v1").unwrap_or(&request.path);
        if path == "/limits" && is_api {
            if request.method != Method::Put {
                return Err(Problem::method_not_allowed("GET, HEAD, PUT"));
            }
            let LimitForm { max_upload_bytes_per_s } = from_json(&request.body)?;
            self.view.node.set_max_upload(max_upload_bytes_per_s);
            return Ok(Reply::Now(self.view.limits()));
        }
        let action = job_action(path);
        let is_change_path = path == "/downloads"
            || is_api && matches!(path, "/updatelist" | "/replicate")
            || action.is_some();
        if !is_change_path {
            return Err(if is_read_only(request) {
                Problem::method_not_allowed("GET, HEAD")
            } else {
                Problem::not_found("there is nothing at this path")
            });
        }
        if request.method != Method::Post {
            return Err(Problem::method_not_allowed(if path == "/downloads" {
                "GET, HEAD, POST"
            } else {
                "POST"
            }));
        }
        if path == "/downloads" {
            let form = if is_api { from_json(&request.body)? } else { from_form(&request.body)? };
            let download = download_request(form)?;
            return Ok(self
                .on_change_thread(move |view| change_answer(view, view.begin(download), is_api, ACCEPTED)));
        }
        if path == "/updatelist" && is_api {
            return Ok(self.on_worker(NodeView::update_list));
        }
        if path == "/replicate" {
            let ReplicationForm { name, hash, copies } = from_json(&request.body)?;
            let query = params::query(name.as_deref(), hash.as_deref())?;
            return Ok(self.on_worker(move |view| view.replicate(&query, copies)));
        }
        let (id, action) = action.ok_or_else(|| Problem::not_found("there is nothing at this path"))?;
        Ok(self.on_change_thread(move |view| change_answer(view, view.act(id, action), is_api, 200)))
    }
}

impl NodeView {
    fn begin(&self, download: DownloadRequest) -> Result<JobId, Problem> {
        self.node.start_download(download).map_err(|error| job_problem(&error))
    }

    fn act(&self, id: JobId, action: JobAction) -> Result<JobId, Problem> {
        let result = match action {
            JobAction::Pause => self.node.pause(id),
            JobAction::Resume => self.node.resume(id),
            JobAction::Cancel => self.node.cancel(id),
        };
        result.map(|()| id).map_err(|error| job_problem(&error))
    }

    fn update_list(&self) -> Answer {
        match self.node.update_list(&self.stop) {
            Ok(summary) => Answer::json(200, &event_json(&events::update_event(&summary), json!({}))),
            Err(error) => problem_of(&error).json(),
        }
    }

    fn replicate(&self, query: &Query, copies: u32) -> Answer {
        match self.node.replicate(query, copies, &self.stop) {
            Ok(report) => Answer::json(200, &event_json(&events::replication_event(&report), json!({}))),
            Err(DownloadError::Command(error)) => problem_of(&error).json(),
            Err(error) => {
                let (status, hint) = match &error {
                    DownloadError::NotFound(_) => (404, "GET /api/v1/find tells who has what"),
                    DownloadError::Ambiguous { .. } => (409, "choose one with hash=b3=HEX"),
                    _ => (503, "try again later"),
                };
                Problem::new(status, (&error).into(), error.to_string(), hint).json()
            }
        }
    }
}

/// Returns true if and only if the path of a change can only be read.
fn is_read_only(request: &Request) -> bool {
    let path = request.path.as_str();
    let is_page = PAGES.iter().any(|(page, _)| *page == path);
    let is_file = files::name_of(path).is_some() || metalink::name_of(path).is_some();
    is_page || is_file || paths::is_read_path(path) || matches!(path, "/metrics" | "/healthz" | "/readyz")
}

/// The answer to a change of a download: JSON or a page. `status` is for a success as JSON.
fn change_answer(view: &NodeView, result: Result<JobId, Problem>, is_api: bool, status: u16) -> Answer {
    match result {
        Ok(id) if is_api => {
            let path = HeaderValue::new(format!("/api/v1/downloads/{id}"));
            let answer = view.job(id, status);
            // A new download has a location. The value is always there: its path has only digits and words.
            if status == ACCEPTED { path.into_iter().fold(answer, Answer::with_location) } else { answer }
        }
        Ok(_) => Answer::see_other(HeaderValue::from("/downloads")),
        Err(problem) if is_api => problem.json(),
        Err(problem) => view.frame().problem(&problem),
    }
}

/// The job number and the action in a path such as `/downloads/7/pause`.
fn job_action(path: &str) -> Option<(JobId, JobAction)> {
    let (id, action) = path.strip_prefix("/downloads/")?.split_once('/')?;
    let action = match action {
        "pause" => JobAction::Pause,
        "resume" => JobAction::Resume,
        "cancel" => JobAction::Cancel,
        _ => return None,
    };
    Some((job_id(id)?, action))
}

fn job_problem(error: &JobError) -> Problem {
    let (status, code) = match error {
        JobError::NoSuch(_) => (404, ErrorCode::NotFound),
        JobError::Ended(_) | JobError::Pausing(_) => (409, ErrorCode::Usage),
        JobError::TooMany { .. } => (503, ErrorCode::Other),
    };
    Problem::new(status, code, error.to_string(), "GET /api/v1/downloads lists them")
}

fn from_json<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Problem> {
    // The parser bounds nesting and refuses a field that is given twice.
    serde_json::from_slice(body)
        .map_err(|error| Problem::bad_request(error.to_string(), "/api/v1/openapi.json describes the body"))
}

/// Reads the form of a page. Its other fields, such as the token of the form, are not for the download.
fn from_form(body: &[u8]) -> Result<DownloadForm, Problem> {
    let bad = |why: String| Problem::bad_request(why, "load the page again");
    let text = str::from_utf8(body).map_err(|error| bad(error.to_string()))?;
    let mut form = DownloadForm::default();
    for (name, value) in parameters(text).map_err(|error| bad(error.to_string()))? {
        match name.as_str() {
            "name" => form.name = value,
            "checksum" => form.checksum = Some(value),
            _ => {}
        }
    }
    Ok(form)
}

fn download_request(form: DownloadForm) -> Result<DownloadRequest, Problem> {
    let name = FileName::new(&form.name)
        .map_err(|error| Problem::bad_request(error.to_string(), "give the name of a file"))?;
    let checksum: Option<Checksum> = form.checksum.map(|text| text.parse()).transpose().map_err(
        |error: crate::types::ChecksumError| Problem::bad_request(error.to_string(), "leave checksum out"),
    )?;
    Ok(DownloadRequest { name, checksum, verify_whole: form.verify_whole, force: form.force })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn malformed_bodies_are_refused() {
        let form = |body: &str| {
            let request = from_json::<DownloadForm>(body.as_bytes()).and_then(download_request);
            request.map(|request| request.name.to_string())
        };
        assert_eq!(form(r#"{"name":"a","force":true}"#).map_err(|problem| problem.status), Ok("a".into()));
        let nested = format!("{{\"name\":{}", "[".repeat(30_000));
        for body in [
            "",
            "{}",
            "[]",
            "{\"name\":\"a\"} ,",
            r#"{"name":"../a"}"#,
            r#"{"name":"a","name":"b"}"#,
            r#"{"name":"a","other":1}"#,
            r#"{"name":"a","checksum":"sha1=00"}"#,
            r#"{"name":7}"#,
            &nested,
        ] {
            assert_eq!(form(body).map_err(|problem| problem.status), Err(400), "{body:.50}");
        }
    }

    #[test]
    fn a_path_gives_the_job_number_and_the_action() {
        for (path, id) in [
            ("/downloads/7/pause", Some(7)),
            ("/downloads/7/stop", None),
            ("/downloads//pause", None),
            ("/downloads/+7/pause", None),
            ("/downloads/7/pause/", None),
            ("/downloads/99999999999999999999/cancel", None),
        ] {
            assert_eq!(job_action(path).map(|(id, _)| id.0), id, "{path}");
        }
    }
}
