//! The log of a tracker and of a node: every line is an event of the schema, however the program ends, and it
//! equals the event stream.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Instant;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::DEADLINE;
use crate::support::content::noise;
use crate::support::events;
use crate::support::process::Process;
use crate::support::world::{NodeSpec, POLL_INTERVAL, World, own_port};

/// All lines until now. Each must be an event.
fn logged(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).expect("a log");
    assert!(text.ends_with('\n'), "half a line: {text}");
    text.lines().map(events::parse).collect()
}

/// Waits until a line of the log `is_wanted`, and returns all lines.
fn logged_until(path: &Path, process: &Process, is_wanted: impl Fn(&Value) -> bool) -> Vec<Value> {
    let until = Instant::now() + DEADLINE;
    loop {
        let text = fs::read_to_string(path).unwrap_or_default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let lines: Vec<Value> = whole.lines().map(events::parse).collect();
        if lines.iter().any(&is_wanted) {
            return lines;
        }
        assert!(Instant::now() < until, "it is never logged: {lines:#?}");
        assert!(!process.ends_within(POLL_INTERVAL), "{}", process.transcript());
    }
}

fn is_about(logged_event: &Value, event: &str, field: &str, value: &str) -> bool {
    logged_event["event"] == event && logged_event[field] == value
}

#[test]
fn downloads_are_logged_and_a_log_outlives_a_kill() {
    let world = World::new().tracker();
    let holder = world.holder(&[("a", &noise(1, 3 << 20))]);
    let log = world.path("node.log");
    let flags = ["--log", log.to_str().expect("text")];
    let mut node = world.start(NodeSpec::new().flags(&flags));
    node.process.send("download a &\ndownload nosuch &");
    logged_until(&log, &node.process, |logged_event| is_about(logged_event, "failed", "name", "nosuch"));
    let lines = logged_until(&log, &node.process, |logged_event| is_about(logged_event, "done", "name", "a"));
    let of_a: Vec<&str> = lines
        .iter()
        .filter(|logged_event| logged_event["job"] == 1)
        .filter_map(|logged_event| logged_event["event"].as_str())
        .collect();
    assert_eq!(of_a, ["job", "job", "ranked", "source", "done"], "no bytes: {lines:#?}");
    let holder = holder.addr.to_string();
    assert!(lines.iter().any(|logged_event| logged_event["event"] == "done" && logged_event["from"][0] == holder.as_str()));
    // Another node cannot write the same log.
    let ran = world.run(&NodeSpec::new().flags(&flags), "");
    assert_eq!(ran.code, 10, "{ran:#?}");
    assert!(ran.err.contains("another program writes it"), "{ran:#?}");

    node.process.kill();
    let mut half = fs::OpenOptions::new().append(true).open(&log).expect("opened");
    half.write_all(b"{\"event\":\"no").expect("written");
    node.restart();
    node.process.signal(Signal::TERM);
    node.process.wait(DEADLINE);
    let last = logged(&log);
    assert_eq!(last[..lines.len()], lines, "what was there stays");
    assert_eq!(last.iter().filter(|logged_event| logged_event["event"] == "listening").count(), 2);
    assert_eq!(last.last().expect("a line")["event"], "end");
}

#[test]
fn a_tracker_logs_the_events_of_its_stream_without_file_names() {
    let mut world = World::new().tracker();
    world.kill_tracker();
    let (log, web) = (world.path("tracker.log"), format!("127.0.0.1:{}", own_port()));
    let listen = world.tracker_addr().to_string();
    let flags = ["--listen", &listen, "--http", &web, "--log", log.to_str().expect("text")];
    let mut tracker = Process::start(env!("CARGO_BIN_EXE_tracker"), flags);
    tracker.expect_stdout("tracker listening on ");
    tracker.expect_stderr("pages at ");
    let mut stream = TcpStream::connect(&web).expect("it serves");
    stream.write_all(b"GET /api/v1/events?after=0 HTTP/1.0\r\n\r\n").expect("taken");
    stream.set_read_timeout(Some(DEADLINE)).expect("a valid time");
    let mut streamed = BufReader::new(stream).lines().map(|line| line.expect("in time"));

    let node = world.holder(&[("secret-name", b"a")]);
    let addr = node.addr.to_string();
    let is = |logged_event: &Value, state: &str| {
        logged_event["addr"] == addr.as_str() && logged_event["state"] == state
    };
    logged_until(&log, &tracker, |logged_event| is(logged_event, "live"));
    assert_eq!(node.terminate(), 0);
    let lines = logged_until(&log, &tracker, |logged_event| is(logged_event, "gone"));
    assert!(!fs::read_to_string(&log).expect("a log").contains("secret-name"));

    let mut numbered = Vec::new();
    while numbered.len() < lines.len() {
        let line = streamed.next().expect("more");
        if line.starts_with("id: ") {
            let data = streamed.next().expect("its data");
            numbered.push(events::parse(data.strip_prefix("data: ").expect("data")));
        }
    }
    assert_eq!(numbered, lines, "one vocabulary, and the same lines");
    tracker.signal(Signal::TERM);
    assert_eq!(tracker.wait(DEADLINE), 0);
    assert_eq!(logged(&log).last().expect("a line")["event"], "end");
}
