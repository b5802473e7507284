//! What can be asked of a node: begin a download, pause, resume and cancel it, look at the share again, change the upload rate.
//!
//! By forms of the node's pages, which lead to a page, and by JSON, which is answered with JSON. All of it runs on a worker: a download's
//! record is a file.

use serde::Deserialize;

use super::{Inner, NodeSite, api, problem_of};
use crate::node::{DownloadRequest, JobError, JobId};
use crate::proto::http::{HeaderValue, Method, Request, parameters};
use crate::types::{Checksum, FileName};
use crate::web::answer::{Answer, Problem, Reply};

/// A download that is asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    name: String,
    #[serde(default)]
    checksum: Option<String>,
    #[serde(default)]
    verify_whole: bool,
    #[serde(default)]
    force: bool,
}

/// The rate that is asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Limits {
    /// Bytes per second; `null`: no limit.
    max_upload: Option<u64>,
}

/// What can be done to a download.
#[derive(Debug, Clone, Copy)]
enum Act {
    Pause,
    Resume,
    Cancel,
}

impl NodeSite {
    /// Carries out a request for a change.
    pub(super) fn change(&self, request: &Request) -> Reply {
        let is_api = request.path.starts_with("/api/");
        match self.try_change(request, is_api) {
            Ok(reply) => reply,
            Err(problem) if is_api => Reply::Now(problem.json()),
            Err(problem) => Reply::Now(self.inner.frame().problem(&problem)),
        }
    }

    fn try_change(&self, request: &Request, is_api: bool) -> Result<Reply, Problem> {
        let path = request.path.strip_prefix("/api/v1").unwrap_or(&request.path);
        if path == "/limits" && is_api {
            if request.method != Method::Put {
                return Err(Problem::method("GET, HEAD, PUT"));
            }
            let Limits { max_upload } = json(&request.body)?;
            self.inner.node.set_max_upload(max_upload);
            return Ok(Reply::Now(self.inner.limits()));
        }
        if request.method != Method::Post {
            return Err(Problem::method("GET, HEAD, POST"));
        }
        if path == "/downloads" {
            let wish = if is_api { json(&request.body)? } else { form(&request.body)? };
            let wanted = wanted(wish)?;
            return Ok(self.later(move |inner| shown(inner, inner.begin(wanted), is_api, 202)));
        }
        if path == "/updatelist" && is_api {
            return Ok(self.later(Inner::update_list));
        }
        let (id, act) = steered(path).ok_or_else(|| Problem::method("GET, HEAD"))?;
        Ok(self.later(move |inner| shown(inner, inner.steer(id, act), is_api, 200)))
    }
}

impl Inner {
    fn begin(&self, wanted: DownloadRequest) -> Result<JobId, Problem> {
        self.node.start_download(wanted).map_err(|error| refused(&error))
    }

    fn steer(&self, id: JobId, act: Act) -> Result<JobId, Problem> {
        let done = match act {
            Act::Pause => self.node.pause(id),
            Act::Resume => self.node.resume(id),
            Act::Cancel => self.node.cancel(id),
        };
        done.map(|()| id).map_err(|error| refused(&error))
    }

    fn update_list(&self) -> Answer {
        match self.node.update_list(&self.stop) {
            Ok(summary) => api::summary(&summary),
            Err(error) => problem_of(&error).json(),
        }
    }
}

/// What came of it, in the form of whoever asked.
fn shown(inner: &Inner, done: Result<JobId, Problem>, is_api: bool, status: u16) -> Answer {
    match done {
        Ok(id) if is_api => inner.job(id, status),
        Ok(_) => Answer::see_other(HeaderValue::from("/downloads")),
        Err(problem) if is_api => problem.json(),
        Err(problem) => inner.frame().problem(&problem),
    }
}

/// Number and wish in `/downloads/ID/pause`.
fn steered(path: &str) -> Option<(JobId, Act)> {
    let (id, act) = path.strip_prefix("/downloads/")?.split_once('/')?;
    let act = match act {
        "pause" => Act::Pause,
        "resume" => Act::Resume,
        "cancel" => Act::Cancel,
        _ => return None,
    };
    Some((job_id(id)?, act))
}

/// Digits and nothing else.
pub(super) fn job_id(text: &str) -> Option<JobId> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok().map(JobId))?
}

fn refused(error: &JobError) -> Problem {
    let (status, code) = match error {
        JobError::NoSuch(_) => (404, "not_found"),
        JobError::Ended(_) | JobError::Pausing(_) => (409, "conflict"),
        JobError::TooMany { .. } => (503, "busy"),
    };
    Problem::new(status, code, error.to_string(), "GET /api/v1/downloads lists them")
}

fn json<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Problem> {
    // Nesting is bounded by the parser, and a field that is given twice is refused.
    serde_json::from_slice(body)
        .map_err(|error| Problem::bad(error.to_string(), "/api/v1/openapi.json describes the body"))
}

fn form(body: &[u8]) -> Result<Wish, Problem> {
    let bad = |why: String| Problem::bad(why, "load the page again");
    let text = str::from_utf8(body).map_err(|error| bad(error.to_string()))?;
    let mut wish = Wish::default();
    for (name, value) in parameters(text).map_err(|error| bad(error.to_string()))? {
        match name.as_str() {
            "name" => wish.name = value,
            "checksum" => wish.checksum = Some(value),
            _ => {}
        }
    }
    Ok(wish)
}

fn wanted(wish: Wish) -> Result<DownloadRequest, Problem> {
    let name = FileName::new(&wish.name)
        .map_err(|error| Problem::bad(error.to_string(), "give the name of a file"))?;
    let checksum: Option<Checksum> = wish.checksum.map(|text| text.parse()).transpose().map_err(
        |error: crate::types::ChecksumError| Problem::bad(error.to_string(), "leave checksum out"),
    )?;
    Ok(DownloadRequest { name, checksum, verify_whole: wish.verify_whole, force: wish.force })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_read_strictly() {
        let wish =
            |body: &str| json::<Wish>(body.as_bytes()).and_then(wanted).map(|wanted| wanted.name.to_string());
        assert_eq!(wish(r#"{"name":"a","force":true}"#).map_err(|problem| problem.status), Ok("a".into()));
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
            assert_eq!(wish(body).map_err(|problem| problem.status), Err(400), "{body:.50}");
        }
    }

    #[test]
    fn a_download_is_steered_by_its_number() {
        for (path, id) in [
            ("/downloads/7/pause", Some(7)),
            ("/downloads/7/stop", None),
            ("/downloads//pause", None),
            ("/downloads/+7/pause", None),
            ("/downloads/7/pause/", None),
            ("/downloads/99999999999999999999/cancel", None),
        ] {
            assert_eq!(steered(path).map(|(id, _)| id.0), id, "{path}");
        }
    }
}
