//! Tests of events: the line of each event can be read back, fits the schema, and has no control characters.

use std::net::SocketAddr;

use super::record::schema;
use super::*;
use crate::types::printable::is_unsafe;
use crate::types::{
    ContentId, ContentKey, FileName, FileOrigin, LatencyOrigin, Liveness, Md5Digest, Millis, Ranked,
};

fn addr() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 5002))
}

fn name() -> FileName {
    FileName::new("a.bin").expect("a name")
}

fn holder() -> EventHolder {
    EventHolder {
        name: name(),
        addr: addr(),
        size_bytes: 7,
        md5: Md5Digest([0xab; 16]),
        b3: ContentId([0xcd; 32]),
        state: HolderState::Part,
        have_pieces: 1,
        total_pieces: 3,
        latency_ms: Some(Millis::from_micros(20_500)),
        latency_from: Some(LatencyOrigin::Table),
        load: Some(1),
        score_ms: Some(Millis::from_micros(30_500)),
        chosen: true,
    }
}

/// Makes a list of the variants of an enum, and a function that returns the variant of a value. The function
/// does not compile while a variant is not listed.
macro_rules! variants {
    ($list:ident, $variant_of:ident, $enum:ident: $($variant:ident)*) => {
        const $list: &[&str] = &[$(stringify!($variant)),*];

        fn $variant_of(event: &$enum) -> &'static str {
            match event {
                $($enum::$variant { .. } => stringify!($variant),)*
            }
        }
    };
}

variants!(EVENTS, variant_of, Event: Listening Ready Notice Missed Error End Find Found Silent Content Candidate
    Searched Load File Name Node Updated Stat Verified Limit Replication Job Help Download);
variants!(DOWNLOAD_EVENTS, download_variant_of, DownloadEvent: Ranked Chose Waiting Resumed Source Left Bytes
    Retry Hashing Done Failed);

/// At least one event of each variant.
fn samples() -> Vec<Event> {
    let (b3, why) = (ContentId([0xcd; 32]), "why".to_owned());
    let content = ContentKey { size_bytes: 7, id: b3 };
    let own = EventHolder {
        state: HolderState::Own,
        latency_ms: None,
        latency_from: None,
        load: None,
        score_ms: None,
        ..holder()
    };
    let ranked = Ranked {
        endpoint: addr(),
        latency: Millis::from_micros(39),
        latency_origin: LatencyOrigin::Measured,
        load: 0,
        score: Millis::from_micros(39),
        yours: 0,
    };
    let fetched = Outcome::Fetched { sources: vec![addr()], md5: None, pieces: 10 };
    let downloads = [
        DownloadEvent::Ranked { name: name(), b3, ranking: vec![ranked], size_bytes: 7 },
        DownloadEvent::Chose { name: name(), b3, holders: 3, others: 1, size_bytes: 7 },
        DownloadEvent::Waiting { name: name() },
        DownloadEvent::Resumed { name: name(), marked_bytes: 5 },
        DownloadEvent::Source { name: name(), addr: addr(), sources: 1 },
        DownloadEvent::Left { name: name(), addr: addr(), sources: 0, why: Some(why.clone()) },
        DownloadEvent::Bytes {
            name: name(),
            done_bytes: 1,
            eta_ms: None,
            fetched_bytes: 1,
            rate_bytes_per_s: Some(1),
            sources: 1,
            total_bytes: 2,
        },
        DownloadEvent::Retry { name: name(), of: 4, pause_ms: 1500, round: 1 },
        DownloadEvent::Hashing { name: name() },
        DownloadEvent::done(name(), content, Outcome::AlreadyHere),
        DownloadEvent::done(name(), content, fetched),
        DownloadEvent::failed(name(), "why", ErrorCode::Digest),
    ];
    let others = [
        Event::Listening { service: Service::Node, addr: addr() },
        Event::Ready { files: None },
        Event::Notice { level: Level::Warning, text: "text".into() },
        Event::error("why", ErrorCode::NotFound),
        Event::End { exit_code: 0, code: None },
        Event::Find { query: "md5=12".into(), rows: 2 },
        Event::Found(holder()),
        Event::Found(own),
        Event::Silent { addr: addr(), why: why.clone() },
        Event::Content { name: name(), size_bytes: 7, b3, full_holders: 1, rows: 1, resolved: true },
        Event::Candidate { place: Some(1), load_weight_ms: Millis::from_ms(10), holder: holder() },
        Event::Searched {
            query: "a".into(),
            rows: 2,
            addr: Some(addr()),
            score_ms: Some(Millis::from_ms(12)),
            took_us: 3,
        },
        Event::Missed { count: 1 },
        Event::Load { addr: addr(), load: 3 },
        Event::File {
            name: name(),
            size_bytes: 7,
            md5: Some(Md5Digest([0xab; 16])),
            b3: None,
            kind: Some(FileOrigin::Local),
        },
        Event::Name { name: name() },
        Event::Node { addr: addr(), state: NodeState::Listed(Liveness::Live), files: 3, load: None },
        Event::gone(addr()),
        Event::Updated { files: 1, added: 1, removed: 0, changed: 0 },
        Event::Stat { name: "sent_bytes".into(), value: Some(3) },
        Event::Verified {
            name: name(),
            state: VerifyState::Differs,
            size_bytes: 7,
            b3: Some(b3),
            why: Some(why.clone()),
        },
        Event::Replication {
            name: name(),
            size_bytes: 7,
            b3,
            wanted: 2,
            copies: 1,
            awaited: 0,
            under_way: 1,
            shortfall: None,
        },
        Event::Limit { max_upload_bytes_per_s: None },
        Event::Job {
            id: 1,
            name: name(),
            state: JobState::Running,
            source: JobSource::Background,
            done_bytes: Some(1),
            total_bytes: None,
            why: None,
        },
        Event::Help { text: "help".into() },
    ];
    others.into_iter().chain(downloads.map(Event::Download)).collect()
}

