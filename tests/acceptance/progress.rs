//! The output of `--progress` on standard error, at a pipe.

use std::time::Instant;

use serde_json::Value;

use crate::support::content::{b3_hex, noise};
use crate::support::world::{Node, NodeSpec, POLL_INTERVAL, Ran, World};
use crate::support::{DEADLINE, process::Stream};

const NAME: &str = "it's \"large\".bin";

/// Downloads a file of three pieces, and a name without holders.
fn downloads(flags: &[&str]) -> (World, Ran, Vec<u8>) {
    let bytes = noise(31, 3 << 20);
    let world = World::new().tracker();
    let _holder = world.holder(&[(NAME, &bytes)]);
    let commands = "download 'it'\\''s \"large\".bin'\ndownload nobody.bin\n";
    let ran = world.run(&NodeSpec::new().flags(flags), commands);
    assert_eq!(ran.code, 3, "{ran:#?}");
    assert!(ran.out[0].starts_with(&format!("downloaded {NAME} 3145728 bytes ")), "{ran:#?}");
    assert!(!ran.err.contains('\u{1b}') && !ran.err.contains('\r'), "{ran:#?}");
    (world, ran, bytes)
}

/// Lines about downloads: all lines except the notice that the node is ready.
fn download_lines(ran: &Ran) -> Vec<&str> {
    ran.err.lines().filter(|line| !line.starts_with("ready: ")).collect()
}

#[test]
fn plain_lines_end_with_the_last_byte_and_a_pipe_gets_them_in_every_bar_mode() {
    for flags in [&[][..], &["--progress", "auto"], &["--progress", "plain"], &["--progress", "bar"]] {
        let (_world, ran, _) = downloads(flags);
        let lines = download_lines(&ran);
        assert!(lines[0].starts_with(&format!("{NAME}: chose 127.0.0.1:")), "{flags:?}: {ran:#?}");
        let [.., last, error] = &lines[..] else { panic!("{flags:?}: {ran:#?}") };
        assert!(last.starts_with(&format!("{NAME} 100% 3.0/3.0 MiB ")), "{flags:?}: {ran:#?}");
        assert!(last.contains(" from 127.0.0.1:"), "{flags:?}: {ran:#?}");
        assert_eq!(*error, "download: no node has `nobody.bin`", "{flags:?}");
    }
}

#[test]
fn each_json_line_parses_and_they_report_the_last_byte_and_the_end() {
    let (_world, ran, bytes) = downloads(&["--progress", "json"]);
    let parse = |line: &&str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
    let events: Vec<Value> = download_lines(&ran).iter().map(parse).collect();
    let (failed, events) = events.split_last().expect("some");
    assert_eq!((&failed["event"], &failed["name"]), (&"failed".into(), &"nobody.bin".into()), "{ran:#?}");
    assert_eq!(
        (&failed["why"], &failed["exit_code"]),
        (&"download: no node has `nobody.bin`".into(), &3.into())
    );
    assert!(events.iter().all(|event| event["name"] == NAME), "{ran:#?}");
    let of = |kind: &str| events.iter().filter(|event| event["event"] == kind).collect::<Vec<_>>();
    assert_eq!(of("ranked")[0]["ranking"][0]["load"], 0, "{ran:#?}");
    assert_eq!(of("source")[0]["addr"], of("ranked")[0]["ranking"][0]["addr"], "{ran:#?}");
    let last = of("bytes").pop().expect("three pieces").clone();
    for field in ["done_bytes", "total_bytes", "fetched_bytes"] {
        assert_eq!(last[field], 3 << 20, "{ran:#?}");
    }
    assert_eq!((&last["eta_ms"], &last["sources"]), (&0.into(), &1.into()), "{ran:#?}");
    assert!(last["rate_bytes_per_s"].is_u64(), "{ran:#?}");
    let done = events.last().expect("some");
    assert_eq!((&done["event"], &done["b3"]), (&"done".into(), &b3_hex(&bytes).into()), "{ran:#?}");
    assert_eq!(done["from"], Value::from(vec![of("source")[0]["addr"].clone()]), "{ran:#?}");
}

#[test]
fn progress_none_prints_only_errors() {
    let (_world, ran, _) = downloads(&["--progress", "none"]);
    assert_eq!(download_lines(&ran), ["download: no node has `nobody.bin`"]);
}

/// Waits until the first download of a node has ended.
fn ended(node: &mut Node) -> Vec<String> {
    let until = Instant::now() + DEADLINE;
    loop {
        let jobs = node.command("jobs");
        if jobs[0].starts_with("1 done ") || jobs[0].starts_with("1 failed ") {
            return jobs;
        }
        assert!(Instant::now() < until && !node.process.ends_within(POLL_INTERVAL), "{jobs:#?}");
    }
}

#[test]
fn background_downloads_print_their_failure_in_the_chosen_form() {
    let world = World::new().tracker();
    let _holder = world.holder(&[("large.bin", &noise(32, 3 << 20))]);
    for (form, failed, chose) in [
        ("plain", "[1] download: no node has `typo`", "[2] large.bin: chose "),
        ("json", r#"{"event":"failed","name":"typo","#, r#"{"event":"ranked","#),
        ("none", "[1] download: no node has `typo`", ""),
    ] {
        let mut node = world.start(NodeSpec::new().flags(&["--progress", form]));
        node.command("download typo &");
        assert_eq!(ended(&mut node), ["1 failed -/- typo", "  no node has `typo`"]);
        node.process.expect_stderr(failed);
        node.command("download large.bin &");
        node.process.expect_stderr(if form == "json" {
            r#"{"event":"done","#
        } else {
            "[2] downloaded large.bin "
        });
        let said = node.process.since(Stream::Stderr, 0);
        let choices = said.iter().filter(|line| line.contains("chose ") || line.contains("ranked"));
        assert!(choices.clone().all(|line| line.starts_with(chose)), "{said:#?}");
        assert_eq!(choices.count(), usize::from(form != "none"), "{said:#?}");
        // Background downloads count like others, and a one-shot command shows the same figures.
        let figures = node.command("stats");
        let path = node.share.display().to_string();
        let answer = world.one_shot(&["stats", "-d", &path]).out;
        // The tracker may have just detected that the node of the round before has gone.
        let own = |figures: &[String]| -> Vec<String> {
            figures.iter().filter(|line| !line.starts_with("nodes_")).cloned().collect()
        };
        assert_eq!(own(&answer), own(&figures));
        for figure in ["downloads 1", "downloaded_bytes 3145728"] {
            assert!(figures.iter().any(|line| line == figure), "{figures:#?}");
        }
    }
}
