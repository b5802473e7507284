//! Tests of reports as events: rows keep their order, and one of them is the chosen source.

use std::net::SocketAddr;

use super::*;
use crate::node::error::{CommandError, DownloadError, NodeStartError};
use crate::node::report::{Downloaded, FindReport, FoundGroup, FoundRow, ResolvedContent};
use crate::proto::event::{DownloadEvent, ErrorCode, Event, HolderState, Outcome};
use crate::types::{
    ContentId, ContentKey, FileEntry, FileName, Holding, LatencyOrigin, Md5Digest, Md5Origin, Millis, Query,
    Ranked,
};

const MIB: u64 = 1 << 20;

fn addr(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn name(text: &str) -> FileName {
    FileName::new(text).expect("a name")
}

fn key(number: u8) -> ContentKey {
    ContentKey { size_bytes: 7, id: ContentId([number; 32]) }
}

fn rated(port: u16, latency_ms: u64, load: u32) -> Ranked {
    Ranked {
        endpoint: addr(port),
        latency: Millis::from_ms(latency_ms),
        latency_origin: LatencyOrigin::Table,
        load,
        score: Millis::from_ms(latency_ms + 10 * u64::from(load)),
        yours: 0,
    }
}

#[test]
fn the_end_of_a_download_has_content_and_outcome() {
    let sources = vec![addr(5002), addr(5003)];
    for outcome in [Outcome::Fetched { md5: None, pieces: 10, sources }, Outcome::AlreadyHere] {
        let downloaded = Downloaded { name: name("a.bin"), key: key(0xcd), outcome: outcome.clone() };
        let (b3, size_bytes) = (key(0xcd).id, 7);
        assert_eq!(
            done_event(&downloaded),
            DownloadEvent::Done { name: name("a.bin"), b3, size_bytes, outcome }
        );
    }
}

fn row(port: u16, rating: Option<Ranked>, content: u8, holding: Holding) -> FoundRow {
    let entry = FileEntry {
        name: name("a.bin"),
        size_bytes: 3 * MIB,
        mtime_ns: 0,
        content: key(content).id,
        md5: Md5Digest([0xab; 16]),
        md5_origin: Md5Origin::Computed,
        holding,
        attributes: vec![],
    };
    FoundRow { endpoint: addr(port), http: None, entry, rating }
}

fn group(content: u8, rows: Vec<FoundRow>) -> FoundGroup {
    FoundGroup { key: ContentKey { size_bytes: 3 * MIB, id: key(content).id }, rows }
}

fn check_chosen(groups: Vec<FoundGroup>, resolved: Option<(u8, u16)>, expected: &[u16]) {
    let resolved = resolved
        .map(|(content, port)| ResolvedContent { key: group(content, vec![]).key, first: addr(port) });
    let report = FindReport { groups, silent: vec![], resolved };
    let chosen =
        find_events(&Query::Name(name("a.bin")), &report).into_iter().filter_map(|event| match event {
            Event::Found(holder) => holder.chosen.then_some(holder.addr.port()),
            _ => None,
        });
    assert_eq!(chosen.collect::<Vec<_>>(), expected);
}

#[test]
fn the_first_source_of_the_resolved_content_is_chosen() {
    let full = |port, content| row(port, Some(rated(port, 20, 0)), content, Holding::Full);
    let part = |port, content| row(port, Some(rated(port, 1, 0)), content, Holding::Pieces(1));
    let own = |content| row(1, None, content, Holding::Full);
    check_chosen(vec![], None, &[]);
    check_chosen(vec![group(1, vec![full(2, 1), full(3, 1), part(4, 1), own(1)])], Some((1, 2)), &[2]);
    check_chosen(vec![group(1, vec![full(2, 1)]), group(2, vec![full(2, 2)])], Some((2, 2)), &[2]);
    check_chosen(vec![group(1, vec![full(2, 1)]), group(2, vec![full(4, 2)])], None, &[]);
    check_chosen(vec![group(1, vec![own(1)])], Some((1, 1)), &[]);
}

#[test]
fn silent_holders_come_before_rows_and_each_row_has_its_place() {
    let rows = vec![
        row(2, Some(rated(2, 20, 1)), 1, Holding::Full),
        row(3, Some(rated(3, 1, 0)), 1, Holding::Pieces(2)),
        row(1, None, 1, Holding::Full),
    ];
    let report = FindReport {
        groups: vec![group(1, rows)],
        silent: vec![(addr(9), "closed".into())],
        resolved: Some(ResolvedContent { key: group(1, vec![]).key, first: addr(2) }),
    };
    let events = find_events(&Query::Name(name("a.bin")), &report);
    assert_eq!(events[0], Event::Silent { addr: addr(9), why: "closed".into() });
    assert_eq!(events[1], Event::Find { query: "a.bin".into(), rows: 3 });
    let seen: Vec<_> = events[2..]
        .iter()
        .map(|event| match event {
            Event::Found(holder) => (holder.state, holder.have_pieces, holder.score_ms),
            other => panic!("{other:?}"),
        })
        .collect();
    let expected = [
        (HolderState::Full, 3, Some(Millis::from_ms(30))),
        (HolderState::Part, 2, Some(Millis::from_ms(1))),
        (HolderState::Own, 3, None),
    ];
    assert_eq!(seen, expected);
    let places: Vec<_> = sources_events(&report, Millis::from_ms(10))
        .into_iter()
        .filter_map(|event| match event {
            Event::Candidate { place, load_weight_ms, holder } => {
                assert_eq!(load_weight_ms, Millis::from_ms(10));
                Some((place, holder.chosen))
            }
            _ => None,
        })
        .collect();
    assert_eq!(places, [(Some(1), true), (Some(2), false), (None, false)]);
}

#[test]
fn each_failure_of_a_command_has_its_code() {
    let why = || "w".to_owned();
    let failed =
        |all_by_digest| DownloadError::AllFailed { name: name("a"), attempts: vec![], all_by_digest };
    for (error, code) in [
        (CommandError::NoTracker { tracker: addr(1), why: why() }.into(), 4),
        (CommandError::TrackerRefused { tracker: addr(1), why: why() }.into(), 4),
        (CommandError::Unreachable { endpoint: addr(1), why: why() }.into(), 6),
        (CommandError::NoneAnswered(vec![(addr(1), why())]).into(), 5),
        (CommandError::Latency { path: "latency.txt".into(), why: why() }.into(), 14),
        (CommandError::Share(why()).into(), 10),
        (CommandError::Cancelled.into(), 7),
        (DownloadError::NotFound(why()), 3),
        (DownloadError::Ambiguous { name: name("a"), variants: vec![] }, 16),
        (DownloadError::Exists { name: name("a") }, 11),
        (failed(false), 5),
        (failed(true), 8),
        (DownloadError::Checksum { name: name("a"), checksum: why() }, 8),
        (DownloadError::NoSpace { name: name("a"), why: why() }, 9),
        (DownloadError::Disk { name: name("a"), why: why() }, 10),
    ] {
        assert_eq!(ErrorCode::from(&error).exit_code(), code, "{error}");
    }
}

#[test]
fn each_failure_of_a_start_has_its_code() {
    let (path, why) = ("d".to_owned(), "w".to_owned());
    for (error, code) in [
        (NodeStartError::AddressInUse { addr: addr(1), why: why.clone() }, 15),
        (NodeStartError::Listen { addr: addr(1), why: why.clone() }, 6),
        (NodeStartError::NoSuchDirectory { path: path.clone(), why: why.clone() }, 2),
        (NodeStartError::ShareInUse { path: path.clone() }, 10),
        (NodeStartError::Latency { path, why }, 14),
        (NodeStartError::System(std::io::Error::other("none left")), 1),
    ] {
        assert_eq!(ErrorCode::from(&error).exit_code(), code, "{error}");
    }
}
