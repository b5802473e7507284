//! A download told to programs: one JSON object a line for each event, units in the names of fields.
//!
//! Pure: events in, lines out; the time comes in as `now`. Bytes are told at most ten times a second, and the last of them always. A file
//! of one piece gets no line for its bytes. A line is inert: characters that could steer a terminal are `\u` escapes.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::{Value, json};

use crate::cli::exit::Exit;
use crate::logic::select::{LatencyOrigin, Rating};
use crate::node::{Downloaded, Figures, Outcome, Progress};
use crate::types::printable::is_unsafe;
use crate::types::{FileName, Millis};

/// Bytes are told no more often.
const BYTES_EVERY: Duration = Duration::from_millis(100);

/// Lines for one download.
#[derive(Debug)]
pub struct Journal {
    name: FileName,
    figures: Figures,
    bytes_told_at: Option<Instant>,
    /// Bytes are known that were not told.
    withheld: bool,
}

#[derive(Serialize)]
struct Line<'a> {
    event: &'static str,
    name: &'a str,
    #[serde(flatten)]
    fields: Value,
}

impl Journal {
    pub fn new(name: FileName) -> Journal {
        Journal { name, figures: Figures::default(), bytes_told_at: None, withheld: false }
    }

    /// The line for `event`, if it is worth one.
    pub fn line(&mut self, event: &Progress, now: Instant) -> Option<String> {
        self.figures.take(event, now);
        let sources = self.figures.sources();
        let (event, fields) = match event {
            Progress::Ranked { key, ranking } => (
                "ranked",
                json!({
                    "b3": key.id.to_string(),
                    "size_bytes": key.size_bytes,
                    "ranking": ranking.iter().map(rating).collect::<Vec<_>>(),
                }),
            ),
            Progress::Chose { key, holders, others } => (
                "chose",
                json!({ "b3": key.id.to_string(), "size_bytes": key.size_bytes, "holders": holders, "others": others }),
            ),
            Progress::Resumed { marked_bytes } => ("resumed", json!({ "marked_bytes": marked_bytes })),
            Progress::Source { endpoint } => ("source", json!({ "addr": endpoint, "sources": sources })),
            Progress::Left { endpoint, why } => {
                ("left", json!({ "addr": endpoint, "why": why, "sources": sources }))
            }
            Progress::Retry { round, of, pause } => {
                ("retry", json!({ "round": round, "of": of, "pause_ms": whole_ms(*pause) }))
            }
            Progress::Waiting => ("waiting", json!({})),
            Progress::Hashing => ("hashing", json!({})),
            Progress::Bytes { done_bytes, total_bytes, .. } => {
                self.withheld = self.figures.has_pieces();
                let long_ago = |at| now.saturating_duration_since(at) >= BYTES_EVERY;
                let is_due = done_bytes == total_bytes || self.bytes_told_at.is_none_or(long_ago);
                return is_due.then(|| self.withheld_bytes(now)).flatten();
            }
        };
        Some(self.text(event, fields))
    }

    /// The last lines: bytes not yet told, and the good end.
    pub fn done(&mut self, done: &Downloaded, now: Instant) -> Vec<String> {
        let mut fields = json!({ "b3": done.key.id.to_string(), "size_bytes": done.key.size_bytes });
        match &done.outcome {
            Outcome::AlreadyHere => fields["outcome"] = "already_here".into(),
            Outcome::Fetched { md5, pieces, sources } => {
                fields["outcome"] = "fetched".into();
                fields["md5"] = md5.map(|md5| md5.to_string()).into();
                fields["pieces"] = (*pieces).into();
                fields["from"] = json!(sources);
            }
        }
        let bytes = self.withheld_bytes(now);
        bytes.into_iter().chain([self.text("done", fields)]).collect()
    }

    /// The last lines: bytes not yet told, and the bad end.
    pub fn failed(&mut self, why: &str, exit: Exit, now: Instant) -> Vec<String> {
        let bytes = self.withheld_bytes(now);
        let end = self.text("failed", json!({ "why": why, "exit_code": exit.code() }));
        bytes.into_iter().chain([end]).collect()
    }

