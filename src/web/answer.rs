//! Answers: head and body, pages and JSON alike, and errors in the one shape that is documented.
//!
//! Invariant: every answer tells browsers to guess nothing, to load nothing from elsewhere and to show it in no frame.

use std::borrow::Cow;
use std::fs::File;
use std::ops::Range;
use std::sync::Arc;

use maud::Markup;
use serde::Serialize;
use serde_json::json;

use super::gate::Refusal;
use crate::proto::http::{Framing, Head, HeaderValue, HttpDate, Manner, RequestError};
use crate::rt::clock;

/// What pages may do: load from here, send forms to here.
const PAGE_POLICY: &str =
    "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'";
/// What a shared file may do where a browser shows it: nothing.
const FILE_POLICY: &str = "sandbox; default-src 'none'; frame-ancestors 'none'";

/// A whole answer in memory.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) head: Head,
    pub(super) body: Cow<'static, [u8]>,
}

/// What becomes of a request.
pub(super) enum Reply {
    Now(Answer),
    /// The connection becomes a stream of events.
    Events {
        /// Those told after this one, as far as they are kept; `None`: those from now on.
        after: Option<u64>,
    },
    /// Made by a worker, as it may take its time.
    Later(Box<dyn FnOnce() -> Answer + Send>),
    /// Sent by a front that may wait for a disk.
    File(Sending),
}

/// A range of a file, and who is to know how far it is.
pub(super) struct Sending {
    pub(super) head: Head,
    pub(super) file: Arc<File>,
    pub(super) range: Range<u64>,
    /// Told when the last byte was handed to the system; dropped when the sending is over, however it has ended.
    pub(super) transfer: Box<dyn Transfer>,
}

/// The sending of a file under way.
pub(super) trait Transfer: Send {
    /// Whether the file still is what was promised. If not, the answer stays short, which its receiver cannot miss.
    fn is_good(&self) -> bool;

    /// So many more `bytes` were handed to the system.
    fn sent(&mut self, bytes: u64);
}

/// An error as people and programs are told of it.
#[derive(Debug, Clone)]
pub(super) struct Problem {
    pub(super) status: u16,
    /// One word for programs.
    pub(super) code: &'static str,
    /// What is wrong.
    pub(super) message: String,
    /// What to do.
    pub(super) hint: Cow<'static, str>,
    /// The methods that are served, with status 405.
    allow: Option<&'static str>,
}

impl Problem {
    pub(super) fn new(
        status: u16,
        code: &'static str,
        message: impl Into<String>,
        hint: impl Into<Cow<'static, str>>,
    ) -> Problem {
        Problem { status, code, message: message.into(), hint: hint.into(), allow: None }
    }

    pub(super) fn not_found(what: &str) -> Problem {
        Problem::new(404, "not_found", what, "GET / lists what there is")
    }

    pub(super) fn method(allowed: &'static str) -> Problem {
        let why = "this is not served with that method";
        let problem = Problem::new(405, "method_not_allowed", why, format!("use {allowed}"));
        Problem { allow: Some(allowed), ..problem }
    }

    pub(super) fn busy() -> Problem {
        Problem::new(503, "busy", "there is more to do than can be done", "try again in a second")
    }

    pub(super) fn bad(message: impl Into<String>, hint: &'static str) -> Problem {
        Problem::new(400, "bad_request", message, hint)
    }

    pub(super) fn json(&self) -> Answer {
        let Problem { status, code, message, hint, allow } = self;
        let body = json!({ "error": { "code": code, "message": message, "hint": hint } });
        let mut answer = Answer::json(*status, &body);
        match status {
            401 => {
                let challenge = "Basic realm=\"nearpeer\", charset=\"UTF-8\"";
                answer.head = answer.head.with("WWW-Authenticate", challenge);
            }
            405 => answer.head = answer.head.with("Allow", allow.unwrap_or("GET, HEAD, POST, PUT, DELETE")),
            503 => answer.head = answer.head.with("Retry-After", 1),
            _ => {}
        }
        answer
    }
}

