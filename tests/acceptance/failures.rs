//! Each failure as users see it: a clear error with its exit code, nothing lost or left behind, no panic,
//! other nodes are served.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;

use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::assert_clear;
use crate::support::DEADLINE;
use crate::support::content::noise;
use crate::support::proxy::{Admission, Direction, Fault, Proxy};
use crate::support::raw;
use crate::support::rows::{downloaded_row, find_rows};
use crate::support::world::{NodeSpec, World, assert_only, own_port, run_node, run_tracker};

#[test]
fn a_headless_node_before_its_tracker_comes_up_when_the_tracker_does() {
    let port: SocketAddr = ([127, 0, 0, 1], own_port()).into();
    let mut world = World::new();
    world.set_tracker_addr(port);
    let (node, _) = world.launch(&NodeSpec::new().headless().file("a.txt", b"a"));
    // The node reports that it has no tracker before the tracker starts.
    node.expect_stderr(&port.to_string());
    world.start_tracker_at(port);
    node.expect_stdout("node listening on ");
    let ran = world.ask_until("find a.txt", |ran| ran.code == 0);
    assert_eq!(find_rows(&ran.out).len(), 1);
}

#[test]
fn a_tracker_killed_during_a_download_does_not_end_it() {
    let bytes = noise(11, 3 << 20);
    let mut world = World::new().tracker();
    let proxy = Proxy::to_be_connected();
    let advertised = proxy.addr().to_string();
    let port = own_port();
    proxy.connect_to(([127, 0, 0, 1], port).into());
    let _holder = world.start(
        NodeSpec::new().headless().port(port).file("a.bin", &bytes).flags(&["--advertise", &advertised]),
    );
    let mut requester = world.start(NodeSpec::new());
    proxy.set(Direction::ToClient, Fault { rate: Some(4 << 20), ..Fault::default() });
    let before = proxy.bytes(Direction::ToClient);
    requester.process.send("download a.bin");
    proxy.wait_bytes(Direction::ToClient, before + (1 << 20), DEADLINE);
    world.kill_tracker();
    let line = requester.process.expect_stdout("downloaded ");
    assert_eq!(downloaded_row(&line, "a.bin").sources, [proxy.addr()]);
    assert!(requester.read("a.bin") == Some(bytes));
    assert_eq!(requester.leave(), 0);
}

#[test]
fn a_restarted_tracker_learns_all_catalogs_again_without_commands() {
    let mut world = World::new().tracker();
    // With the default heartbeat of 5 s.
    let holders: Vec<_> = (0..3).map(|_| world.holder(&[("a.txt", b"a")])).collect();
    world.kill_tracker();
    world.restart_tracker();
    let restarted = std::time::Instant::now();
    let ran = world.ask_until("find a.txt", |ran| ran.out.len() == 1 + holders.len());
    assert!(restarted.elapsed() < Duration::from_secs(10), "two heartbeats: {:?}", restarted.elapsed());
    let mut found: Vec<_> = find_rows(&ran.out).iter().map(|row| row.endpoint).collect();
    let mut expected: Vec<_> = holders.iter().map(|node| node.addr).collect();
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
}

#[test]
fn the_next_find_does_not_list_a_killed_node() {
    let mut world = World::new().tracker().nodes(1);
    let mut holders: Vec<_> = (0..4).map(|_| world.holder(&[("a.txt", b"a")])).collect();
    while let Some(mut doomed) = holders.pop() {
        doomed.process.kill();
        let lines = world.node(0).command("find a.txt");
        let left = if holders.is_empty() { 0 } else { find_rows(&lines).len() };
        assert_eq!(left, holders.len(), "{lines:?}");
    }
    assert_eq!(world.node(0).command("find a.txt"), ["No nodes found"]);
}

#[test]
fn a_killed_node_comes_back_on_the_same_port() {
    let world = World::new().tracker();
    let mut holder = world.holder(&[("a.txt", b"a")]);
    let addr = holder.addr;
    for _ in 0..3 {
        holder.restart();
        assert_eq!(holder.addr, addr);
        let rows = find_rows(&world.ask("find a.txt").out);
        assert_eq!(rows.iter().map(|row| row.endpoint).collect::<Vec<_>>(), [addr]);
    }
}

