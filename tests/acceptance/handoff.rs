//! A running node executes the commands for the directory that it shares. It receives them through the socket
//! in `.nearpeer/`.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Instant;

use rustix::process::Signal;

use crate::support::DEADLINE;
use crate::support::content::noise;
use crate::support::events;
use crate::support::process::Stream;
use crate::support::rows::find_rows;
use crate::support::world::{Node, NodeSpec, POLL_INTERVAL, World, assert_only};

fn socket(node: &Node) -> std::path::PathBuf {
    node.share.join(".nearpeer/node.sock")
}

/// All lines that the node sends in answer to one line.
fn answer(node: &Node, request: &[u8]) -> Vec<String> {
    let mut stream = UnixStream::connect(socket(node)).expect("it listens");
    stream.set_read_timeout(Some(DEADLINE)).expect("set");
    stream.write_all(request).expect("taken");
    BufReader::new(stream).lines().map_while(Result::ok).collect()
}

#[test]
fn the_node_that_shares_the_directory_downloads_and_finds() {
    let bytes = noise(51, 3 << 20);
    let world = World::new().tracker();
    let holder = world.holder(&[("large.bin", &bytes)]);
    let own = world.start(NodeSpec::new().headless().file("mine", b"mine"));
    let path = own.share.display().to_string();
    let ran = world.one_shot(&["download", "large.bin", "-d", &path]);
    assert_eq!(ran.code, 0, "{ran:#?}");
    assert!(ran.out[0].starts_with("downloaded large.bin 3145728 bytes "), "{ran:#?}");
    assert!(
        ran.err.contains(&format!("large.bin: chose {}", holder.addr)),
        "printed as the running node prints it: {}",
        ran.err
    );
    assert_only(&own.share, &["large.bin", "mine"]);
    // The running node has the file now, and it is published.
    let rows = find_rows(&world.one_shot(&["find", "large.bin", "-d", &path]).out);
    let seen: Vec<_> = rows.iter().map(|row| (row.endpoint, row.score.is_some())).collect();
    assert_eq!(seen, [(holder.addr, true), (own.addr, false)]);
    let listed = world.one_shot(&["list", "-d", &path]).out;
    assert!(listed.len() == 2 && listed[1].ends_with(" mine"), "{listed:#?}");
    let ran = world.one_shot(&["download", "nothing", "-d", &path, "--json"]);
    let printed = events::parse_all(&ran.out);
    let of = |kind: &str| {
        printed.iter().find(|event| event["event"] == kind).unwrap_or_else(|| panic!("{ran:#?}"))
    };
    assert_eq!((ran.code, &of("failed")["code"]), (3, &"not_found".into()), "{ran:#?}");
    let notice = of("notice")["text"].as_str().unwrap_or_default();
    assert!(notice.starts_with("--latency-file, --tracker not used: "), "{notice}");
    fs::write(own.share.join("new"), "new").expect("written");
    assert_eq!(world.one_shot(&["updatelist", "-d", &path]).out, ["updated 3 files +1 -0 ~0"]);
}

#[test]
fn only_the_user_can_open_the_socket_and_the_node_removes_it() {
    let world = World::new().tracker();
    let mut node = world.start(NodeSpec::new().headless());
    let mode = fs::metadata(socket(&node)).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    node.process.signal(Signal::TERM);
    assert_eq!(node.process.wait(DEADLINE), 0);
    assert!(!socket(&node).exists() && !node.share.join(".nearpeer").exists());

    // A node replaces the socket of a killed node.
    fs::create_dir(node.share.join(".nearpeer")).expect("made");
    drop(UnixListener::bind(socket(&node)).expect("bound"));
    let again = world.start(NodeSpec::new().headless().share(&node.share));
    let path = again.share.display().to_string();
    assert_eq!(world.one_shot(&["list", "-d", &path]).code, 0);
    let nobody = world.directory();
    let ran = world.one_shot(&["updatelist", "-d", &nobody.display().to_string()]);
    assert_eq!(ran.code, 10, "{ran:#?}");
    crate::assert_clear(&ran.err, &["no running node takes commands for"]);
}

#[test]
fn a_long_path_has_a_socket_too() {
    let world = World::new().tracker();
    let deep = world.directory().join("d".repeat(100)).join("e".repeat(100));
    fs::create_dir_all(&deep).expect("made");
    let _node = world.start(NodeSpec::new().headless().share(&deep).file("a", b"a"));
    let ran = world.one_shot(&["list", "-d", &deep.display().to_string()]);
    assert_eq!((ran.code, ran.out.len()), (0, 1), "{ran:#?}");
}

