//! Progress as plain lines: one for each event that concerns a user, and progress lines. A download has a
//! progress line for each tenth of the bytes and at least every 5 s, with the rate since the progress line
//! before.
//!
//! Pure: events in, lines out; the caller gives the time as `now`. A file of one piece has no progress line.

use std::time::{Duration, Instant};

use super::texts::amount;
use crate::logic::progress::DownloadProgress;
use crate::proto::event::DownloadEvent;
use crate::types::{FileName, Ranked};

/// Longest time between two progress lines while bytes arrive.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Makes the lines of one download.
#[derive(Debug)]
pub(super) struct PlainProgress {
    progress: DownloadProgress,
    last: LastLine,
    /// Since when there is no source; `None`: there are sources.
    idle_since: Option<Instant>,
}

/// State at the last progress line.
#[derive(Debug)]
struct LastLine {
    /// Moves on by the time without a source, which does not count for the rate.
    at: Instant,
    done_bytes: u64,
    fetched_bytes: u64,
    /// Tenths of the total that were done.
    tenths: u64,
}

impl PlainProgress {
    /// For a download that begins at `now`.
    pub(super) fn new(now: Instant) -> PlainProgress {
        let last = LastLine { at: now, done_bytes: 0, fetched_bytes: 0, tenths: 0 };
        PlainProgress { progress: DownloadProgress::default(), last, idle_since: Some(now) }
    }

    /// Applies `event`, and returns its line if it has one.
    pub(super) fn apply(&mut self, event: &DownloadEvent, now: Instant) -> Option<String> {
        self.progress.apply(event, now);
        if self.progress.done_bytes == 0 {
            // The download begins, or it begins again with another content.
            self.last = LastLine { at: self.last.at, done_bytes: 0, fetched_bytes: 0, tenths: 0 };
        }
        match (self.idle_since, self.progress.sources()) {
            (Some(since), 1..) => {
                self.last.at += now.saturating_duration_since(since.max(self.last.at));
                self.idle_since = None;
            }
            (None, 0) => self.idle_since = Some(now),
            (Some(_), 0) | (None, 1..) => {}
        }
        match event {
            DownloadEvent::Bytes { name, .. } => self.progress_line(name, now),
            _ => event_line(event),
        }
    }

    fn progress_line(&mut self, name: &FileName, now: Instant) -> Option<String> {
        let DownloadProgress { done_bytes, total_bytes, fetched_bytes, .. } = self.progress;
        if !self.progress.has_several_pieces() || done_bytes <= self.last.done_bytes {
            // No amount is printed twice, even when wrong pieces set a download back.
            return None;
        }
        let tenths = self.progress.done_of(10);
        let percent = if tenths > self.last.tenths {
            tenths * 10
        } else if now.saturating_duration_since(self.last.at) >= LINE_EVERY {
            self.progress.done_of(100)
        } else {
            return None;
        };
        let counted_time = self.idle_since.unwrap_or(now).saturating_duration_since(self.last.at);
        let rate = rate_text(fetched_bytes.saturating_sub(self.last.fetched_bytes), counted_time);
        self.last = LastLine { at: now, done_bytes, fetched_bytes, tenths };
        let from = match (self.progress.only_source(), self.progress.sources()) {
            (Some(source), _) => format!(" from {source}"),
            (None, 0) => String::new(),
            (None, sources) => format!(" from {sources} sources"),
        };
        Some(format!("{name} {percent}% {}{rate}{from}", amount(done_bytes, total_bytes)))
    }
}

/// The line for an event, if it has one. Neither bytes nor the end of a download have one: [`PlainProgress`]
/// makes progress lines, and the end is a result.
pub(crate) fn event_line(event: &DownloadEvent) -> Option<String> {
    let text = match event {
        DownloadEvent::Ranked { ranking, .. } => choice_text(ranking)?,
        DownloadEvent::Chose { b3, holders, others, .. } => format!(
            "chose b3 {} with {holders} live full holders; {others} other contents have that name",
            b3.short()
        ),
        DownloadEvent::Resumed { marked_bytes, .. } => {
            let mib = *marked_bytes as f64 / (1 << 20) as f64;
            format!("resuming: {mib:.1} MiB were left by an earlier download and are verified again")
        }
        DownloadEvent::Left { addr, why: Some(why), .. } => format!("left {addr}: {why}"),
        DownloadEvent::Retry { round, of, pause_ms, .. } => {
            let seconds = Duration::from_millis(*pause_ms).as_secs_f32();
            format!("all sources failed: round {round} of {of} begins in {seconds:.1} s")
        }
        DownloadEvent::Waiting { .. } => "waiting for other downloads to end".to_owned(),
        DownloadEvent::Hashing { .. } => "hashing the whole file".to_owned(),
        DownloadEvent::Source { .. }
        | DownloadEvent::Left { why: None, .. }
        | DownloadEvent::Bytes { .. }
        | DownloadEvent::Done { .. }
        | DownloadEvent::Failed { .. } => return None,
    };
    Some(format!("{}: {text}", event.name()))
}

