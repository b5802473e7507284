//! Answers: the head and the body of pages, JSON and texts. Errors have one documented shape.
//!
//! Invariant: every answer forbids browsers to guess types, to load anything from other sites, and to show
//! the answer in a frame.

use std::borrow::Cow;
use std::fs::File;
use std::ops::Range;
use std::sync::Arc;

use maud::Markup;
use serde::Serialize;
use serde_json::{Value, json};

use super::access::Refusal;
use super::event_id::EventId;
use crate::proto::event::{ErrorCode, Event};
use crate::proto::http::{Framing, Head, HeaderValue, HttpDate, Manner, RequestError};
use crate::rt::clock;

/// The content policy of pages: they load from this server and send forms to it.
const PAGE_POLICY: &str =
    "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'";
/// The content policy of shared files: a browser must not run anything in them.
const FILE_POLICY: &str = "sandbox; default-src 'none'; frame-ancestors 'none'";

/// The media type of short texts.
pub(crate) const TEXT: &str = "text/plain; charset=utf-8";

/// A complete answer in memory.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) head: Head,
    pub(crate) body: Cow<'static, [u8]>,
}

/// How the server answers a request.
pub(crate) enum Reply {
    /// The front has the answer.
    Now(Answer),
    /// The connection becomes a stream of events.
    Events {
        /// The stream begins after this event, if the server still keeps the next one. `None`: the stream
        /// begins now.
        after: Option<EventId>,
    },
    /// A worker makes the answer, because that asks peers or takes time.
    OnWorker(Box<dyn FnOnce() -> Answer + Send>),
    /// The thread for changes makes the answer. This may write a file, but never asks peers.
    OnChangeThread(Box<dyn FnOnce() -> Answer + Send>),
    /// A file front sends the answer. This may wait for a disk.
    File(FileReply),
}

/// An answer with a range of a file.
pub(crate) struct FileReply {
    pub(crate) head: Head,
    pub(crate) file: Arc<File>,
    pub(crate) range: Range<u64>,
    /// Dropped when the transfer ends, whether it succeeds or not.
    pub(crate) transfer: Box<dyn ResponseBody>,
}

/// A file that is sent as the body of an answer.
pub(crate) trait ResponseBody: Send {
    /// Returns true if and only if the file is unchanged. If it has changed, the answer ends too early, which
    /// the client notices.
    fn is_unchanged(&self) -> bool;

    /// Records that the front has given so many further bytes to the system.
    fn record_sent(&mut self, bytes: u64);
}

/// An error for people and programs.
#[derive(Debug, Clone)]
pub(crate) struct Problem {
    pub(crate) status: u16,
    /// One word that programs can compare.
    pub(crate) code: ErrorCode,
    /// What is wrong, for people.
    pub(crate) message: String,
    /// What the user can do.
    pub(crate) hint: Cow<'static, str>,
    /// The allowed methods, with status 405.
    allow: Option<&'static str>,
    /// When the client may try again.
    retry_s: Option<u64>,
}

impl Problem {
    pub(crate) fn new(
        status: u16,
        code: ErrorCode,
        message: impl Into<String>,
        hint: impl Into<Cow<'static, str>>,
    ) -> Problem {
        let retry_s = (status == 503).then_some(1);
        Problem { status, code, message: message.into(), hint: hint.into(), allow: None, retry_s }
    }

    pub(crate) fn not_found(what: &str) -> Problem {
        Problem::new(404, ErrorCode::NotFound, what, "GET / lists what there is")
    }

    pub(crate) fn method_not_allowed(allowed: &'static str) -> Problem {
        let why = "this is not served with that method";
        let problem = Problem::new(405, ErrorCode::Usage, why, format!("use {allowed}"));
        Problem { allow: Some(allowed), ..problem }
    }

    pub(crate) fn busy() -> Problem {
        Problem::new(503, ErrorCode::Other, "there is more to do than can be done", "try again in a second")
    }

    pub(crate) fn bad_request(message: impl Into<String>, hint: &'static str) -> Problem {
        Problem::new(400, ErrorCode::Usage, message, hint)
    }

    pub(crate) fn json(&self) -> Answer {
        let Problem { status, code, message, hint, allow, retry_s } = self;
        let body = event_json(&Event::error(message.as_str(), *code), json!({ "hint": hint }));
        let mut answer = Answer::json(*status, &body);
        match status {
            401 => {
                let challenge = "Basic realm=\"nearpeer\", charset=\"UTF-8\"";
                answer.head = answer.head.with("WWW-Authenticate", challenge);
            }
            405 => answer.head = answer.head.with("Allow", allow.unwrap_or("GET, HEAD, POST, PUT, DELETE")),
            _ => {}
        }
        match retry_s {
            Some(retry_s) => answer.with_retry_after(*retry_s),
            None => answer,
        }
    }
}