    fn withheld_bytes(&mut self, now: Instant) -> Option<String> {
        if !std::mem::take(&mut self.withheld) {
            return None;
        }
        self.bytes_told_at = Some(now);
        let figures = &self.figures;
        let fields = json!({
            "done_bytes": figures.done_bytes,
            "total_bytes": figures.total_bytes,
            "fetched_bytes": figures.fetched_bytes,
            "rate_bytes_per_s": figures.rate_bytes_per_s(now),
            "eta_ms": figures.time_left(now).map(whole_ms),
            "sources": figures.sources(),
        });
        Some(self.text("bytes", fields))
    }

    fn text(&self, event: &'static str, fields: Value) -> String {
        let line = Line { event, name: self.name.as_str(), fields };
        let text = serde_json::to_string(&line).expect("keys are strings and numbers finite");
        // JSON lets through what it does not need to escape; outside of strings there is none of it.
        let mut inert = String::with_capacity(text.len());
        for c in text.chars() {
            if is_unsafe(c) {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    let _always_fits = write!(inert, "\\u{unit:04x}");
                }
            } else {
                inert.push(c);
            }
        }
        inert
    }
}

fn rating(rating: &Rating) -> Value {
    let candidate = &rating.candidate;
    json!({
        "addr": candidate.endpoint,
        "score_ms": ms(rating.score),
        "latency_ms": ms(candidate.latency),
        "latency_from": match candidate.latency_origin {
            LatencyOrigin::Table => "file",
            LatencyOrigin::Default => "default",
            LatencyOrigin::Measured => "measured",
        },
        "load": candidate.load,
        "yours": candidate.yours,
    })
}

fn ms(millis: Millis) -> f64 {
    millis.as_micros() as f64 / 1000.0
}

