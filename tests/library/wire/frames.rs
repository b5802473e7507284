//! Tests of the wire format: golden frames of every message, and the handling of bytes that are no message.
//!
//! `tests/golden/frames.txt` is the protocol as it was released: a change there breaks every released node. A
//! variant without a name in `messages` does not compile. A name without a golden frame fails.

use std::collections::BTreeMap;

use super::messages::{Message, entry, name, node};
use super::second_format;
use nearpeer::proto::frame::{HEADER_BYTES, MAGIC};
use nearpeer::proto::peer::{PeerRefusal, PeerReply, PeerRequest};
use nearpeer::proto::tracker::{TrackerReply, TrackerRequest};
use nearpeer::proto::{CodecError, Decoder, decode, encode, frame};
use nearpeer::types::{ContentPrefix, Query};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use rustix::process::{Resource, Rlimit, setrlimit};

const GOLDEN_PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/frames.txt");
const GOLDEN_HEAD: &str = "\
# One frame of every message of protocol version 1: its name, then its bytes in hex (docs/PROTOCOL.md).
# What is here was released: do not change a line, add lines. To write it anew from tests/library/wire/messages.rs:
#   NEARPEER_WRITE_GOLDEN=1 cargo test --test library golden
# That run fails on purpose; read the difference before committing it.
";

/// Calls a generic check for every message type.
macro_rules! for_each_message {
    ($check:ident($($argument:expr),*)) => {
        $check::<TrackerRequest>($($argument),*);
        $check::<TrackerReply>($($argument),*);
        $check::<PeerRequest>($($argument),*);
        $check::<PeerReply>($($argument),*);
    };
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).expect("hex")).collect()
}

fn body<T: Message>(message: &T) -> Vec<u8> {
    encode(message).expect("a sample fits a frame")
}

fn collect<T: Message>(lines: &mut Vec<(String, Vec<u8>)>) {
    let samples = T::samples();
    for name in T::NAMES {
        let named: Vec<_> = samples.iter().filter(|sample| sample.name() == *name).collect();
        assert!(!named.is_empty(), "{name} has no sample");
        lines.extend(named.iter().map(|one| ((*name).to_owned(), frame(*one).expect("fits a frame"))));
    }
}

fn check_golden<T: Message>(golden: &BTreeMap<String, Vec<u8>>) {
    for sample in T::samples() {
        let bytes =
            golden.get(sample.name()).unwrap_or_else(|| panic!("{} has no golden frame", sample.name()));
        assert_eq!(hex(&frame(&sample).expect("fits a frame")), hex(bytes), "{}", sample.name());
        let mut decoder = Decoder::new();
        decoder.push(bytes);
        let body = decoder.next().expect("a frame").expect("a whole frame");
        assert_eq!(decode::<T>(body).as_ref(), Ok(&sample));
        let decoded: T =
            second_format::decode(body).unwrap_or_else(|error| panic!("{}: {error}", sample.name()));
        assert_eq!(decoded, sample, "the second implementation reads {}", sample.name());
        assert_eq!(hex(&second_format::encode(&decoded).expect("encoded")), hex(body), "{}", sample.name());
        assert_eq!(decoder.waiting_bytes(), 0);
    }
}

fn read_golden() -> BTreeMap<String, Vec<u8>> {
    let text = std::fs::read_to_string(GOLDEN_PATH).expect("the golden file is there");
    let rows = text.lines().filter(|line| !line.starts_with('#'));
    let rows = rows.map(|row| row.split_once(' ').expect("name and hex"));
    rows.map(|(name, bytes)| (name.to_owned(), unhex(bytes))).collect()
}

#[test]
fn golden_frames_match_both_ways() {
    let mut lines = Vec::new();
    for_each_message!(collect(&mut lines));
    if std::env::var_os("NEARPEER_WRITE_GOLDEN").is_some() {
        let rows: String = lines.iter().map(|(name, bytes)| format!("{name} {}\n", hex(bytes))).collect();
        std::fs::write(GOLDEN_PATH, GOLDEN_HEAD.to_owned() + &rows).expect("the golden file can be written");
        panic!("{GOLDEN_PATH} was rewritten: read the difference, then run without NEARPEER_WRITE_GOLDEN");
    }
    let golden = read_golden();
    let known: Vec<_> = lines.iter().map(|(name, _)| name).collect();
    assert!(golden.keys().all(|name| known.contains(&name)), "a golden frame belongs to no message");
    assert_eq!(golden.len(), known.len(), "one golden frame for each sample");
    for_each_message!(check_golden(&golden));
}

