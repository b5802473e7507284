//! Selects the answer to a request for a representation, such as a file: first by the conditions of the
//! request, then by its range (RFC 9110, sections 13.2.2 and 14.2).

use std::ops::Range;

use super::date::HttpDate;
use super::request::{Method, Request};

/// What distinguishes a representation from an older one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Validators {
    /// The entity tag: a strong one, with its quotes.
    pub etag: String,
    /// When the content changed last, if known.
    pub modified: Option<HttpDate>,
}

/// The answer to a request for a representation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// 200: all of it.
    Whole,
    /// 206: these bytes, at least one.
    Part(Range<u64>),
    /// 304: the client has it already.
    NotModified,
    /// 412: it is not the one that the client expects.
    PreconditionFailed,
    /// 416: it has none of the requested bytes.
    Unsatisfiable,
}

/// The answer to `request`, a `GET` or `HEAD` for a representation of `size_bytes`. Several ranges, or a text
/// that is not a range, get the whole. So does an `If-Range` with a date: a date can be equal although the
/// content has changed.
pub fn select(request: &Request, size_bytes: u64, validators: &Validators) -> Selection {
    let Validators { etag, modified } = validators;
    let date = |name: &str| request.header(name).and_then(HttpDate::parse);
    if request.list("if-match").next().is_some() {
        if !request.list("if-match").any(|tag| tag == "*" || tag == etag) {
            return Selection::PreconditionFailed;
        }
    } else if let (Some(since), Some(modified)) = (date("if-unmodified-since"), modified)
        && *modified > since
    {
        return Selection::PreconditionFailed;
    }
    if request.list("if-none-match").next().is_some() {
        // Here a weak tag counts as equal too (RFC 9110, section 13.1.2).
        let matches = |tag: &str| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag;
        if request.list("if-none-match").any(matches) {
            return Selection::NotModified;
        }
    } else if let (Some(since), Some(modified)) = (date("if-modified-since"), modified)
        && *modified <= since
    {
        return Selection::NotModified;
    }
    match request.header("range") {
        // A range has a meaning for `GET` only.
        Some(range)
            if request.method == Method::Get && request.header("if-range").is_none_or(|tag| tag == etag) =>
        {
            select_range(range, size_bytes)
        }
        _ => Selection::Whole,
    }
}

/// The answer to a header `Range`.
fn select_range(range: &str, size_bytes: u64) -> Selection {
    let Some(spec) = range.strip_prefix("bytes=").map(str::trim) else { return Selection::Whole };
    let Some((first, last)) = spec.split_once('-') else { return Selection::Whole };
    let (Some(first), Some(last)) = (position(first), position(last)) else { return Selection::Whole };
    let range = match (first, last) {
        (None, None) => return Selection::Whole,
        (Some(first), Some(last)) if first > last => return Selection::Whole,
        (Some(first), last) => first..last.map_or(size_bytes, |last| last.saturating_add(1).min(size_bytes)),
        (None, Some(suffix)) => size_bytes.saturating_sub(suffix)..size_bytes,
    };
    if range.is_empty() { Selection::Unsatisfiable } else { Selection::Part(range) }
}