impl From<&RequestError> for Problem {
    fn from(error: &RequestError) -> Problem {
        let code = match error.status() {
            405 => "method_not_allowed",
            413 => "too_large",
            _ => "bad_request",
        };
        Problem::new(error.status(), code, error.to_string(), "nothing of it was carried out")
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Problem {
        match refusal {
            Refusal::Host => Problem::new(
                403,
                "host_not_allowed",
                "this server is not known under the host name of the request",
                "use its address, or start it with that name among its host names",
            ),
            Refusal::Token => Problem::new(
                401,
                "token_needed",
                "the token is missing or wrong",
                "send it as Authorization: Bearer, or as the password when asked",
            ),
            Refusal::TooManyTokens { retry_s } => Problem::new(
                429,
                "too_many_tokens",
                "too many wrong tokens came from this address",
                format!("try again in {retry_s} s"),
            ),
            Refusal::Origin => Problem::new(
                403,
                "foreign_origin",
                "a page of another site asked for this",
                "ask from a page of this server, or from a program",
            ),
            Refusal::Form => Problem::new(
                403,
                "bad_form",
                "a change is asked for by JSON or by a form of this server",
                "send Content-Type: application/json, or load the page again",
            ),
        }
    }
}

impl Answer {
    pub(super) fn page(status: u16, markup: Markup) -> Answer {
        let head = safe(status, PAGE_POLICY).with("Content-Type", "text/html; charset=utf-8");
        let head = head.with("Cache-Control", "no-store");
        Answer { head, body: markup.into_string().into_bytes().into() }
    }

    /// # Panics
    /// If `value` cannot be JSON, as a map with other keys than texts.
    pub(super) fn json(status: u16, value: &impl Serialize) -> Answer {
        let mut body = serde_json::to_vec(value).expect("what is shown has texts as keys");
        body.push(b'\n');
        let head = safe(status, PAGE_POLICY).with("Content-Type", "application/json");
        Answer { head: head.with("Cache-Control", "no-store"), body: body.into() }
    }

    pub(super) fn text(status: u16, kind: &'static str, body: String) -> Answer {
        let head = safe(status, PAGE_POLICY).with("Content-Type", kind).with("Cache-Control", "no-store");
        Answer { head, body: body.into_bytes().into() }
    }

    /// A text compiled in, which a browser may keep for as long as its `etag` stays.
    pub(super) fn asset(kind: &'static str, body: &'static str, etag: HeaderValue) -> Answer {
        let head = safe(200, PAGE_POLICY).with("Content-Type", kind).with("ETag", etag);
        let head = head.with("Cache-Control", "max-age=60");
        Answer { head, body: body.as_bytes().into() }
    }

    /// What a form leads to. `to` is a path of ours, escaped.
    pub(super) fn see_other(to: HeaderValue) -> Answer {
        Answer { head: safe(303, PAGE_POLICY).with("Location", to), body: Cow::Borrowed(b"") }
    }

    /// The bytes to send.
    pub(super) fn write(&self, manner: Manner) -> Vec<u8> {
        let framing = Framing::Length(self.body.len() as u64);
        let mut bytes = self.head.write(manner, framing, now());
        // 304 never has a body.
        if !manner.is_head && self.head.status() != 304 {
            bytes.extend_from_slice(&self.body);
        }
        bytes
    }
}

/// The head of a shared file.
pub(super) fn file_head(status: u16) -> Head {
    safe(status, FILE_POLICY)
}

/// The head of a stream of events.
pub(super) fn stream_head() -> Head {
    safe(200, PAGE_POLICY).with("Content-Type", "text/event-stream").with("Cache-Control", "no-store")
}

fn safe(status: u16, policy: &'static str) -> Head {
    Head::new(status)
        .with("Content-Security-Policy", policy)
        .with("X-Content-Type-Options", "nosniff")
        // With `no-referrer` a browser would say that our own forms come from nowhere: `Origin: null`.
        .with("Referrer-Policy", "same-origin")
        .with("Cross-Origin-Resource-Policy", "same-origin")
}

pub(super) fn now() -> HttpDate {
    HttpDate::from_ns(clock::wall_ns())
}
