//! `Millis`: fixed-point milliseconds, the unit of latency and of score.
//!
//! A value is a whole number of microseconds, so that sums and comparisons are exact and the order of sources
//! is the same on every machine. There is no NaN, no negative value and no overflow (sums saturate).

use std::fmt::{self, Display};
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

use super::printable::Printable;

/// A number of milliseconds with a resolution of 0.001. `Display` writes at most 3 decimals and no trailing
/// zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Millis {
    micros: u64,
}

/// A text that is not a number of milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{0}` is not a number of milliseconds between 0 and 3600000 (decimals allowed)")]
pub struct MillisError(String);

impl Millis {
    /// 0 ms.
    pub const ZERO: Millis = Millis { micros: 0 };
    /// The longest time that can be read from text: one hour.
    pub const MAX_INPUT: Millis = Millis::from_ms(3_600_000);

    /// `ms` milliseconds; saturates.
    pub const fn from_ms(ms: u64) -> Millis {
        Millis { micros: ms.saturating_mul(1000) }
    }

    /// `micros` microseconds.
    pub const fn from_micros(micros: u64) -> Millis {
        Millis { micros }
    }

    /// The number of microseconds.
    pub const fn as_micros(self) -> u64 {
        self.micros
    }

    /// The sum; saturates.
    pub const fn saturating_add(self, other: Millis) -> Millis {
        Millis { micros: self.micros.saturating_add(other.micros) }
    }

    /// The product; saturates.
    pub const fn saturating_mul(self, factor: u64) -> Millis {
        Millis { micros: self.micros.saturating_mul(factor) }
    }
}

impl From<Duration> for Millis {
    fn from(duration: Duration) -> Millis {
        Millis { micros: u64::try_from(duration.as_micros()).unwrap_or(u64::MAX) }
    }
}

impl From<Millis> for Duration {
    fn from(millis: Millis) -> Duration {
        Duration::from_micros(millis.micros)
    }
}

impl FromStr for Millis {
    type Err = MillisError;

    /// Reads `digits[.digits]`; digits beyond the third decimal are cut off.
    fn from_str(text: &str) -> Result<Millis, MillisError> {
        let parse = || -> Option<Millis> {
            let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
            let all_digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
            if !all_digits(whole) || !all_digits(fraction) {
                return None;
            }
            let thousandths: u64 = fraction
                .bytes()
                .chain(*b"000")
                .take(3)
                .fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'));
            let micros = whole.parse::<u64>().ok()?.checked_mul(1000)?.checked_add(thousandths)?;
            Some(Millis { micros }).filter(|millis| *millis <= Millis::MAX_INPUT)
        };
        parse().ok_or_else(|| MillisError(Printable(text).to_string()))
    }
}

/// A number with up to three decimals.
impl Serialize for Millis {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_f64(self.micros as f64 / 1000.0)
    }
}

/// A negative number becomes 0, and a number that is too large becomes the largest value.
impl<'de> Deserialize<'de> for Millis {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Millis, D::Error> {
        let ms = f64::deserialize(from)?;
        Ok(Millis::from_micros((ms * 1000.0).round() as u64))
    }
}

impl Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, thousandths) = (self.micros / 1000, self.micros % 1000);
        if thousandths == 0 {
            return write!(f, "{whole}");
        }
        let decimals = format!("{thousandths:03}");
        write!(f, "{whole}.{}", decimals.trim_end_matches('0'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_exactly_and_printed_without_trailing_zeros() {
        for (text, micros, shown) in [
            ("0", 0, "0"),
            ("100", 100_000, "100"),
            ("1.5", 1500, "1.5"),
            ("0.001", 1, "0.001"),
            ("0.0019", 1, "0.001"),
            ("12.340", 12_340, "12.34"),
            ("3600000", 3_600_000_000, "3600000"),
        ] {
            let millis: Millis = text.parse().expect(text);
            assert_eq!((millis.as_micros(), millis.to_string().as_str()), (micros, shown));
        }
    }

    #[test]
    fn a_text_that_is_not_a_number_of_milliseconds_is_refused() {
        for text in [
            "",
            "-1",
            "+1",
            "1e3",
            "NaN",
            "inf",
            "1.",
            ".5",
            "1,5",
            " 1",
            "3600000.001",
            "3600001",
            "18446744073709551616",
        ] {
            assert!(text.parse::<Millis>().is_err(), "{text:?} was accepted");
        }
    }
}