/// Each example is a line of hex digits, and a table whose rows give an offset and the bytes there, without a
/// gap.
#[test]
fn the_examples_of_the_documentation_are_golden_frames() {
    let golden = read_golden();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/PROTOCOL.md");
    let document = std::fs::read_to_string(path).expect("the documentation is there");
    let (_, examples) = document.split_once("## 6. Examples").expect("its examples");
    let mut frames: Vec<&str> = examples.lines().filter(|line| line.starts_with("4e505201")).collect();
    assert!(frames.iter().all(|frame| golden.values().any(|bytes| hex(bytes) == *frame)));

    let mut tables: Vec<String> = Vec::new();
    for row in examples.lines().filter_map(|line| line.strip_prefix("| ")) {
        let cells: Vec<_> = row.split(" | ").collect();
        let Ok(offset) = cells[0].parse::<usize>() else { continue };
        if offset == 0 {
            tables.push(String::new());
        }
        let table = tables.last_mut().expect("a table begins at offset 0");
        assert_eq!(table.len(), 2 * offset, "{row}");
        table.push_str(cells[1].trim_matches('`'));
    }
    frames.sort_unstable();
    tables.sort_unstable();
    assert_eq!(tables, frames, "each example has its table");
    assert!(!frames.is_empty());
}

fn check_prefixes<T: Message>() {
    for sample in T::samples() {
        let frame = frame(&sample).expect("fits a frame");
        for len in 0..frame.len() {
            let mut decoder = Decoder::new();
            decoder.push(&frame[..len]);
            assert_eq!(decoder.next(), Ok(None), "{} cut to {len} bytes", sample.name());
        }
        let mut body = body(&sample);
        for len in 0..body.len() {
            let refused = matches!(decode::<T>(&body[..len]), Err(CodecError::Malformed(_)));
            assert!(refused, "{} cut to {len} bytes", sample.name());
        }
        body.push(0);
        assert_eq!(decode::<T>(&body), Err(CodecError::Trailing(1)), "{}", sample.name());
    }
}

#[test]
fn every_prefix_is_refused_and_so_is_a_trailing_byte() {
    for_each_message!(check_prefixes());
}

/// Checks that bytes which decode are exactly the encoding of the decoded value, and that all other bytes are
/// refused.
fn check_bytes<T: Message>(bytes: &[u8]) {
    if let Ok(message) = decode::<T>(bytes) {
        assert_eq!(hex(&body(&message)), hex(bytes), "two encodings of {message:?}");
    }
}

#[test]
fn bytes_of_every_length_are_a_message_or_refused() {
    let mut random = SmallRng::seed_from_u64(0x7769_7265);
    for len in 0..=256 {
        for_each_message!(check_bytes(&vec![0; len]));
        for_each_message!(check_bytes(&vec![0xff; len]));
        for _ in 0..64 {
            // Small numbers reach deeper into the decoder than random bytes, because they are valid tags and
            // lengths.
            let top = [1, 3, 12, 255][random.random_range(0..4)];
            let bytes: Vec<u8> = (0..len).map(|_| random.random_range(0..=top)).collect();
            for_each_message!(check_bytes(&bytes));
        }
    }
}

/// Writes each claimed length over every 8 bytes of every sample. The decoder must not allocate so much
/// memory.
fn check_claims<T: Message>() {
    for sample in T::samples() {
        let body = body(&sample);
        for at in 0..body.len().saturating_sub(7) {
            for claim in [1 << 20, (1 << 20) + 1, 1 << 32, 1 << 44, 1 << 63, u64::MAX] {
                let mut forged = body.clone();
                forged[at..at + 8].copy_from_slice(&u64::to_le_bytes(claim));
                check_bytes::<T>(&forged);
            }
        }
    }
}

/// Limits this process to that many KiB more memory than it has now. A larger allocation aborts it.
fn cap_memory(more_kib: u64) {
    let status = std::fs::read_to_string("/proc/self/status").expect("procfs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmData:")).expect("VmData");
    let now_kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    let cap = Some((now_kib + more_kib) << 10);
    setrlimit(Resource::Data, Rlimit { current: cap, maximum: cap }).expect("a lower limit is allowed");
}

#[test]
fn claimed_lengths_are_refused_and_never_allocated() {
    const ALONE: &str = "NEARPEER_WIRE_ALONE";
    if std::env::var_os(ALONE).is_none() {
        // The limit holds for a whole process, so this test runs alone in its own process.
        let child = std::process::Command::new(std::env::current_exe().expect("this test's executable"))
            .args([
                "--exact",
                "wire::frames::claimed_lengths_are_refused_and_never_allocated",
                "--test-threads=1",
            ])
            .env(ALONE, "1")
            .output()
            .expect("the child runs");
        assert!(child.status.success(), "{:?} {}", child.status, String::from_utf8_lossy(&child.stderr));
        return;
    }
    // A list may reserve 1 MiB at first, and two lists can be nested.
    cap_memory(3 << 10);
    for_each_message!(check_claims());

    // The longest claims, one by one: a list and a text without the claimed bytes.
    for claim in [1u64 << 20, 1 << 63, u64::MAX] {
        let mut list = body(&PeerReply::Manifest { first_piece: 0, pieces: vec![] });
        list.splice(8.., claim.to_le_bytes());
        assert!(matches!(decode::<PeerReply>(&list), Err(CodecError::Malformed(_))), "{claim}");
        let mut text = body(&PeerReply::Refused(PeerRefusal::Malformed(String::new())));
        text.splice(8.., claim.to_le_bytes());
        assert!(matches!(decode::<PeerReply>(&text), Err(CodecError::Malformed(_))), "{claim}");
    }
}