#[test]
fn a_client_that_disconnects_cancels_its_command_and_the_node_keeps_running() {
    let bytes = noise(52, 8 << 20);
    let world = World::new().tracker();
    let slow = NodeSpec::new().headless().file("slow.bin", &bytes).flags(&["--max-upload", "1MiB"]);
    let _slow = world.start(slow);
    let mut own = world.start(NodeSpec::new());
    let path = own.share.display().to_string();
    let mut client = world.launch_one_shot(&["download", "slow.bin", "-d", &path, "--json"]);
    client.expect_line(Stream::Stdout, 0, DEADLINE, "a piece", |line| line.contains(r#""event":"bytes""#));
    client.signal(Signal::INT);
    assert_eq!(client.wait(DEADLINE), 130, "{}", client.transcript());
    // The partial file is there for the next download once the job has ended. Its record says that no user
    // waits for it.
    let is_kept = |entry: fs::DirEntry| entry.path().extension().is_some_and(|end| end == "kept");
    let until = Instant::now() + DEADLINE;
    while !fs::read_dir(own.share.join(".nearpeer")).expect("there").flatten().any(is_kept) {
        let waits = Instant::now() < until && !own.process.ends_within(POLL_INTERVAL);
        assert!(waits, "the job does not end\n{}", own.process.transcript());
    }
    assert_eq!(own.command("list"), [""; 0], "it serves on");
    assert_eq!(own.leave(), 0);
}

/// The number of files in the directory of partial files whose names end with `end`.
fn left(node: &Node, end: &str) -> usize {
    let entries = fs::read_dir(node.share.join(".nearpeer")).expect("there").flatten();
    entries.filter(|entry| entry.file_name().to_string_lossy().ends_with(end)).count()
}

#[test]
fn a_node_that_stops_tells_its_client_and_resumes_when_it_is_started_again() {
    let bytes = noise(53, 8 << 20);
    let world = World::new().tracker();
    let slow = NodeSpec::new().headless().file("slow.bin", &bytes).flags(&["--max-upload", "1MiB"]);
    let _slow = world.start(slow);
    for signal in [Signal::INT, Signal::TERM] {
        let mut own = world.start(NodeSpec::new().headless());
        let path = own.share.display().to_string();
        let mut client = world.launch_one_shot(&["download", "slow.bin", "-d", &path, "--json"]);
        client
            .expect_line(Stream::Stdout, 0, DEADLINE, "a piece", |line| line.contains(r#""event":"bytes""#));
        own.process.signal(signal);
        assert_eq!(own.process.wait(DEADLINE), 0);
        assert_eq!(client.wait(DEADLINE), 7, "{}", client.transcript());
        assert_eq!((left(&own, ".resume"), left(&own, ".kept")), (1, 0));
    }
}

#[test]
fn bad_requests_do_not_disturb_other_clients() {
    let world = World::new().tracker();
    let node = world.start(NodeSpec::new().headless().file("a", b"a"));
    assert_eq!(answer(&node, b"nonsense\n"), [""; 0]);
    assert_eq!(answer(&node, b"{\"find\":\n"), [""; 0]);
    let printed = events::parse_all(&answer(&node, b"{\"frobnicate\":7}\n"));
    assert_eq!(
        (&printed[0]["code"], &printed[1]["event"], &printed[1]["exit_code"]),
        (&"usage".into(), &"end".into(), &2.into())
    );
    let mut endless = UnixStream::connect(socket(&node)).expect("it listens");
    let refused = (0..1000).any(|_| endless.write_all(&[b'x'; 4096]).is_err());
    assert!(refused, "an endless request is cut off");
    // More silent clients than there is room for: each is closed in time, and then others are served.
    let silent: Vec<_> = (0..40).map(|_| UnixStream::connect(socket(&node)).expect("it listens")).collect();
    let printed = events::parse_all(&answer(&node, b"{\"list\":{}}\n"));
    assert_eq!((&printed[0]["event"], &printed[1]["exit_code"]), (&"file".into(), &0.into()));
    let mut first = &silent[0];
    first.set_read_timeout(Some(DEADLINE)).expect("set");
    assert_eq!(first.read(&mut [0; 8]).expect("closed"), 0);
}

#[test]
fn a_signal_ends_a_client_that_waits_for_an_answer() {
    let world = World::new().tracker();
    let node = world.start(NodeSpec::new().headless());
    fs::remove_file(socket(&node)).expect("removed");
    let silent = UnixListener::bind(socket(&node)).expect("bound");
    let path = node.share.display().to_string();
    let mut client = world.launch_one_shot(&["list", "-d", &path]);
    let (mut connection, _) = silent.accept().expect("it asks");
    assert!(connection.read(&mut [0; 100]).expect("a request") > 0);
    client.signal(Signal::TERM);
    assert_eq!(client.wait(DEADLINE), 143, "{}", client.transcript());
    assert!(!client.transcript().contains("fetched pieces"), "only a download has pieces");
}

#[test]
fn short_commands_do_not_wait_for_downloads() {
    let files: Vec<String> = (0..7).map(|number| format!("slow{number}")).collect();
    let bytes: Vec<Vec<u8>> = (0..7).map(|number| noise(60 + number, 8 << 20)).collect();
    let world = World::new().tracker();
    let held = files.iter().zip(&bytes);
    let slow = NodeSpec::new().headless().flags(&["--max-upload", "64KiB"]);
    let _slow = world.start(held.fold(slow, |node, (file, bytes)| node.file(file, bytes)));
    let own = world.start(NodeSpec::new().headless());
    let downloads = files.iter().map(|file| {
        let mut stream = UnixStream::connect(socket(&own)).expect("it listens");
        stream.set_read_timeout(Some(DEADLINE)).expect("set");
        stream.write_all(format!("{{\"download\":{{\"name\":\"{file}\"}}}}\n").as_bytes()).expect("taken");
        // The download has begun, or it waits for admission.
        assert!(stream.read(&mut [0; 100]).expect("an event") > 0);
        stream
    });
    let downloads: Vec<UnixStream> = downloads.collect();
    let ran = world.one_shot(&["list", "--timeout", "20s", "-d", &own.share.display().to_string()]);
    assert_eq!((ran.code, ran.out.len()), (0, 0), "{ran:#?}");
    drop(downloads);
}
