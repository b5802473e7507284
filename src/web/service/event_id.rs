//! Ids of events in a stream. A client that was cut off sends the last one, perhaps to the next run of the
//! program, which counts from 1 again.

use std::fmt::{self, Display};
use std::num::ParseIntError;
use std::str::FromStr;

/// An event: its number, and the run of the program that has published it. Its text is `RUN-NUMBER`, RUN in
/// hex. A number alone is accepted too, because people and scripts write `after=0`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EventId {
    run: Option<u64>,
    number: u64,
}

impl EventId {
    pub(crate) fn new(run: u64, number: u64) -> EventId {
        EventId { run: Some(run), number }
    }

    /// The number of this event among those of `run`, of which `last` is the newest. An event of another run
    /// came before all of them: 0.
    pub(crate) fn number_in(self, run: u64, last: u64) -> u64 {
        let is_of_run = self.run.is_none_or(|of| of == run) && self.number <= last;
        if is_of_run { self.number } else { 0 }
    }
}

impl Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.run {
            Some(run) => write!(f, "{run:x}-{}", self.number),
            None => write!(f, "{}", self.number),
        }
    }
}

impl FromStr for EventId {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<EventId, ParseIntError> {
        let Some((run, number)) = text.split_once('-') else {
            return Ok(EventId { run: None, number: text.parse()? });
        };
        Ok(EventId { run: Some(u64::from_str_radix(run, 16)?), number: number.parse()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_that_of_its_own_run_only() {
        let id = |text: &str| text.parse::<EventId>().expect("an id");
        for (text, run, last, expected) in [
            ("ff-7", 255, 9, 7),
            ("ff-7", 255, 7, 7),
            ("ff-7", 254, 9, 0),
            ("ff-7", 255, 6, 0),
            ("7", 255, 9, 7),
            ("44", 255, 9, 0),
            ("0", 255, 9, 0),
        ] {
            assert_eq!(id(text).number_in(run, last), expected, "{text} in {run:x} up to {last}");
            assert_eq!(id(text).to_string(), text);
        }
        for text in ["", "-", "x-1", "1-", "-1", "ff-7-1", "99999999999999999999"] {
            assert!(text.parse::<EventId>().is_err(), "{text}");
        }
    }
}
