//! Dates in headers and in JSON, from and to seconds since 1970.
//!
//! Headers have one form, `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110, section 5.6.7). Its two obsolete forms
//! are not read: a condition with such a date does not hold, which costs a transfer and never a wrong one.

use std::fmt::{self, Display};

const DAY_S: i64 = 86_400;
const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
/// The last second of the year 9999: beyond it the forms have no room.
const LAST_S: i64 = 253_402_300_799;

/// A date as headers have it, exact to the second, between the years 1970 and 9999.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct HttpDate {
    seconds: i64,
}

impl HttpDate {
    /// The nearest date that can be written.
    pub fn from_seconds(seconds: i64) -> HttpDate {
        HttpDate { seconds: seconds.clamp(0, LAST_S) }
    }

    /// Rounded down to a second.
    pub fn from_ns(ns: i64) -> HttpDate {
        HttpDate::from_seconds(ns.div_euclid(1_000_000_000))
    }

    /// Reads exactly the form that `Display` writes; anything else is `None`.
    pub fn parse(text: &str) -> Option<HttpDate> {
        let number = |from: usize, to: usize| -> Option<i64> {
            let digits = text.get(from..to)?;
            digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
        };
        let (day, year) = (number(5, 7)?, number(12, 16)?);
        let month = MONTHS.iter().position(|month| text.get(8..11) == Some(month))?;
        let days = days_from_civil(year, month as i64 + 1, day);
        let seconds = days * DAY_S + number(17, 19)? * 3600 + number(20, 22)? * 60 + number(23, 25)?;
        let date = HttpDate::from_seconds(seconds);
        // A 31st of February, another weekday, other separators: not what would be written.
        (date.to_string() == text).then_some(date)
    }
}

impl Display for HttpDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, of_day) = (self.seconds.div_euclid(DAY_S), self.seconds.rem_euclid(DAY_S));
        let (year, month, day) = civil_from_days(days);
        let weekday = DAYS[days.rem_euclid(7) as usize];
        let month = MONTHS[month as usize - 1];
        let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
        write!(f, "{weekday}, {day:02} {month} {year:04} {hour:02}:{minute:02}:{second:02} GMT")
    }
}

/// Days since 1970 of a date in the Gregorian calendar. Years are counted from March, so that the leap day is
/// the last (Howard Hinnant, "chrono-compatible low-level date algorithms").
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The inverse: year, month, day.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let month = (from_march + 2) % 12 + 1;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::{Duration, SystemTime};

    #[test]
    fn known_dates() {
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
    fn other_forms_and_impossible_dates_are_none() {
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

    proptest! {
        /// Against another implementation.
        #[test]
        fn dates_are_those_of_humantime(seconds in 0i64..LAST_S, ms in 0i64..1000) {
            let time = SystemTime::UNIX_EPOCH + Duration::from_millis(seconds as u64 * 1000 + ms as u64);
            let date = HttpDate::from_seconds(seconds);
            prop_assert_eq!(HttpDate::parse(&date.to_string()), Some(date));
            let rfc3339 = humantime::format_rfc3339_seconds(time).to_string();
            let text = date.to_string();
            prop_assert!(text.contains(&rfc3339[11..19]) && text.contains(&rfc3339[..4]) && text[5..7] == rfc3339[8..10]);
        }
    }
}