/// ` 11.3 MiB/s`; empty if `time` is zero.
fn rate_text(bytes: u64, time: Duration) -> String {
    if time.is_zero() {
        return String::new();
    }
    format!(" {:.1} MiB/s", bytes as f64 / (1 << 20) as f64 / time.as_secs_f64())
}

/// Which source was chosen, with its score, and which source is next.
fn choice_text(ranking: &[Ranked]) -> Option<String> {
    let (best, rest) = ranking.split_first()?;
    let mut text = format!("chose {}: {}", best.endpoint, score_text(best));
    if let Some(next) = rest.first() {
        text += &format!("; next of {} is {}: {}", ranking.len(), next.endpoint, score_text(next));
    }
    Some(text)
}

/// The score of a source, and how it is computed.
fn score_text(ranked: &Ranked) -> String {
    let Ranked { latency, latency_origin, load, score, yours, .. } = ranked;
    let yours = if *yours == 0 { String::new() } else { format!(", {yours} yours") };
    format!("score {score} (latency {latency} ms {}, load {load}{yours})", latency_origin.as_str())
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::logic::progress::DownloadReporter;
    use crate::rt::clock;
    use crate::types::{ContentId, ContentKey, LatencyOrigin, Millis};

    const MIB: u64 = 1 << 20;

    fn addr(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    /// A reporter for one event. Its count of sources does not matter: `DownloadProgress` counts them itself.
    fn reporter() -> DownloadReporter {
        DownloadReporter::new(FileName::new("a.bin").expect("a name"))
    }

    fn bytes(done_bytes: u64, total_bytes: u64) -> DownloadEvent {
        reporter().bytes(done_bytes, total_bytes, done_bytes, clock::now())
    }

    fn source(port: u16) -> DownloadEvent {
        reporter().source(addr(port), clock::now())
    }

    fn left(port: u16, why: Option<&str>) -> DownloadEvent {
        reporter().left(addr(port), why.map(str::to_owned), clock::now())
    }

    fn ranking_of(number: u8, size_bytes: u64, ranking: Vec<Ranked>) -> DownloadEvent {
        reporter().ranked(ContentKey { size_bytes, id: ContentId([number; 32]) }, ranking, clock::now())
    }

    #[test]
    fn each_tenth_has_one_progress_line() {
        let now = clock::now();
        let mut plain = PlainProgress::new(now);
        assert_eq!(plain.apply(&source(5002), now), None);
        let lines: Vec<_> = [0, MIB / 2, MIB, 3 * MIB, 2 * MIB, 3 * MIB + 1, 10 * MIB, 10 * MIB]
            .into_iter()
            .filter_map(|done| plain.apply(&bytes(done, 10 * MIB), now))
            .collect();
        assert_eq!(
            lines,
            [
                "a.bin 10% 1.0/10.0 MiB from 127.0.0.1:5002",
                "a.bin 30% 3.0/10.0 MiB from 127.0.0.1:5002",
                "a.bin 100% 10.0/10.0 MiB from 127.0.0.1:5002",
            ]
        );
    }

    #[test]
    fn several_sources_are_counted_and_one_is_named() {
        let now = clock::now();
        let mut plain = PlainProgress::new(now);
        let mut after = |events: &[DownloadEvent], done| {
            for event in events {
                plain.apply(event, now);
            }
            plain.apply(&bytes(done * MIB, 10 * MIB), now).expect("a tenth")
        };
        let left = |port| left(port, None);
        assert!(after(&[source(5002)], 1).ends_with(" MiB from 127.0.0.1:5002"));
        assert!(after(&[source(5003), source(5004)], 2).ends_with(" MiB from 3 sources"));
        assert!(after(&[left(5002), left(5004)], 3).ends_with(" MiB from 127.0.0.1:5003"));
        assert!(after(&[left(5003)], 4).ends_with(" 4.0/10.0 MiB"));
    }

    #[test]
    fn another_content_of_the_name_starts_again() {
        let now = clock::now();
        let mut plain = PlainProgress::new(now);
        let ranked = |number| ranking_of(number, 10 * MIB, vec![]);
        let mut after = |event, done| {
            plain.apply(&event, now);
            plain.apply(&bytes(done * MIB, 10 * MIB), now)
        };
        assert!(after(ranked(1), 8).is_some());
        assert!(after(ranked(1), 8).is_none(), "the same content, ranked again");
        let expected = Some("a.bin 20% 2.0/10.0 MiB".to_owned());
        assert_eq!(after(ranked(2), 2), expected);
    }

    #[test]
    fn bytes_verified_again_do_not_count_for_the_rate() {
        let start = clock::now();
        let mut plain = PlainProgress::new(start);
        plain.apply(&source(5002), start);
        let event = reporter().bytes(9 * MIB, 10 * MIB, 2 * MIB, start);
        let line = plain.apply(&event, start + Duration::from_secs(1));
        assert_eq!(line.as_deref(), Some("a.bin 90% 9.0/10.0 MiB 2.0 MiB/s from 127.0.0.1:5002"));
    }

    #[test]
    fn time_without_a_source_does_not_count_for_the_rate() {
        let start = clock::now();
        let (mut plain, at) = (PlainProgress::new(start), |seconds| start + Duration::from_secs(seconds));
        plain.apply(&source(5002), start);
        assert_eq!(plain.apply(&bytes(4 * MIB, 1000 * MIB), at(4)), None);
        assert_eq!(plain.apply(&left(5002, None), at(4)), None);
        assert_eq!(plain.apply(&source(5003), at(60)), None);
        let line = plain.apply(&bytes(10 * MIB, 1000 * MIB), at(61)).expect("5 s with a source are over");
        assert_eq!(line, "a.bin 1% 10.0/1000.0 MiB 2.0 MiB/s from 127.0.0.1:5003");
        // A line while there is no source ends at the last source.
        plain.apply(&left(5003, None), at(63));
        let line = plain.apply(&bytes(14 * MIB, 1000 * MIB), at(66)).expect("5 s are over");
        assert_eq!(line, "a.bin 1% 14.0/1000.0 MiB 2.0 MiB/s");
        plain.apply(&source(5004), at(90));
        let line = plain.apply(&bytes(100 * MIB, 1000 * MIB), at(91)).expect("a tenth");
        assert_eq!(line, "a.bin 10% 100.0/1000.0 MiB 86.0 MiB/s from 127.0.0.1:5004");
    }

    #[test]
    fn a_slow_download_has_a_progress_line_each_5_s_with_its_rate() {
        let start = clock::now();
        let mut plain = PlainProgress::new(start);
        plain.apply(&source(5002), start);
        let mut at =
            |seconds, done| plain.apply(&bytes(done, 1000 * MIB), start + Duration::from_secs(seconds));
        assert_eq!(at(4, 10 * MIB), None);
        let from = "from 127.0.0.1:5002";
        assert_eq!(at(5, 20 * MIB), Some(format!("a.bin 2% 20.0/1000.0 MiB 4.0 MiB/s {from}")));
        assert_eq!(at(9, 30 * MIB), None);
        assert_eq!(at(10, 100 * MIB), Some(format!("a.bin 10% 100.0/1000.0 MiB 16.0 MiB/s {from}")));
    }

    #[test]
    fn a_file_of_one_piece_has_no_progress_line_and_a_huge_file_no_overflow() {
        let start = clock::now();
        for total in [0, 1, MIB] {
            assert_eq!(PlainProgress::new(start).apply(&bytes(total, total), start), None);
        }
        let line = PlainProgress::new(start).apply(&bytes(u64::MAX, u64::MAX), start).expect("a line");
        assert!(line.starts_with("a.bin 100% "), "{line}");
        let line = PlainProgress::new(start).apply(&bytes(512 * MIB, 5 << 30), start).expect("a line");
        assert_eq!(line, "a.bin 10% 0.5/5.0 GiB");
    }

    #[test]
    fn events_have_their_lines() {
        let key = ContentKey { size_bytes: 7, id: ContentId([0xcd; 32]) };
        let rating = |port, latency, latency_origin, load, yours, score| Ranked {
            endpoint: addr(port),
            latency: Millis::from_ms(latency),
            latency_origin,
            load,
            score: Millis::from_ms(score),
            yours,
        };
        let ranking = vec![
            rating(5002, 20, LatencyOrigin::Table, 1, 1, 20),
            rating(5003, 100, LatencyOrigin::Default, 0, 0, 100),
            rating(5004, 3, LatencyOrigin::Measured, 12, 0, 123),
        ];
        let one = vec![rating(5004, 3, LatencyOrigin::Measured, 12, 0, 123)];
        for (event, expected) in [
            (ranking_of(0xcd, 7, vec![]), None),
            (
                ranking_of(0xcd, 7, one),
                Some("chose 127.0.0.1:5004: score 123 (latency 3 ms measured, load 12)"),
            ),
            (
                ranking_of(0xcd, 7, ranking),
                Some(
                    "chose 127.0.0.1:5002: score 20 (latency 20 ms file, load 1, 1 yours); \
                     next of 3 is 127.0.0.1:5003: score 100 (latency 100 ms default, load 0)",
                ),
            ),
            (
                reporter().chose(key, 3, 1),
                Some("chose b3 cdcdcdcdcdcdcdcd with 3 live full holders; 1 other contents have that name"),
            ),
            (left(5002, Some("closed")), Some("left 127.0.0.1:5002: closed")),
            (
                reporter().retry(1, 4, Duration::from_secs(1)),
                Some("all sources failed: round 1 of 4 begins in 1.0 s"),
            ),
            (reporter().waiting(), Some("waiting for other downloads to end")),
            (reporter().hashing(), Some("hashing the whole file")),
        ] {
            let expected = expected.map(|text| format!("a.bin: {text}"));
            assert_eq!(PlainProgress::new(clock::now()).apply(&event, clock::now()), expected, "{event:?}");
        }
    }
}