fn whole_ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::logic::select::Candidate;
    use crate::rt::clock;
    use crate::types::{ContentId, ContentKey};

    const MIB: u64 = 1 << 20;

    fn addr(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    fn key() -> ContentKey {
        ContentKey { size_bytes: 7, id: ContentId([0xcd; 32]) }
    }

    fn journal() -> Journal {
        Journal::new(FileName::new("a.bin").expect("a name"))
    }

    fn bytes(done_mib: u64) -> Progress {
        let done_bytes = done_mib * MIB;
        Progress::Bytes { done_bytes, total_bytes: 10 * MIB, fetched_bytes: done_bytes }
    }

    fn parsed(line: &str) -> Value {
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"))
    }

    #[test]
    fn each_event_is_an_object_with_units_in_its_fields() {
        let candidate = Candidate {
            endpoint: addr(5002),
            latency: Millis::from_micros(20_500),
            latency_origin: LatencyOrigin::Table,
            load: 1,
            yours: 0,
        };
        let ranking = vec![Rating { candidate, score: Millis::from_micros(30_500) }];
        let b3 = "cd".repeat(32);
        let mut journal = journal();
        for (event, expected) in [
            (
                Progress::Ranked { key: key(), ranking },
                json!({ "event": "ranked", "name": "a.bin", "b3": b3, "size_bytes": 7, "ranking": [{
                    "addr": "127.0.0.1:5002", "score_ms": 30.5, "latency_ms": 20.5, "latency_from": "file",
                    "load": 1, "yours": 0,
                }] }),
            ),
            (
                Progress::Chose { key: key(), holders: 3, others: 1 },
                json!({ "event": "chose", "name": "a.bin", "b3": b3, "size_bytes": 7, "holders": 3, "others": 1 }),
            ),
            (
                Progress::Resumed { marked_bytes: 5 },
                json!({ "event": "resumed", "name": "a.bin", "marked_bytes": 5 }),
            ),
            (
                Progress::Source { endpoint: addr(5002) },
                json!({ "event": "source", "name": "a.bin", "addr": "127.0.0.1:5002", "sources": 1 }),
            ),
            (
                Progress::Left { endpoint: addr(5002), why: Some("closed".into()) },
                json!({ "event": "left", "name": "a.bin", "addr": "127.0.0.1:5002", "why": "closed", "sources": 0 }),
            ),
            (
                Progress::Retry { round: 1, of: 4, pause: Duration::from_millis(1500) },
                json!({ "event": "retry", "name": "a.bin", "round": 1, "of": 4, "pause_ms": 1500 }),
            ),
            (Progress::Waiting, json!({ "event": "waiting", "name": "a.bin" })),
            (Progress::Hashing, json!({ "event": "hashing", "name": "a.bin" })),
        ] {
            let line = journal.line(&event, clock::now()).expect("a line");
            assert_eq!(parsed(&line), expected);
            assert!(line.starts_with(r#"{"event":""#) && !line.contains('\n'), "{line}");
        }
    }

    #[test]
    fn bytes_are_told_ten_times_a_second_and_the_last_always() {
        let begun = clock::now();
        let at = |ms| begun + Duration::from_millis(ms);
        let mut journal = journal();
        journal.line(&Progress::Source { endpoint: addr(5002) }, begun).expect("a line");
        let told: Vec<_> = [(1000, 1), (1050, 2), (1099, 3), (1100, 4), (1110, 5), (1120, 10)]
            .into_iter()
            .filter_map(|(ms, done)| journal.line(&bytes(done), at(ms)))
            .map(|line| parsed(&line)["done_bytes"].as_u64().expect("a number") / MIB)
            .collect();
        assert_eq!(told, [1, 4, 10]);
        assert_eq!(journal.failed("no", Exit::NoSpace, at(1130)).len(), 1, "nothing was withheld");
    }

    #[test]
    fn bytes_have_rate_time_left_and_sources_and_those_withheld_come_before_the_end() {
        let begun = clock::now();
        let at = |ms| begun + Duration::from_millis(ms);
        let mut journal = journal();
        journal.line(&Progress::Source { endpoint: addr(5002) }, begun).expect("a line");
        let expected = |done: u64, rate: u64, eta: u64| {
            json!({
                "event": "bytes", "name": "a.bin", "done_bytes": done * MIB, "total_bytes": 10 * MIB,
                "fetched_bytes": done * MIB, "rate_bytes_per_s": rate * MIB, "eta_ms": eta, "sources": 1,
            })
        };
        let line = journal.line(&bytes(2), at(1000)).expect("a line");
        assert_eq!(parsed(&line), expected(2, 2, 4000));
        assert_eq!(journal.line(&bytes(3), at(1050)), None);
        let last = journal.failed("cancelled", Exit::Interrupted, at(1500));
        let last: Vec<_> = last.iter().map(|line| parsed(line)).collect();
        let end = json!({ "event": "failed", "name": "a.bin", "why": "cancelled", "exit_code": 7 });
        assert_eq!(last, [expected(3, 2, 3500), end]);
    }

    #[test]
    fn the_good_end_tells_what_is_here_now() {
        let name = FileName::new("a.bin").expect("a name");
        let sources = vec![addr(5002), addr(5003)];
        let fetched = Outcome::Fetched { md5: None, pieces: 10, sources };
        let mut done = Downloaded { name, key: key(), outcome: fetched };
        let b3 = "cd".repeat(32);
        let lines = journal().done(&done, clock::now());
        assert_eq!(lines.len(), 1);
        assert_eq!(
            parsed(&lines[0]),
            json!({
                "event": "done", "name": "a.bin", "b3": b3, "size_bytes": 7, "outcome": "fetched",
                "md5": null, "pieces": 10, "from": ["127.0.0.1:5002", "127.0.0.1:5003"],
            })
        );
        done.outcome = Outcome::AlreadyHere;
        let expected =
            json!({ "event": "done", "name": "a.bin", "b3": b3, "size_bytes": 7, "outcome": "already_here" });
        assert_eq!(parsed(&journal().done(&done, clock::now())[0]), expected);
    }

    #[test]
    fn names_are_escaped_and_come_back_as_they_are() {
        for name in ["it's \"quoted\"", "back\\slash", "größe 文件", "abc\u{202e}gpj.exe", "tag\u{e0041}s"]
        {
            let mut journal = Journal::new(FileName::new(name).expect("a name"));
            let line = journal.line(&Progress::Hashing, clock::now()).expect("a line");
            assert_eq!(parsed(&line)["name"], name);
            assert!(!line.chars().any(is_unsafe), "{line:?}");
        }
    }

    #[test]
    fn a_file_of_one_piece_has_no_bytes_to_tell() {
        let mut journal = journal();
        let event = Progress::Bytes { done_bytes: MIB, total_bytes: MIB, fetched_bytes: MIB };
        assert_eq!(journal.line(&event, clock::now()), None);
        assert_eq!(journal.failed("no", Exit::NoSpace, clock::now()).len(), 1);
    }
}
