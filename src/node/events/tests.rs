//! Tests of the translation: each progress is an event and comes back, bytes are paced, findings keep their
//! order and say what is chosen.

use super::*;
use crate::rt::clock;
use crate::types::{FileEntry, Md5Digest, Md5Origin};

const MIB: u64 = 1 << 20;

fn addr(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn name(text: &str) -> FileName {
    FileName::new(text).expect("a name")
}

fn key(number: u8) -> ContentKey {
    ContentKey {
        size_bytes: 7,
        id: ContentPrefix::from_hex(&format!("{number:02x}").repeat(32)).expect("hex").first(),
    }
}

fn journal() -> Journal {
    Journal::new(name("a.bin"))
}

fn rated(port: u16, latency_ms: u64, load: u32) -> Rating {
    let candidate = Candidate {
        endpoint: addr(port),
        latency: Millis::from_ms(latency_ms),
        latency_origin: LatencyOrigin::Table,
        load,
        yours: 0,
    };
    Rating { candidate, score: Millis::from_ms(latency_ms + 10 * u64::from(load)) }
}

fn bytes(done_mib: u64) -> Progress {
    let done_bytes = done_mib * MIB;
    Progress::Bytes { done_bytes, total_bytes: 10 * MIB, fetched_bytes: done_bytes }
}

#[test]
fn each_progress_is_an_event_and_comes_back() {
    let mut journal = journal();
    for told in [
        Progress::Ranked { key: key(0xcd), ranking: vec![rated(5002, 20, 1), rated(5003, 40, 0)] },
        Progress::Chose { key: key(0xcd), holders: 3, others: 1 },
        Progress::Resumed { marked_bytes: 5 },
        Progress::Source { endpoint: addr(5002) },
        Progress::Left { endpoint: addr(5002), why: Some("closed".into()) },
        Progress::Retry { round: 1, of: 4, pause: Duration::from_millis(1500) },
        Progress::Waiting,
        Progress::Hashing,
        bytes(10),
    ] {
        let event = journal.event(&told, clock::now()).expect("an event");
        event.clone().at(0).to_line();
        assert_eq!(event.download(), Some(&name("a.bin")));
        assert_eq!(progress(&event), Some(told));
    }
    assert_eq!(progress(&Event::failed(name("a.bin"), "no", ErrorCode::NoSpace)), None);
    let false_id = Event::Chose { name: name("a"), b3: "no".into(), holders: 1, others: 1, size_bytes: 1 };
    assert_eq!(progress(&false_id), None);
}

#[test]
fn sources_in_use_are_counted() {
    let mut journal = journal();
    let mut after = |progress: Progress| match journal.event(&progress, clock::now()) {
        Some(Event::Source { sources, .. } | Event::Left { sources, .. }) => sources,
        other => panic!("{other:?}"),
    };
    assert_eq!(after(Progress::Source { endpoint: addr(1) }), 1);
    assert_eq!(after(Progress::Source { endpoint: addr(2) }), 2);
    assert_eq!(after(Progress::Left { endpoint: addr(1), why: None }), 1);
}

#[test]
fn bytes_are_told_ten_times_a_second_and_the_last_always() {
    let begun = clock::now();
    let at = |ms| begun + Duration::from_millis(ms);
    let mut journal = journal();
    journal.event(&Progress::Source { endpoint: addr(5002) }, begun).expect("an event");
    let told: Vec<_> = [(1000, 1), (1050, 2), (1099, 3), (1100, 4), (1110, 5), (1120, 10)]
        .into_iter()
        .filter_map(|(ms, done)| journal.event(&bytes(done), at(ms)))
        .map(|event| match event {
            Event::Bytes { done_bytes, .. } => done_bytes / MIB,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(told, [1, 4, 10]);
    assert_eq!(journal.failed("no", ErrorCode::NoSpace, at(1130)).len(), 1, "nothing was withheld");
}

#[test]
fn bytes_have_rate_time_left_and_sources_and_those_withheld_come_before_the_end() {
    let begun = clock::now();
    let at = |ms| begun + Duration::from_millis(ms);
    let mut journal = journal();
    journal.event(&Progress::Source { endpoint: addr(5002) }, begun).expect("an event");
    let expected = |done: u64, rate: u64, eta: u64| Event::Bytes {
        name: name("a.bin"),
        done_bytes: done * MIB,
        eta_ms: Some(eta),
        fetched_bytes: done * MIB,
        rate_bytes_per_s: Some(rate * MIB),
        sources: 1,
        total_bytes: 10 * MIB,
    };
    assert_eq!(journal.event(&bytes(2), at(1000)), Some(expected(2, 2, 4000)));
    assert_eq!(journal.event(&bytes(3), at(1050)), None);
    let end = Event::Failed {
        name: name("a.bin"),
        why: "cancelled".into(),
        code: ErrorCode::Interrupted,
        exit_code: 7,
    };
    let last = journal.failed("cancelled", ErrorCode::Interrupted, at(1500));
    assert_eq!(last, [expected(3, 2, 3500), end]);
}

#[test]
fn a_file_of_one_piece_has_no_bytes_to_tell() {
    let mut journal = journal();
    let event = Progress::Bytes { done_bytes: MIB, total_bytes: MIB, fetched_bytes: MIB };
    assert_eq!(journal.event(&event, clock::now()), None);
    assert_eq!(journal.failed("no", ErrorCode::NoSpace, clock::now()).len(), 1);
}

#[test]
fn the_good_end_tells_what_is_here_now() {
    let fetched = Outcome::Fetched { md5: None, pieces: 10, sources: vec![addr(5002), addr(5003)] };
    let mut done = Downloaded { name: name("a.bin"), key: key(0xcd), outcome: fetched };
    let expected =
        |outcome| [Event::Done { name: name("a.bin"), b3: "cd".repeat(32), size_bytes: 7, outcome }];
    let from = vec![addr(5002), addr(5003)];
    let fetched = event::EventOutcome::Fetched { from, md5: None, pieces: 10 };
    assert_eq!(journal().done(&done, clock::now()), expected(fetched));
    done.outcome = Outcome::AlreadyHere;
    assert_eq!(journal().done(&done, clock::now()), expected(event::EventOutcome::AlreadyHere));
}

fn row(port: u16, rating: Option<Rating>, content: u8, holding: Holding) -> FoundRow {
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

fn check_chosen(groups: Vec<FoundGroup>, meant: Option<(u8, u16)>, expected: &[u16]) {
    let meant =
        meant.map(|(content, port)| ResolvedContent { key: group(content, vec![]).key, first: addr(port) });
    let report = FindReport { groups, silent: vec![], meant };
    let chosen = found(&Query::Name(name("a.bin")), &report).into_iter().filter_map(|event| match event {
        Event::Found(holder) => holder.chosen.then_some(holder.addr.port()),
        _ => None,
    });
    assert_eq!(chosen.collect::<Vec<_>>(), expected);
}

#[test]
fn the_first_of_the_content_that_is_meant_is_chosen() {
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
fn what_is_found_comes_after_who_is_silent_and_is_explained_place_by_place() {
    let rows = vec![
        row(2, Some(rated(2, 20, 1)), 1, Holding::Full),
        row(3, Some(rated(3, 1, 0)), 1, Holding::Pieces(2)),
        row(1, None, 1, Holding::Full),
    ];
    let report = FindReport {
        groups: vec![group(1, rows)],
        silent: vec![(addr(9), "closed".into())],
        meant: Some(ResolvedContent { key: group(1, vec![]).key, first: addr(2) }),
    };
    let events = found(&Query::Name(name("a.bin")), &report);
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
    let places: Vec<_> = explained(&report, Millis::from_ms(10))
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
fn each_way_a_command_fails_has_its_code() {
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
fn each_way_a_start_fails_has_its_code() {
    let (path, why) = ("d".to_owned(), "w".to_owned());
    for (error, code) in [
        (StartError::AddressInUse { addr: addr(1), why: why.clone() }, 15),
        (StartError::Listen { addr: addr(1), why: why.clone() }, 6),
        (StartError::NoSuchDirectory { path: path.clone(), why: why.clone() }, 2),
        (StartError::ShareInUse { path: path.clone() }, 10),
        (StartError::Latency { path, why }, 14),
        (StartError::System(std::io::Error::other("none left")), 1),
    ] {
        assert_eq!(ErrorCode::from(&error).exit_code(), code, "{error}");
    }
}
