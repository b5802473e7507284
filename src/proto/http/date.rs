//! Dates in headers, from and to seconds since 1970.
//!
//! Headers have one form, `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110, section 5.6.7). The two obsolete forms
//! are not read: a condition with such a date is ignored. Then a client may get a file that it has already,
//! but never a wrong one.

use std::fmt::{self, Display};
use std::time::{Duration, SystemTime};

/// The last second of the year 9999. The form has no room for later dates.
const LAST_S: i64 = 253_402_300_799;

/// A date of a header: a whole second in the years 1970 to 9999.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct HttpDate {
    seconds: i64,
}

impl HttpDate {
    /// The date that is `seconds` after 1970, UTC, or the nearest one that a header can have.
    pub fn from_seconds(seconds: i64) -> HttpDate {
        HttpDate { seconds: seconds.clamp(0, LAST_S) }
    }

    /// As [`HttpDate::from_seconds`], from nanoseconds, rounded down to a second.
    pub fn from_ns(ns: i64) -> HttpDate {
        HttpDate::from_seconds(ns.div_euclid(1_000_000_000))
    }

    /// Reads exactly the form that `Display` writes; anything else is `None`.
    pub fn parse(text: &str) -> Option<HttpDate> {
        let since_1970 = httpdate::parse_http_date(text).ok()?.duration_since(SystemTime::UNIX_EPOCH).ok()?;
        let date = HttpDate::from_seconds(i64::try_from(since_1970.as_secs()).ok()?);
        (date.to_string() == text).then_some(date)
    }
}

impl Display for HttpDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let since_1970 = Duration::from_secs(self.seconds.unsigned_abs());
        httpdate::HttpDate::from(SystemTime::UNIX_EPOCH + since_1970).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_dates_are_written_and_read() {
        for (seconds, text) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (4_107_542_399, "Sun, 28 Feb 2100 23:59:59 GMT"),
            (LAST_S, "Fri, 31 Dec 9999 23:59:59 GMT"),
        ] {
            assert_eq!(HttpDate::from_seconds(seconds).to_string(), text);
            assert_eq!(HttpDate::parse(text), Some(HttpDate::from_seconds(seconds)));
        }
        assert_eq!(HttpDate::from_ns(-1), HttpDate::from_seconds(0));
        assert_eq!(HttpDate::from_seconds(i64::MAX), HttpDate::from_seconds(LAST_S));
    }

    #[test]
    fn other_forms_and_impossible_dates_are_refused() {
        for text in [
            "",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
            "Mon, 06 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37 UTC",
            "Sun, 06 Nov 1994 08:49:60 GMT",
            "Sun, 31 Feb 1994 08:49:37 GMT",
            "Sun, +6 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37 GMT ",
            "Süü, 06 Nov 1994 08:49:37 GMT",
        ] {
            assert_eq!(HttpDate::parse(text), None, "{text}");
        }
    }
}
