//! Amounts, rates and times as text.

use std::time::Duration;

use bytesize::ByteSize;

/// `3.0/10.0 MiB`.
pub(super) fn amount(done_bytes: u64, total_bytes: u64) -> String {
    const GIB: u64 = 1 << 30;
    let (unit, text) = if total_bytes >= GIB { (GIB, "GiB") } else { (1 << 20, "MiB") };
    let in_units = |bytes: u64| bytes as f64 / unit as f64;
    format!("{:.1}/{:.1} {text}", in_units(done_bytes), in_units(total_bytes))
}

/// `1.2 GiB`.
pub(super) fn size(bytes: u64) -> String {
    ByteSize::b(bytes).display().iec().to_string()
}

/// `85.0 MiB/s`.
pub(super) fn per_second(bytes_per_s: u64) -> String {
    format!("{}/s", size(bytes_per_s))
}

/// `1 source`, `3 sources`.
pub(super) fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// `9s`, `1m05s`, `2h00m`, `3d04h`: at most six characters.
pub(super) fn short_time(time: Duration) -> String {
    let s = time.as_secs();
    let (minutes, hours, days) = (s / 60, s / 3600, s / 86_400);
    match s {
        0..60 => format!("{s}s"),
        60..3600 => format!("{minutes}m{:02}s", s % 60),
        3600..86_400 => format!("{hours}h{:02}m", minutes % 60),
        86_400..8_640_000 => format!("{days}d{:02}h", hours % 24),
        _ => ">100d".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn amounts_and_times_are_short() {
        for (s, expected) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m00s"),
            (3599, "59m59s"),
            (3600, "1h00m"),
            (86_399, "23h59m"),
            (86_400, "1d00h"),
            (8_639_999, "99d23h"),
            (u64::MAX, ">100d"),
        ] {
            assert_eq!(short_time(Duration::from_secs(s)), expected);
            assert!(expected.len() <= 6);
        }
        assert_eq!(amount(3 * MIB, 10 * MIB), "3.0/10.0 MiB");
        assert_eq!(amount(512 * MIB, 5 << 30), "0.5/5.0 GiB");
        assert_eq!((size(1 << 30), per_second(85 * MIB)), ("1.0 GiB".to_owned(), "85.0 MiB/s".to_owned()));
        assert_eq!((size(0), per_second(0)), ("0 B".to_owned(), "0 B/s".to_owned()));
        assert_eq!((count(1, "source"), count(0, "peer")), ("1 source".to_owned(), "0 peers".to_owned()));
    }
}
