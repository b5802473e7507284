//! An event with its time, as one line of JSON.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::kinds::Event;
use crate::types::printable::is_unsafe;

#[cfg(test)]
#[path = "tests/schema.rs"]
pub(super) mod schema;

/// An event, and when it was published.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
    /// Number of the node's download job that the event belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<u64>,
    /// RFC 3339, UTC, with milliseconds.
    pub ts: String,
}

/// Writes a time, in nanoseconds since 1970, by RFC 3339 in UTC with milliseconds:
/// `1994-11-06T08:49:37.000Z`. A time before 1970 becomes 1970.
pub fn rfc3339(wall_ns: i64) -> String {
    let since_1970 = Duration::from_nanos(u64::try_from(wall_ns).unwrap_or(0));
    humantime::format_rfc3339_millis(SystemTime::UNIX_EPOCH + since_1970).to_string()
}

impl Event {
    /// The record of this event, published at `wall_ns` nanoseconds since 1970.
    pub fn at(self, wall_ns: i64) -> Record {
        Record { event: self, job: None, ts: rfc3339(wall_ns) }
    }
}

impl Record {
    /// The record as one line of JSON, without a newline.
    pub fn to_line(&self) -> String {
        let text = serde_json::to_string(self).expect("keys are strings and numbers finite");
        // serde_json leaves some characters in strings that control a terminal. An escape can replace them,
        // because they occur in strings only.
        let mut line = String::with_capacity(text.len());
        for c in text.chars() {
            if is_unsafe(c) {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    write!(line, "\\u{unit:04x}").expect("a string takes any text");
                }
            } else {
                line.push(c);
            }
        }
        #[cfg(test)]
        schema::check(&line);
        line
    }

    /// Reads a line that [`Record::to_line`] has written. Unknown fields are skipped.
    ///
    /// # Errors
    /// When the line is not an event, or is an event that this version does not know.
    pub fn from_line(line: &str) -> Result<Record, serde_json::Error> {
        serde_json::from_str(line)
    }
}