/// A position in a range. `Some(None)`: there are no digits; `None`: it is not a number. A number that does
/// not fit 64 bits becomes the largest one, which is beyond the end of each file.
fn position(digits: &str) -> Option<Option<u64>> {
    if digits.is_empty() {
        return Some(None);
    }
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| Some(digits.parse().unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::http::RequestDecoder;
    use proptest::prelude::*;

    const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
    const MODIFIED: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

    fn selected(line: &str, headers: &str, size_bytes: u64) -> Selection {
        let mut decoder = RequestDecoder::new();
        decoder.push(format!("{line} / HTTP/1.1\r\nHost: a\r\n{headers}\r\n\r\n").as_bytes());
        let request = decoder.next().expect("a request").expect("complete");
        let validators = Validators { etag: "\"tag\"".into(), modified: HttpDate::parse(MODIFIED) };
        select(request, size_bytes, &validators)
    }

    #[test]
    fn one_range_gets_a_part_and_any_other_text_the_whole() {
        for (range, size_bytes, expected) in [
            ("bytes=0-0", 10, Selection::Part(0..1)),
            ("bytes=2-5", 10, Selection::Part(2..6)),
            ("bytes=2-", 10, Selection::Part(2..10)),
            ("bytes=2-99", 10, Selection::Part(2..10)),
            ("bytes=9-18446744073709551615", 10, Selection::Part(9..10)),
            ("bytes=9-99999999999999999999999", 10, Selection::Part(9..10)),
            ("bytes=-3", 10, Selection::Part(7..10)),
            ("bytes=-99", 10, Selection::Part(0..10)),
            ("bytes=10-", 10, Selection::Unsatisfiable),
            ("bytes=99999999999999999999999-", 10, Selection::Unsatisfiable),
            ("bytes=-0", 10, Selection::Unsatisfiable),
            ("bytes=0-", 0, Selection::Unsatisfiable),
            ("bytes=-1", 0, Selection::Unsatisfiable),
            ("bytes=5-2", 10, Selection::Whole),
            ("bytes=0-1,3-4", 10, Selection::Whole),
            ("bytes=-", 10, Selection::Whole),
            ("bytes=+1-2", 10, Selection::Whole),
            ("bytes=1", 10, Selection::Whole),
            ("lines=1-2", 10, Selection::Whole),
        ] {
            assert_eq!(selected("GET", &format!("Range: {range}"), size_bytes), expected, "{range}");
        }
        assert_eq!(selected("HEAD", "Range: bytes=0-1", 10), Selection::Whole);
    }

    #[test]
    fn conditions_are_checked_before_the_range_and_tags_before_dates() {
        let not_modified = Selection::NotModified;
        for (headers, expected) in [
            ("If-None-Match: \"tag\"".to_owned(), not_modified.clone()),
            ("If-None-Match: \"other\", W/\"tag\"".into(), not_modified.clone()),
            ("If-None-Match: *".into(), not_modified.clone()),
            ("If-None-Match: \"other\"".into(), Selection::Whole),
            ("If-None-Match: tag".into(), Selection::Whole),
            (format!("If-Modified-Since: {MODIFIED}"), not_modified.clone()),
            (format!("If-Modified-Since: {BEFORE}"), Selection::Whole),
            ("If-Modified-Since: yesterday".into(), Selection::Whole),
            (format!("If-None-Match: \"other\"\r\nIf-Modified-Since: {MODIFIED}"), Selection::Whole),
            ("If-None-Match: \"tag\"\r\nRange: bytes=0-1".into(), not_modified),
            ("If-Match: \"tag\"".into(), Selection::Whole),
            ("If-Match: *".into(), Selection::Whole),
            ("If-Match: W/\"tag\"".into(), Selection::PreconditionFailed),
            ("If-Match: \"other\"\r\nIf-None-Match: \"tag\"".into(), Selection::PreconditionFailed),
            (format!("If-Unmodified-Since: {BEFORE}"), Selection::PreconditionFailed),
            (format!("If-Unmodified-Since: {MODIFIED}"), Selection::Whole),
            (format!("If-Match: \"tag\"\r\nIf-Unmodified-Since: {BEFORE}"), Selection::Whole),
            ("Range: bytes=0-1\r\nIf-Range: \"tag\"".into(), Selection::Part(0..2)),
            ("Range: bytes=0-1\r\nIf-Range: \"other\"".into(), Selection::Whole),
            ("Range: bytes=0-1\r\nIf-Range: W/\"tag\"".into(), Selection::Whole),
            (format!("Range: bytes=0-1\r\nIf-Range: {MODIFIED}"), Selection::Whole),
        ] {
            assert_eq!(selected("GET", &headers, 10), expected, "{headers}");
        }
    }

    proptest! {
        #[test]
        fn a_part_lies_within_its_whole(range in "bytes=[0-9]{0,3}-[0-9]{0,3}(,[0-9]-[0-9])?", size_bytes in 0u64..200) {
            if let Selection::Part(part) = selected("GET", &format!("Range: {range}"), size_bytes) {
                prop_assert!(part.start < part.end && part.end <= size_bytes);
            }
        }
    }
}