#[test]
fn a_source_killed_during_a_download_is_replaced_by_the_next() {
    let bytes = noise(12, 3 << 20);
    let world = World::new().tracker();
    let slow = &["--max-upload", "1MiB"];
    let mut first = world.start(NodeSpec::new().headless().file("a.bin", &bytes).flags(slow));
    let second = world.holder(&[("a.bin", &bytes)]);
    let latency = world.latency_file();
    let mut requester = world.start(NodeSpec::new().latency(&latency));
    crate::support::world::write_latency(
        &latency,
        &[(requester.addr, first.addr, 1.0), (requester.addr, second.addr, 500.0)],
    );
    requester.process.send("download a.bin");
    // The node takes part in a transfer: the first bytes are on their way.
    let until = std::time::Instant::now() + DEADLINE;
    while raw::load_of(first.addr, raw::fresh_node_id(), None).0 == 0 {
        assert!(std::time::Instant::now() < until, "no upload began\n{}", requester.process.transcript());
    }
    first.process.kill();
    let line = requester.process.expect_stdout("downloaded ");
    let row = downloaded_row(&line, "a.bin");
    assert_eq!(row.sources.last(), Some(&second.addr), "{line}");
    requester.process.expect_stderr(&first.addr.to_string());
    assert!(requester.read("a.bin") == Some(bytes));
    assert_only(&requester.share, &["a.bin"]);
}

#[test]
fn find_omits_and_names_a_node_that_does_not_answer() {
    let world = World::new().tracker();
    let answering = world.holder(&[("a.txt", b"a")]);
    let frozen = world.holder(&[("a.txt", b"a"), ("only-here.txt", b"b")]);
    frozen.process.signal(Signal::STOP);
    let ran = world.ask("find a.txt");
    assert_eq!(ran.code, 0, "{ran:#?}");
    assert_eq!(find_rows(&ran.out).iter().map(|row| row.endpoint).collect::<Vec<_>>(), [answering.addr]);
    assert_clear(&ran.err, &[&frozen.addr.to_string()]);
    let ran = world.ask("find only-here.txt");
    assert_eq!(
        (ran.code, ran.out.is_empty() || ran.out == ["No nodes found"]),
        (5, true),
        "known, but no holder answers: {ran:#?}"
    );
    assert_clear(&ran.err, &[&frozen.addr.to_string()]);
}

#[test]
fn a_port_that_is_taken_is_exit_15() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = taken.local_addr().expect("it is bound");
    let (code, err) = run_tracker(&["--listen", &addr.to_string()]);
    assert_eq!(code, 15, "{err}");
    assert_clear(&err, &[&addr.to_string()]);
    let world = World::new().tracker();
    let ran = world.run(&NodeSpec::new().port(addr.port()), "");
    assert_eq!((ran.code, ran.out.len()), (15, 0), "{ran:#?}");
    assert_clear(&ran.err, &[&addr.to_string()]);
}

#[test]
fn bad_arguments_are_exit_2() {
    let world = World::new().tracker();
    let share = world.directory().display().to_string();
    let file = world.path("file");
    fs::write(&file, b"no directory").expect("a file");
    let (file, tracker) = (file.display().to_string(), world.tracker_addr().to_string());
    let rest = ["--tracker", &tracker, "--latency-file", "none"];
    for (args, part) in [
        (&["127.0.0.1", "0", "/no/such/directory"][..], "/no/such/directory"),
        (&["127.0.0.1", "0", &file], &*file),
        (&["127.0.0.300", "0", &share], "127.0.0.300"),
        (&["localhost.", "0", &share], "localhost."),
        (&["127.0.0.1", "70000", &share], "70000"),
        (&["127.0.0.1", "-1", &share], ""),
        (&["127.0.0.1", "x", &share], "x"),
        (&["127.0.0.1", "0"], ""),
        (&["127.0.0.1", "0", &share, "more"], "more"),
        (&["127.0.0.1", "0", &share, "--heartbeat", "soon"], "soon"),
        (&["127.0.0.1", "0", &share, "--max-upload", "fast"], "fast"),
        (&["127.0.0.1", "0", &share, "--load-weight", "-3"], ""),
        (&["127.0.0.1", "0", &share, "--retries", "many"], "many"),
        (&["127.0.0.1", "0", &share, "--no-such-flag"], "--no-such-flag"),
    ] {
        let (code, err) = run_node(&[args, &rest].concat());
        assert_eq!(code, 2, "{args:?}: {err}");
        assert_clear(&err, &[part]);
    }
    for args in
        [&["--listen", "127.0.0.1:70000"][..], &["--listen", "nowhere"], &["--listen"], &["--no-such-flag"]]
    {
        let (code, err) = run_tracker(args);
        assert_eq!(code, 2, "{args:?}: {err}");
        assert_clear(&err, &[]);
    }
    let (code, err) =
        run_node(&["127.0.0.1", "0", &share, "--latency-file", "none", "--tracker", "127.0.0.1:70000"]);
    assert_eq!(code, 2, "{err}");
}