impl From<&RequestError> for Problem {
    fn from(error: &RequestError) -> Problem {
        Problem::new(error.status(), ErrorCode::Usage, error.to_string(), "nothing of it was carried out")
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Problem {
        match refusal {
            Refusal::Host => Problem::new(
                403,
                ErrorCode::Usage,
                "this server is not known under the host name of the request",
                "use its address, or start it with that name among its host names",
            ),
            Refusal::Token => Problem::new(
                401,
                ErrorCode::Usage,
                "the token is missing or wrong",
                "send it as Authorization: Bearer, or as the password when asked",
            ),
            Refusal::TooManyTokens { retry_s } => {
                let message = "too many wrong tokens came from this address";
                let problem =
                    Problem::new(429, ErrorCode::Usage, message, format!("try again in {retry_s} s"));
                Problem { retry_s: Some(retry_s), ..problem }
            }
            Refusal::Origin => Problem::new(
                403,
                ErrorCode::Usage,
                "a page of another site asked for this",
                "ask from a page of this server, or from a program",
            ),
            Refusal::Form => Problem::new(
                403,
                ErrorCode::Usage,
                "a change is asked for by JSON or by a form of this server",
                "send Content-Type: application/json, or load the page again",
            ),
        }
    }
}

/// An event as a JSON object, with further fields of an answer. So answers and events have the same fields.
///
/// # Panics
/// If `more` is not an object.
pub(crate) fn event_json(event: &Event, more: Value) -> Value {
    let mut value = serde_json::to_value(event).expect("keys are strings and numbers finite");
    let (Value::Object(fields), Value::Object(more)) = (&mut value, more) else {
        panic!("an event is an object, and so is what comes with it");
    };
    fields.extend(more);
    value
}

impl Answer {
    pub(crate) fn page(status: u16, markup: Markup) -> Answer {
        let head = secure_head(status, PAGE_POLICY).with("Content-Type", "text/html; charset=utf-8");
        let head = head.with("Cache-Control", "no-store");
        Answer { head, body: markup.into_string().into_bytes().into() }
    }

    /// # Panics
    /// If `value` cannot be JSON, as a map with other keys than texts.
    pub(crate) fn json(status: u16, value: &impl Serialize) -> Answer {
        let mut body = serde_json::to_vec(value).expect("what is shown has texts as keys");
        body.push(b'\n');
        let head = secure_head(status, PAGE_POLICY).with("Content-Type", "application/json");
        Answer { head: head.with("Cache-Control", "no-store"), body: body.into() }
    }

    pub(crate) fn text(status: u16, kind: &'static str, body: String) -> Answer {
        let head =
            secure_head(status, PAGE_POLICY).with("Content-Type", kind).with("Cache-Control", "no-store");
        Answer { head, body: body.into_bytes().into() }
    }

    /// A text that is compiled in. A browser may keep it while its `etag` stays the same.
    pub(crate) fn asset(kind: &'static str, body: &'static str, etag: HeaderValue) -> Answer {
        let head = secure_head(200, PAGE_POLICY).with("Content-Type", kind).with("ETag", etag);
        let head = head.with("Cache-Control", "max-age=60");
        Answer { head, body: body.as_bytes().into() }
    }

    /// Adds the number of seconds after which the client may try again.
    pub(crate) fn with_retry_after(mut self, seconds: u64) -> Answer {
        self.head = self.head.with("Retry-After", seconds);
        self
    }

    /// Adds the location of a resource that the request has created.
    pub(crate) fn with_location(mut self, path: HeaderValue) -> Answer {
        self.head = self.head.with("Location", path);
        self
    }

    /// The redirect after a form. `to` is an escaped path of this server.
    pub(crate) fn see_other(to: HeaderValue) -> Answer {
        Answer { head: secure_head(303, PAGE_POLICY).with("Location", to), body: Cow::Borrowed(b"") }
    }

    /// The bytes of the answer. The answer to a HEAD request has no body.
    pub(crate) fn write(&self, manner: Manner) -> Vec<u8> {
        let framing = Framing::Length(self.body.len() as u64);
        let mut bytes = self.head.write(manner, framing, date_now());
        // 304 never has a body.
        if !manner.is_head && self.head.status() != 304 {
            bytes.extend_from_slice(&self.body);
        }
        bytes
    }
}

/// The head of an answer with a shared file.
pub(crate) fn file_head(status: u16) -> Head {
    secure_head(status, FILE_POLICY)
}

/// The head of a stream of events.
pub(crate) fn stream_head() -> Head {
    secure_head(200, PAGE_POLICY).with("Content-Type", "text/event-stream").with("Cache-Control", "no-store")
}

/// A head that keeps the invariant of this module.
fn secure_head(status: u16, policy: &'static str) -> Head {
    Head::new(status)
        .with("Content-Security-Policy", policy)
        .with("X-Content-Type-Options", "nosniff")
        // With `no-referrer` a browser would send `Origin: null` with the forms of this server.
        .with("Referrer-Policy", "same-origin")
        .with("Cross-Origin-Resource-Policy", "same-origin")
}

/// The value of the `Date` of an answer that is written now.
pub(crate) fn date_now() -> HttpDate {
    HttpDate::from_ns(clock::wall_ns())
}