#[test]
fn each_variant_has_a_sample() {
    let samples = samples();
    for variant in EVENTS {
        assert!(samples.iter().any(|event| variant_of(event) == *variant), "no sample of {variant}");
    }
    let downloads: Vec<_> = samples.iter().filter_map(Event::as_download).collect();
    for variant in DOWNLOAD_EVENTS {
        let has_variant = downloads.iter().any(|event| download_variant_of(event) == *variant);
        assert!(has_variant, "no sample of {variant}");
    }
}

#[test]
fn the_line_of_each_event_is_read_back() {
    for event in samples() {
        let record = event.at(1_700_000_000_123_456_789);
        let line = record.to_line();
        assert!(line.starts_with(r#"{"event":""#) && !line.contains('\n'), "{line}");
        assert!(line.ends_with(r#""ts":"2023-11-14T22:13:20.123Z"}"#), "{line}");
        assert_eq!(Record::from_line(&line).expect(&line), record);
    }
    let of_a_job = Record { job: Some(3), ..Event::from(DownloadEvent::Hashing { name: name() }).at(0) };
    assert_eq!(Record::from_line(&of_a_job.to_line()).expect("a record"), of_a_job);
}

#[test]
fn the_schema_has_each_event_and_no_other() {
    let tag = |event: Event| {
        let value = serde_json::to_value(event.at(0)).expect("JSON");
        value["event"].as_str().expect("a tag").to_owned()
    };
    let mut published: Vec<_> = samples().into_iter().map(tag).collect();
    published.dedup();
    published.sort();
    assert_eq!(schema::events(), published);
}

#[test]
fn the_schema_refuses_lines_that_are_not_events() {
    let ts = r#""ts":"2023-11-14T22:13:20.123Z""#;
    for line in [
        format!(r#"{{"event":"nonsense",{ts}}}"#),
        format!(r#"{{"event":"hashing",{ts}}}"#),
        format!(r#"{{"event":"hashing","name":"a","surprise":1,{ts}}}"#),
        format!(r#"{{"event":"load","addr":"127.0.0.1:1","load":-1,{ts}}}"#),
        r#"{"event":"hashing","name":"a"}"#.to_owned(),
        r#"{"event":"hashing","name":"a","ts":"yesterday"}"#.to_owned(),
    ] {
        assert!(schema::faults(&line).is_some(), "{line}");
    }
}

#[test]
fn names_in_a_line_are_escaped_and_are_read_back_unchanged() {
    for text in ["it's \"quoted\"", "back\\slash", "größe 文件", "abc\u{202e}gpj.exe", "tag\u{e0041}s"] {
        let event = Event::from(DownloadEvent::Hashing { name: FileName::new(text).expect("a name") });
        let line = event.clone().at(0).to_line();
        assert_eq!(Record::from_line(&line).expect(&line).event, event);
        assert!(!line.chars().any(is_unsafe), "{line:?}");
    }
    let line = Event::error("\u{1b}[2J\n\u{9b}", ErrorCode::Other).at(0).to_line();
    assert!(!line.chars().any(is_unsafe), "{line:?}");
}

#[test]
fn the_line_of_an_event_has_its_documented_fields_in_order() {
    let line = |event: Event| {
        let line = event.at(1_700_000_000_123_456_789).to_line();
        line.replace(r#","ts":"2023-11-14T22:13:20.123Z""#, "")
    };
    let (b3, md5) = ("cd".repeat(32), "ab".repeat(16));
    let lines: Vec<String> = samples().into_iter().map(line).collect();
    for expected in [
        r#"{"event":"listening","program":"node","addr":"127.0.0.1:5002"}"#.to_owned(),
        r#"{"event":"node","addr":"127.0.0.1:5002","state":"live","files":3,"load":null}"#.to_owned(),
        r#"{"event":"node","addr":"127.0.0.1:5002","state":"gone","files":0,"load":null}"#.to_owned(),
        format!(r#"{{"event":"file","name":"a.bin","size_bytes":7,"md5":"{md5}","b3":null,"kind":"local"}}"#),
        format!(r#"{{"event":"ranked","name":"a.bin","b3":"{b3}","ranking":[{{"addr":"127.0.0.1:5002","#)
            + r#""latency_ms":0.039,"latency_from":"measured","load":0,"score_ms":0.039,"yours":0}],"#
            + r#""size_bytes":7}"#,
        format!(r#"{{"event":"done","name":"a.bin","b3":"{b3}","size_bytes":7,"outcome":"fetched","#)
            + r#""from":["127.0.0.1:5002"],"md5":null,"pieces":10}"#,
        r#"{"event":"job","id":1,"name":"a.bin","state":"running","origin":"background","done_bytes":1,"#
            .to_owned()
            + r#""total_bytes":null,"why":null}"#,
    ] {
        assert!(lines.contains(&expected), "{expected}\n{lines:#?}");
    }
}
