//! Texts beside and below the bar of a download, for a terminal of any width.
//!
//! Pure: progress in, texts out. Each part keeps its width while a download runs, so that no part moves.
//! Parts that do not fit are left out, the least important first.

use std::time::Instant;

use super::texts::{amount, count, per_second, short_time, size};
use crate::logic::progress::DownloadProgress;
use crate::node::Uploads;

/// Minimum number of columns of the bar itself, unless the terminal is narrow.
const BAR_MIN_COLUMNS: usize = 8;
/// With fewer columns than this there is no bar, only the name.
const NARROW_COLUMNS: usize = 72;
/// Minimum number of columns for name and bar.
const NAME_AND_BAR_MIN: usize = 12;
/// The parts of [`numbers`] by their place, the most important first: percent, rate, time left, amount,
/// sources.
const BY_IMPORTANCE: [usize; 5] = [0, 2, 3, 1, 4];

/// Columns for the name, two blanks and the bar. The other columns are for [`numbers`].
fn name_and_bar_columns(columns: usize) -> usize {
    (columns * 5 / 16).max(NAME_AND_BAR_MIN)
}

/// `name`, without its beginning if it is too long for its place left of the bar. `name` must not have
/// control characters.
pub(super) fn name(name: &str, columns: usize) -> String {
    let for_bar = if columns < NARROW_COLUMNS { 0 } else { BAR_MIN_COLUMNS };
    let columns_max = name_and_bar_columns(columns) - 2 - for_bar;
    if width(name) <= columns_max {
        return name.to_owned();
    }
    // Two columns are for the dots.
    let mut free_columns = columns_max - 2;
    let fits = |c: &char| {
        let fits = width_of(*c) <= free_columns;
        free_columns -= if fits { width_of(*c) } else { 0 };
        fits
    };
    let tail = name.chars().rev().take_while(fits).collect::<Vec<_>>();
    format!("..{}", tail.into_iter().rev().collect::<String>())
}

fn width(text: &str) -> usize {
    text.chars().map(width_of).sum()
}

/// Maximum number of columns of a character.
fn width_of(c: char) -> usize {
    if c.is_ascii() { 1 } else { 2 }
}

/// ` 45% 12.0/50.0 MiB   2.0 MiB/s ETA 19s    3 sources`, or the parts of it that fit.
pub(super) fn numbers(progress: &DownloadProgress, columns: usize, now: Instant) -> String {
    let total = progress.total_bytes;
    let widest = amount(total, total).len();
    let rate = progress.rate_bytes_per_s(now).map_or_else(String::new, per_second);
    let time_left = progress.time_left(now).map_or_else(|| "--".to_owned(), short_time);
    let parts = [
        format!("{:>3}%", progress.done_of(100)),
        format!(" {:>widest$}", amount(progress.done_bytes, total)),
        format!(" {rate:>11}"),
        format!(" ETA {time_left:<6}"),
        format!(" {:<9}", count(progress.sources(), "source")),
    ];
    let mut free_columns = columns.saturating_sub(name_and_bar_columns(columns));
    let mut fitting = Vec::new();
    for part in BY_IMPORTANCE {
        if parts[part].len() <= free_columns {
            free_columns -= parts[part].len();
            fitting.push(part);
        }
    }
    fitting.sort_unstable();
    fitting.into_iter().map(|part| parts[part].as_str()).collect()
}

/// `up  1.2 GiB  85.0 MiB/s  3 peers`; `None` while the node uploads nothing.
pub(super) fn upload(uploads: Uploads, rate_bytes_per_s: u64) -> Option<String> {
    let Uploads { sent_bytes, peers } = uploads;
    if sent_bytes == 0 || (peers == 0 && rate_bytes_per_s == 0) {
        return None;
    }
    let (sent, rate) = (size(sent_bytes), per_second(rate_bytes_per_s));
    Some(format!("up  {sent}  {rate}  {}", count(peers, "peer")))
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::Duration;

    use super::*;
    use crate::logic::progress::DownloadReporter;
    use crate::rt::clock;
    use crate::types::FileName;

    const MIB: u64 = 1 << 20;

    fn check_numbers(columns: usize, expected: &str) {
        let (mut progress, start) = (DownloadProgress::default(), clock::now());
        let mut reporter = DownloadReporter::new(FileName::new("a").expect("a name"));
        for port in 1..=3 {
            progress.apply(&reporter.source(SocketAddr::from(([127, 0, 0, 1], port)), start), start);
        }
        let (done_bytes, total_bytes) = (12 * MIB, 50 * MIB);
        let now = start + Duration::from_secs(4);
        progress.apply(&reporter.bytes(done_bytes, total_bytes, done_bytes, now), now);
        let seen = numbers(&progress, columns, now);
        assert_eq!(seen, expected, "{columns}");
        assert!(seen.len() <= columns.saturating_sub(name_and_bar_columns(columns)), "{columns}");
    }

    #[test]
    fn numbers_fit_any_width_the_most_important_first() {
        check_numbers(120, " 24% 12.0/50.0 MiB   3.0 MiB/s ETA 12s    3 sources");
        check_numbers(80, " 24% 12.0/50.0 MiB   3.0 MiB/s ETA 12s    3 sources");
        check_numbers(60, " 24% 12.0/50.0 MiB   3.0 MiB/s ETA 12s   ");
        check_numbers(40, " 24%   3.0 MiB/s ETA 12s   ");
        check_numbers(30, " 24%   3.0 MiB/s");
        check_numbers(16, " 24%");
        check_numbers(0, "");
    }

    #[test]
    fn a_name_that_is_too_long_keeps_its_end() {
        for (text, columns, expected) in [
            ("survey.bin", 80, "survey.bin"),
            ("survey.bin", 40, "survey.bin"),
            ("a/long/way/to/the/survey.bin", 80, "..he/survey.bin"),
            ("a/long/way/to/the/survey.bin", 70, "..to/the/survey.bin"),
            ("a/long/way/to/the/survey.bin", 40, "..rvey.bin"),
            ("文件文件文件文件.bin", 40, "..文件.bin"),
            ("survey.bins", 0, "..vey.bins"),
        ] {
            let cut = name(text, columns);
            assert!(width(&cut) <= name_and_bar_columns(columns) - 2, "{cut}");
            assert_eq!(cut, expected, "{text} {columns}");
        }
    }

    #[test]
    fn the_upload_line_appears_while_the_node_uploads() {
        let check = |sent_bytes, peers, rate, expected: Option<&str>| {
            assert_eq!(upload(Uploads { sent_bytes, peers }, rate).as_deref(), expected);
        };
        check(0, 1, 0, None);
        check((6 << 30) / 5, 3, 85 * MIB, Some("up  1.2 GiB  85.0 MiB/s  3 peers"));
        check(MIB, 1, 0, Some("up  1.0 MiB  0 B/s  1 peer"));
        check(MIB, 0, 5, Some("up  1.0 MiB  5 B/s  0 peers"));
        check(MIB, 0, 0, None);
    }
}
