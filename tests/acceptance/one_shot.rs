//! One-shot commands: the same results and exit codes as at a pipe, without a share, a listener or a
//! registration.

use std::fs;
use std::io::Write;
use std::time::Instant;

use rustix::process::Signal;

use crate::support::DEADLINE;
use crate::support::content::{b3_hex, md5_hex, noise};
use crate::support::events;
use crate::support::process::Stream;
use crate::support::rows::{find_rows, node_row};
use crate::support::world::{NodeSpec, Ran, World, assert_only};

/// The events of a command with `--json`, which are all of its stdout.
fn json_events(ran: &Ran) -> Vec<serde_json::Value> {
    let printed = events::parse_all(&ran.out);
    let end = printed.last().unwrap_or_else(|| panic!("no event was printed: {ran:#?}"));
    assert_eq!((&end["event"], &end["exit_code"]), (&"end".into(), &ran.code.into()), "{ran:#?}");
    printed
}

fn of<'a>(printed: &'a [serde_json::Value], kind: &str) -> Vec<&'a serde_json::Value> {
    printed.iter().filter(|event| event["event"] == kind).collect()
}

#[test]
fn find_prints_the_same_as_in_a_node_and_registers_nothing() {
    let world = World::new().tracker();
    let holder = world.holder(&[("a b.bin", b"bytes")]);
    for verb in ["find", "lookup"] {
        let ran = world.one_shot(&[verb, "a b.bin"]);
        assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{ran:#?}");
        let rows = find_rows(&ran.out);
        assert_eq!((rows.len(), rows[0].endpoint, rows[0].name.as_str()), (1, holder.addr, "a b.bin"));
    }
    let ran = world.one_shot(&["nodes"]);
    let nodes: Vec<_> = ran.out.iter().map(|line| node_row(line).endpoint).collect();
    assert_eq!((ran.code, nodes), (0, vec![holder.addr]), "a guest is not listed");
    let ran = world.one_shot(&["find", "--json", &format!("md5={}", md5_hex(b"bytes"))]);
    let printed = json_events(&ran);
    let row = of(&printed, "found")[0];
    assert_eq!(
        (&row["chosen"], &row["state"], &row["latency_from"]),
        (&true.into(), &"full".into(), &"measured".into())
    );
    assert_eq!((&row["load"], &row["b3"]), (&0.into(), &b3_hex(b"bytes").into()));
}

#[test]
fn missing_content_a_missing_tracker_and_bad_words_have_their_exit_codes() {
    let world = World::new().tracker();
    let ran = world.one_shot(&["find", "nothing"]);
    assert_eq!((ran.code, ran.out), (3, vec!["No nodes found".to_owned()]));
    let ran = world.one_shot(&["download", "nothing", "--dir", "/tmp", "--json"]);
    let all = json_events(&ran);
    let failed = of(&all, "failed")[0];
    assert_eq!((ran.code, &failed["code"], &failed["exit_code"]), (3, &"not_found".into(), &3.into()));
    for words in [
        &["find"][..],
        &["find", "../x"],
        &["getload", "localhost", "1"],
        &["getload", "::1", "0"],
        &["fnid", "x"],
    ] {
        assert_eq!(world.one_shot(words).code, 2, "{words:?}");
    }
    let nowhere = World::new();
    for words in [&["find", "a"][..], &["nodes"], &["list"], &["stats"], &["download", "a", "--dir", "/tmp"]]
    {
        let ran = nowhere.one_shot(words);
        assert_eq!(ran.code, 4, "{words:?}: {ran:#?}");
        crate::assert_clear(&ran.err, &["no tracker at 127.0.0.1:9"]);
    }
}

#[test]
fn a_download_goes_into_a_directory_a_file_or_standard_output() {
    let bytes = noise(41, (2 << 20) + 5);
    let world = World::new().tracker();
    let _holder = world.holder(&[("dir/large.bin", &bytes)]);
    let dir = world.directory();
    let path = dir.display().to_string();
    let ran = world.one_shot(&["download", "dir/large.bin", "-d", &path]);
    assert_eq!(ran.code, 0, "{ran:#?}");
    assert!(ran.out[0].starts_with("downloaded dir/large.bin 2097157 bytes "), "{ran:#?}");
    assert_only(&dir, &["dir/", "dir/large.bin"]);
    assert!(fs::read(dir.join("dir/large.bin")).expect("in place") == bytes);
    let again = world.one_shot(&["download", "dir/large.bin", "-d", &path]);
    assert!(again.code == 0 && again.out[0].starts_with("already here "), "{again:#?}");

    let other = world.directory();
    let file = other.join("mine.bin");
    let to_file = ["download", "dir/large.bin", "-o", &file.display().to_string()];
    assert_eq!(world.one_shot(&to_file).code, 0);
    assert!(fs::read(&file).expect("in place") == bytes);
    assert_only(&other, &["mine.bin"]);
    let again = world.one_shot(&to_file);
    assert!(again.code == 0 && again.out[0].starts_with("already here "), "{again:#?}");
    fs::write(&file, "else").expect("written");
    let refused = world.one_shot(&to_file);
    assert_eq!(refused.code, 11, "{refused:#?}");
    assert_eq!(world.one_shot(&[&to_file[..], &["--force"]].concat()).code, 0);
    assert!(fs::read(&file).expect("in place") == bytes);
    assert_only(&other, &["mine.bin"]);

    let ran = world.one_shot(&["download", "dir/large.bin", "-o", "-"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.err.contains("downloaded dir/large.bin "), "the result is beside the bytes: {}", ran.err);
    assert!(!ran.out.iter().any(|line| line.starts_with("downloaded ")));
    let gone = world.one_shot(&["download", "nothing", "-o", &other.join("x").display().to_string()]);
    assert_eq!(gone.code, 3);
    assert_only(&other, &["mine.bin"]);
}

#[test]
fn standard_output_gets_exactly_the_file() {
    let bytes: Vec<u8> = b"line\n".repeat(1000);
    let world = World::new().tracker();
    let _holder = world.holder(&[("text", &bytes)]);
    let ran = world.one_shot(&["download", "text", "-o", "-", "--progress", "none"]);
    assert_eq!((ran.code, ran.out.len()), (0, 1000));
    assert!(ran.out.iter().all(|line| line == "line"));
}

#[test]
fn a_checksum_that_does_not_match_is_exit_8_and_nothing_is_left() {
    let world = World::new().tracker();
    let _holder = world.holder(&[("a.bin", b"bytes")]);
    let dir = world.directory();
    let path = dir.display().to_string();
    let wrong = format!("b3={}", b3_hex(b"other"));
    let ran = world.one_shot(&["download", "a.bin", "-d", &path, "--checksum", &wrong]);
    assert_eq!(ran.code, 8, "{ran:#?}");
    assert_only(&dir, &[]);
    let right = format!("md5={}", md5_hex(b"bytes"));
    let ran = world.one_shot(&["download", "a.bin", "-d", &path, "--checksum", &right, "--verify", "whole"]);
    assert_eq!(ran.code, 0, "{ran:#?}");
}

#[test]
fn json_events_cover_a_download_from_the_ranking_to_its_end() {
    let bytes = noise(42, 3 << 20);
    let world = World::new().tracker();
    let holder = world.holder(&[("large.bin", &bytes)]);
    let dir = world.directory();
    let ran = world.one_shot(&["download", "large.bin", "-d", &dir.display().to_string(), "--json"]);
    let printed = json_events(&ran);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "all is on standard output: {ran:#?}");
    assert_eq!(of(&printed, "ranked")[0]["ranking"][0]["addr"], holder.addr.to_string());
    assert_eq!(of(&printed, "bytes").last().expect("three pieces")["done_bytes"], 3 << 20);
    assert_eq!(of(&printed, "done")[0]["outcome"], "fetched");
}

#[test]
fn getload_list_stats_and_sources_answer() {
    let world = World::new().tracker();
    let holder = world.holder(&[("a", b"same"), ("dir/b", b"b")]);
    let other = world.holder(&[("a", b"same")]);
    let (ip, port) = (holder.addr.ip().to_string(), holder.addr.port().to_string());
    let ran = world.one_shot(&["getload", &ip, &port]);
    assert_eq!((ran.code, ran.out), (0, vec![format!("{ip} {port} load 0")]));
    assert_eq!(world.one_shot(&["list"]).out, ["a", "dir/b"]);
    let dir = world.directory();
    fs::write(dir.join("mine"), "four").expect("written");
    assert_eq!(world.one_shot(&["list", "-d", &dir.display().to_string()]).out, ["4 - mine"]);
    let stats = world.one_shot(&["stats"]).out;
    assert!(stats.contains(&"nodes_live 2".to_owned()), "{stats:#?}");

    let latency = world.latency_file();
    let (me, default) = ("127.0.0.1:7".parse().expect("an address"), "--default-latency-ms=50");
    crate::support::world::write_latency(&latency, &[(me, holder.addr, 30.5)]);
    let file = format!("--latency-file={}", latency.display());
    let ran = world.one_shot(&["sources", "a", &file, "--as", "127.0.0.1:7", default]);
    assert_eq!(ran.code, 0, "{ran:#?}");
    let b3 = &b3_hex(b"same")[..16];
    let expected = [
        format!("a 4 bytes b3 {b3}: 2 full, meant"),
        format!("1 {ip} {port} score 30.5 = latency 30.5 file + 10 * load 0 full chosen"),
        format!("2 {ip} {} score 50 = latency 50 default + 10 * load 0 full", other.addr.port()),
    ];
    assert_eq!(ran.out, expected);
    assert_eq!(world.one_shot(&["sources", "nobodys"]).code, 3);
}

#[test]
fn a_timeout_is_exit_6_and_the_partial_file_stays() {
    let bytes = noise(43, 4 << 20);
    let mut world = World::new().tracker();
    let slow = NodeSpec::new().headless().file("slow.bin", &bytes).flags(&["--max-upload", "200k"]);
    let _slow = world.start(slow);
    let dir = world.directory();
    let ran =
        world.one_shot(&["download", "slow.bin", "-d", &dir.display().to_string(), "--timeout", "300ms"]);
    assert_eq!(ran.code, 6, "{ran:#?}");
    crate::assert_clear(&ran.err, &["300ms", "--timeout"]);
    world.tracker_process().signal(Signal::STOP);
    let began = Instant::now();
    let ran = world.one_shot(&["find", "slow.bin", "--timeout", "200ms", "--json"]);
    world.tracker_process().signal(Signal::CONT);
    let printed = json_events(&ran);
    assert_eq!((ran.code, &of(&printed, "error")[0]["code"]), (6, &"timed_out".into()));
    assert!(began.elapsed() < DEADLINE / 2, "{:?}", began.elapsed());
}

#[test]
fn ctrl_c_cancels_with_130_and_leaves_nothing_in_place() {
    let bytes = noise(44, 4 << 20);
    let world = World::new().tracker();
    let slow = NodeSpec::new().headless().file("slow.bin", &bytes).flags(&["--max-upload", "200k"]);
    let _slow = world.start(slow);
    let dir = world.directory();
    let path = dir.display().to_string();
    let mut process = world.launch_one_shot(&["download", "slow.bin", "-d", &path, "--json"]);
    process.expect_line(Stream::Stdout, 0, DEADLINE, "a source", |line| line.contains(r#""event":"source""#));
    process.signal(Signal::INT);
    assert_eq!(process.wait(DEADLINE), 130, "{}", process.transcript());
    assert!(!dir.join("slow.bin").exists());
}

#[test]
fn verify_separates_files_that_match_their_digests_from_changed_ones() {
    let world = World::new().tracker();
    let holder = world.start(NodeSpec::new().headless().file("good", b"good").file("damaged", b"damaged"));
    let path = holder.share.display().to_string();
    let ran = world.one_shot(&["verify", "-d", &path]);
    let ok = |name: &str, bytes: &[u8]| format!("ok {} {} {name}", bytes.len(), &b3_hex(bytes)[..16]);
    assert_eq!((ran.code, ran.out), (0, vec![ok("damaged", b"damaged"), ok("good", b"good")]));
    let mut file = fs::OpenOptions::new().write(true).open(holder.share.join("damaged")).expect("there");
    file.write_all(b"X").expect("written");
    drop(file);
    fs::write(holder.share.join("new"), "new").expect("written");
    let ran = world.one_shot(&["verify", "-d", &path]);
    let differs = format!("differs 7 {} damaged", &b3_hex(b"Xamaged")[..16]);
    let unknown = format!("unknown 3 {} new", &b3_hex(b"new")[..16]);
    assert_eq!((ran.code, ran.out), (8, vec![differs, ok("good", b"good"), unknown]));
    assert!(ran.err.contains("damaged: published: 7 bytes b3 "), "{}", ran.err);
    let ran = world.one_shot(&["verify", "good", "missing", "-d", &path]);
    assert_eq!((ran.code, ran.out), (10, vec![ok("good", b"good"), "unreadable 0 - missing".to_owned()]));
}

#[test]
fn a_hostile_name_is_inert_in_text_and_json() {
    let world = World::new().tracker();
    let name = "a\u{202e}gpj.exe";
    let _holder = world.holder(&[(name, b"x")]);
    for words in [&["list"][..], &["list", "--json"], &["find", name], &["find", name, "--json"]] {
        let ran = world.one_shot(words);
        assert_eq!(ran.code, 0, "{ran:#?}");
        assert!(ran.out.iter().all(|line| !line.contains('\u{202e}')), "{ran:#?}");
    }
    let ran = world.one_shot(&["list", "--json"]);
    assert_eq!(of(&json_events(&ran), "name")[0]["name"], name);
}

#[test]
fn a_silent_peer_is_named_beside_the_result() {
    let world = World::new().tracker();
    let _live = world.holder(&[("a", b"same")]);
    let frozen = world.holder(&[("a", b"same")]);
    frozen.process.signal(Signal::STOP);
    let ran = world.one_shot(&["find", "a", "--json"]);
    frozen.process.signal(Signal::CONT);
    let printed = json_events(&ran);
    assert_eq!((ran.code, of(&printed, "found").len(), of(&printed, "silent").len()), (0, 1, 1), "{ran:#?}");
}

/// A program that requests a text gets it, or learns that it was not written.
#[test]
fn results_that_cannot_be_written_are_a_failure() {
    let world = World::new().tracker();
    let holder = world.holder(&[("a", b"a")]);
    let (dir, tracker) = (holder.share.display().to_string(), world.tracker_addr().to_string());
    let nobodys = world.directory();
    fs::write(nobodys.join("b"), "b").expect("written");
    let node = env!("CARGO_BIN_EXE_node");
    for words in [
        &["find", "a", "--tracker", &tracker][..],
        &["verify", "-d", &dir, "--tracker", &tracker],
        &["verify", "-d", &dir, "--tracker", &tracker, "--json"],
        &["list", "-d", nobodys.to_str().expect("text")],
        &["completions", "bash"],
        &["--help"],
        &["--print-limits"],
        &["127.0.0.1", "0", &dir, "--print-config"],
    ] {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("Linux has it");
        let mut command = std::process::Command::new(node);
        command.args(words).stdin(std::process::Stdio::null()).stdout(full);
        let ran = command.output().expect("it runs");
        assert_eq!(ran.status.code(), Some(10), "{words:?}: {ran:?}");
    }
}
