//! What the parameters of a request ask for, alike on trackers and nodes: a content, a page of names, a number of rows.
//!
//! What does not fit is a problem that names it; nothing is guessed.

use super::answer::{Problem, Reply};
use super::sources::query_of;
use crate::proto::http::Request;
use crate::types::{ContentPrefix, FileName, Md5Digest, Query, limits};

/// What `name` or `hash` asks for: an MD5 of 32 digits, a BLAKE3 of 64, or `md5=` or `b3=` and a digest.
pub(super) fn wanted(request: &Request) -> Result<Query, Problem> {
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
pub(super) fn rows(request: &Request) -> Result<usize, Problem> {
    match request.parameter("limit").filter(|text| !text.is_empty()).map(str::parse) {
        None => Ok(limits::HTTP_ROWS_MAX),
        Some(Ok(rows)) if (1..=limits::HTTP_ROWS_MAX).contains(&rows) => Ok(rows),
        Some(_) => Err(Problem::bad(
            format!("`limit` is not 1 to {}", limits::HTTP_ROWS_MAX),
            "leave it out for all that fit",
        )),
    }
}

/// Which names of a list are asked for.
#[derive(Debug)]
pub(super) struct NamesAsked<'a> {
    pub(super) prefix: &'a str,
    /// The last name of the page before.
    pub(super) after: Option<FileName>,
    pub(super) max: usize,
}

/// What `prefix`, `cursor` and `limit` ask for.
pub(super) fn names(request: &Request) -> Result<NamesAsked<'_>, Problem> {
    let prefix = request.parameter("prefix").unwrap_or_default();
    let cursor = request.parameter("cursor").filter(|text| !text.is_empty()).map(FileName::new).transpose();
    let after =
        cursor.map_err(|error| Problem::bad(error.to_string(), "give what the page before told as next"))?;
    Ok(NamesAsked { prefix, after, max: rows(request)? })
}

/// A stream of events: after the one that a browser or `after` names, else from now on.
pub(super) fn events(request: &Request) -> Reply {
    let number = request.header("last-event-id").or_else(|| request.parameter("after"));
    match number.map(str::parse).transpose() {
        Ok(after) => Reply::Events { after },
        Err(_) => Reply::Now(
            Problem::bad("this is no number of an event", "give the `id` of the last event that you have")
                .json(),
        ),
    }
}

/// How many rows come before the first one asked for.
pub(super) fn skipped(request: &Request, parameter: &str) -> Result<usize, Problem> {
    let Some(text) = request.parameter(parameter).filter(|text| !text.is_empty()) else { return Ok(0) };
    let bad = || {
        Problem::bad(
            format!("`{parameter}` is not a number of rows"),
            "give what the page before told as next",
        )
    };
    text.parse()
        .map_err(|_| bad())
        .and_then(|skip| if skip <= limits::NODES_MAX { Ok(skip) } else { Err(bad()) })
}