#[test]
fn an_address_of_another_machine_cannot_be_listened_on() {
    let world = World::new().tracker();
    let share = world.directory().display().to_string();
    let tracker = world.tracker_addr().to_string();
    // TEST-NET-3: an address that no machine has.
    let (code, err) =
        run_node(&["203.0.113.7", "0", &share, "--tracker", &tracker, "--latency-file", "none"]);
    assert!(code != 0 && code < 128, "{code}: {err}");
    assert_clear(&err, &["203.0.113.7"]);
}

#[test]
fn a_directory_in_use_by_another_node_is_exit_10() {
    let world = World::new().tracker();
    let first = world.holder(&[("a.txt", b"a")]);
    let ran = world.run(&NodeSpec::new().share(&first.share), "list\n");
    assert_eq!((ran.code, ran.out.len()), (10, 0), "{ran:#?}");
    assert_clear(&ran.err, &[&first.share.display().to_string()]);
    let share = first.share.clone();
    assert_eq!(first.terminate(), 0);
    let ran = world.run(&NodeSpec::new().share(&share), "list\n");
    assert_eq!((ran.code, ran.out.len()), (0, 1), "free again: {ran:#?}");
}

#[test]
fn a_bad_latency_file_is_exit_14_and_names_the_line() {
    let world = World::new().tracker();
    let file = world.path("latency.txt");
    for (text, line) in [
        ("# fine\n127.0.0.1 1 127.0.0.1 2 5\nnonsense\n", "3"),
        ("127.0.0.1 1 127.0.0.1 2 -5\n", "1"),
        ("127.0.0.1 1 127.0.0.1 2 nan\n", "1"),
        ("\n127.0.0.1 1 127.0.0.1 70000 5\n", "2"),
        ("127.0.0.1 1 127.0.0.1 2 3600001\n", "1"),
        ("1,2\n", "1"),
    ] {
        fs::write(&file, text).expect("a latency file");
        let ran = world.run(&NodeSpec::new().latency(&file), "list\n");
        assert_eq!((ran.code, ran.out.len()), (14, 0), "{text:?}: {ran:#?}");
        assert_clear(&ran.err, &[&file.display().to_string(), &format!("line {line}")]);
    }
    let ran = world.run(&NodeSpec::new().latency(Path::new("/no/such/latency.txt")), "list\n");
    assert_eq!(ran.code, 14, "{ran:#?}");
    assert_clear(&ran.err, &["/no/such/latency.txt"]);
}

#[test]
fn a_latency_file_that_is_no_regular_file_is_exit_14_at_once() {
    let world = World::new().tracker();
    let fifo = world.path("fifo");
    mknodat(CWD, &fifo, FileType::Fifo, Mode::RWXU, 0).expect("made");
    for path in [fifo.as_path(), Path::new("/dev/zero"), Path::new("/")] {
        let ran = world.run(&NodeSpec::new().latency(path), "list\n");
        assert_eq!((ran.code, ran.out.len()), (14, 0), "{}: {ran:#?}", path.display());
        assert_clear(&ran.err, &[&path.display().to_string()]);
    }
}

#[test]
fn a_latency_file_that_becomes_bad_is_reported_and_the_old_table_is_kept() {
    let world = World::new().tracker();
    let holder = world.holder(&[("a.txt", b"a")]);
    let file = world.latency_file();
    let mut requester = world.start(NodeSpec::new().latency(&file));
    crate::support::world::write_latency(&file, &[(requester.addr, holder.addr, 17.0)]);
    assert_eq!(find_rows(&requester.command("find a.txt"))[0].latency, Some(17.0));
    fs::write(&file, "nonsense nonsense\n").expect("a latency file");
    assert_eq!(find_rows(&requester.command("find a.txt"))[0].latency, Some(17.0));
    requester.process.expect_stderr("line 1");
}

#[test]
fn a_stopped_tracker_is_exit_4_and_commands_without_it_still_work() {
    let mut world = World::new().tracker();
    let proxy = Proxy::to(world.tracker_addr());
    world.set_tracker_addr(proxy.addr());
    let mut node = world.start(NodeSpec::new().file("a.txt", b"a"));
    proxy.admit(Admission::Refuse);
    drop(proxy);
    // The control connection has ended and there is no tracker to reconnect to.
    assert_eq!(node.command("find b.txt"), [""; 0]);
    // Commands that need no tracker still work: the `getload` behind each command, and this one.
    assert_eq!(node.command("list").len(), 1);
    assert_eq!(node.leave(), 4);
}

#[test]
fn a_headless_node_that_the_tracker_refuses_says_why() {
    let world = World::new().tracker();
    let spec = NodeSpec::new().headless().flags(&["--advertise", "0.0.0.0:7"]);
    let (node, _share) = world.launch(&spec);
    node.expect_stderr("0.0.0.0:7 cannot be a node's");
}