fn check_round_trip<T: Message>() {
    let round_trip = |message: T| {
        let bytes = frame(&message).expect("fits a frame");
        prop_assert_eq!(&bytes[..4], &MAGIC);
        prop_assert_eq!(decode::<T>(&bytes[HEADER_BYTES..]), Ok(message));
        Ok(())
    };
    TestRunner::new(ProptestConfig::with_cases(256)).run(&T::any(), round_trip).expect("every message");
}

#[test]
fn every_message_survives_the_wire() {
    for_each_message!(check_round_trip());
}

/// Replaces the only occurrence of `what` in `body` by `with`, and decodes the result.
fn patched<T: Message>(message: &T, what: &[u8], with: &[u8]) -> Result<T, CodecError> {
    let mut body = body(message);
    let places: Vec<_> = (0..body.len()).filter(|at| body[*at..].starts_with(what)).collect();
    assert_eq!(places.len(), 1, "{what:02x?} must be there once");
    body[places[0]..places[0] + with.len()].copy_from_slice(with);
    decode(&body)
}

#[test]
fn a_bad_name_or_bad_text_is_refused_at_decode() {
    let register = TrackerRequest::Register { entries: vec![entry("aa/a.bin")], last: true };
    let find = TrackerRequest::Find { query: Query::Name(name("aa/a.bin")), skip: 0 };
    assert!(patched(&register, b"aa/a.bin", b"bb/b.bin").is_ok());
    for bad in [
        b"../a.bin",
        b"aa/../bb",
        b"/a/a.bin",
        b"aa//.bin",
        b"aa/.abin",
        b"aa/a\0bin",
        b"aa/a\nbin",
        b"aa\x1b[2Jmm",
        b"aa/a\xffbin",
        b"\xc3\x28/a.bin",
        b"aa/a.bi/",
    ] {
        for message in [&register, &find] {
            let result = patched(message, b"aa/a.bin", bad);
            assert!(matches!(result, Err(CodecError::Malformed(_))), "{bad:?}: {result:?}");
        }
    }
    let refusal = PeerReply::Refused(PeerRefusal::Unreadable("no text".to_owned()));
    assert!(matches!(patched(&refusal, b"no", b"\xff\xfe"), Err(CodecError::Malformed(_))));
}

#[test]
fn a_content_prefix_must_say_how_many_of_its_digits_count() {
    let find = |hex: &str| TrackerRequest::Find {
        query: Query::Content(ContentPrefix::from_hex(hex).expect(hex)),
        skip: 0xeeee_eeee,
    };
    // The count is the byte before `skip`.
    let with_count = |message: &TrackerRequest, count: u8| {
        let mut body = body(message);
        let at = body.len() - 5;
        body[at] = count;
        decode::<TrackerRequest>(&body)
    };
    let (short, whole) = (find("1111111111111111"), find(&"1".repeat(64)));
    for count in 0..=u8::MAX {
        assert_eq!(with_count(&short, count).is_ok(), (16..=64).contains(&count), "{count} of 16 digits");
        assert_eq!(with_count(&whole, count).is_ok(), count == 64, "{count} of 64 digits");
    }
}

#[test]
fn tags_and_flags_that_are_not_defined_are_refused() {
    let heartbeat = body(&TrackerRequest::Heartbeat { load: 3 });
    for tag in [11, 255, u32::MAX] {
        let mut forged = heartbeat.clone();
        forged[..4].copy_from_slice(&u32::to_le_bytes(tag));
        assert!(matches!(decode::<TrackerRequest>(&forged), Err(CodecError::Malformed(_))), "tag {tag}");
    }
    for flag in 0..=u8::MAX {
        let mut register = body(&TrackerRequest::Register { entries: vec![], last: true });
        *register.last_mut().expect("not empty") = flag;
        assert_eq!(decode::<TrackerRequest>(&register).is_ok(), flag < 2, "bool {flag}");
        let mut load = body(&PeerRequest::Load { asker: node(), content: None });
        *load.last_mut().expect("not empty") = flag;
        assert_eq!(decode::<PeerRequest>(&load).is_ok(), flag == 0, "option {flag}");
    }
}
