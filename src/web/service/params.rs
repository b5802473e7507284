//! Reads the parameters of a request, in the same way on trackers and nodes: a query, a page of names, a page
//! of rows, the start of a stream.
//!
//! A page is a part of a list: a client requests the next page with the cursor of the last one. A parameter
//! that is not valid is an error, never a guess.

use super::response::{Problem, Reply};
use crate::proto::http::Request;
use crate::types::{Checksum, ChecksumError, ContentPrefix, FileName, Md5Digest, Query, limits};

/// The query in the parameters `name` or `hash`.
pub(crate) fn requested_query(request: &Request) -> Result<Query, Problem> {
    query(request.parameter("name"), request.parameter("hash"))
}

/// The query for a name or a digest. Exactly one of them must be given.
pub(crate) fn query(name: Option<&str>, hash: Option<&str>) -> Result<Query, Problem> {
    let hint = "give name=NAME, hash=md5=HEX or hash=b3=HEX";
    match (name, hash) {
        (Some(name), None) => FileName::new(name)
            .map(Query::Name)
            .map_err(|error| Problem::bad_request(error.to_string(), hint)),
        (None, Some(hash)) => digest(hash).map(Query::from),
        _ => Err(Problem::bad_request("give either a name or a hash", hint)),
    }
}

/// Reads an MD5 of 32 digits, a BLAKE3 of 64, or `md5=` or `b3=` with a digest.
pub(crate) fn digest(text: &str) -> Result<Checksum, Problem> {
    let b3 = || ContentPrefix::from_hex(text).filter(|_| text.len() == 64).map(Checksum::Content);
    let plain = Md5Digest::from_hex(text).map(Checksum::Md5).or_else(b3);
    plain.map_or_else(|| text.parse(), Ok).map_err(|error: ChecksumError| {
        Problem::bad_request(error.to_string(), "give md5=HEX or b3=HEX, or all digits of one")
    })
}

/// One page of a list.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RowPage {
    /// How many rows of the list come before the page.
    pub(crate) skip: usize,
    pub(crate) rows_max: usize,
}

impl RowPage {
    /// This page of `items`, and the cursor of the next page.
    pub(crate) fn of<T>(self, items: Vec<T>) -> (Vec<T>, Option<String>) {
        let RowPage { skip, rows_max } = self;
        let next = (items.len() > skip.saturating_add(rows_max)).then(|| (skip + rows_max).to_string());
        (items.into_iter().skip(skip).take(rows_max).collect(), next)
    }
}

/// Reads `cursor` and `limit`.
pub(crate) fn row_page(request: &Request) -> Result<RowPage, Problem> {
    Ok(RowPage { skip: rows_to_skip(request, "cursor")?, rows_max: rows_max(request)? })
}

/// Reads `limit`, the maximum number of rows.
fn rows_max(request: &Request) -> Result<usize, Problem> {
    match request.parameter("limit").filter(|text| !text.is_empty()).map(str::parse) {
        None => Ok(limits::HTTP_ROWS_MAX),
        Some(Ok(rows)) if (1..=limits::HTTP_ROWS_MAX).contains(&rows) => Ok(rows),
        Some(_) => Err(Problem::bad_request(
            format!("`limit` is not 1 to {}", limits::HTTP_ROWS_MAX),
            "leave it out for the maximum number of rows",
        )),
    }
}

/// A page of a list of names.
#[derive(Debug)]
pub(crate) struct NamePageRequest<'a> {
    pub(crate) prefix: &'a str,
    /// The last name of the previous page.
    pub(crate) after: Option<FileName>,
    pub(crate) names_max: usize,
}

/// Reads `prefix`, `cursor` and `limit`.
pub(crate) fn names(request: &Request) -> Result<NamePageRequest<'_>, Problem> {
    let prefix = request.parameter("prefix").unwrap_or_default();
    let cursor = request.parameter("cursor").filter(|text| !text.is_empty()).map(FileName::new).transpose();
    let after = cursor
        .map_err(|error| Problem::bad_request(error.to_string(), "give the `next` of the page before"))?;
    Ok(NamePageRequest { prefix, after, names_max: rows_max(request)? })
}

/// A stream of events: after the event that `Last-Event-ID` or `after` names, else from now on.
pub(crate) fn events(request: &Request) -> Reply {
    let id = request.header("last-event-id").or_else(|| request.parameter("after"));
    match id.map(str::parse).transpose() {
        Ok(after) => Reply::Events { after },
        Err(_) => Reply::Now(
            Problem::bad_request(
                "this is not the id of an event",
                "give the `id` of the last event that you have",
            )
            .json(),
        ),
    }
}

/// Reads how many rows to skip. No list is longer than the list of nodes can be.
pub(crate) fn rows_to_skip(request: &Request, parameter: &str) -> Result<usize, Problem> {
    let Some(text) = request.parameter(parameter).filter(|text| !text.is_empty()) else { return Ok(0) };
    let bad = || {
        Problem::bad_request(
            format!("`{parameter}` is not a number of rows"),
            "give the `next` of the page before",
        )
    };
    text.parse()
        .map_err(|_| bad())
        .and_then(|skip| if skip <= limits::NODES_MAX { Ok(skip) } else { Err(bad()) })
}
