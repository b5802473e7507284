//! Every exit code from real processes: the table of the guide.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;

use rustix::process::Signal;

use crate::support::content::{b3_hex, noise};
use crate::support::events;
use crate::support::process::{Process, Stream};
use crate::support::world::{NodeSpec, World, run_node, run_tracker};
use crate::support::{DEADLINE, skipped};

const NODE: &str = env!("CARGO_BIN_EXE_node");
const TRACKER: &str = env!("CARGO_BIN_EXE_tracker");

#[test]
fn each_exit_code_has_a_command_that_returns_it() {
    let mut world = World::new().tracker();
    let bytes = noise(61, 5000);
    let _holder = world.holder(&[("a.bin", &bytes), ("twice", b"one")]);
    let _other = world.holder(&[("twice", b"two")]);
    let dir = world.directory();
    fs::write(dir.join("a.bin"), "else").expect("written");
    let path = dir.display().to_string();
    let missing = world.path("missing").display().to_string();
    let config = world.path("node.toml");
    fs::write(&config, "frobnicate = 1\n").expect("written");
    let config = config.display().to_string();
    let wrong = format!("--checksum=b3={}", b3_hex(b"other"));
    let download = |more: &[&str]| world.one_shot(&[&["download", "a.bin"][..], more].concat()).code;

    let mut seen = Vec::new();
    let mut check = |expected: i32, code: i32, what: &str| {
        assert_eq!(code, expected, "{what}");
        seen.push(expected);
    };
    check(0, world.one_shot(&["find", "a.bin"]).code, "found");
    check(2, world.one_shot(&["find"]).code, "bad arguments");
    check(2, world.one_shot(&["download", "a.bin", "-d", &missing]).code, "no such directory");
    check(3, world.one_shot(&["find", "nobodys"]).code, "no node has it");
    check(6, world.one_shot(&["getload", "127.0.0.1", "9"]).code, "unreachable");
    check(8, download(&["-o", "-", &wrong]), "a digest does not match");
    check(10, world.one_shot(&["updatelist", "-d", &path]).code, "no node shares it");
    check(11, download(&["-d", &path]), "exists");
    check(14, world.one_shot(&["find", "a.bin", "-c", &config]).code, "a bad configuration");
    check(14, world.one_shot(&["find", "a.bin", "--latency-file", &missing]).code, "a missing latency file");
    check(16, world.one_shot(&["download", "twice", "-o", "-"]).code, "ambiguous");

    // 7: the user cancels it at the node that runs it.
    let slow = NodeSpec::new().headless().file("slow.bin", &noise(62, 8 << 20));
    let _slow = world.start(slow.flags(&["--max-upload", "1MiB"]));
    let mut own = world.start(NodeSpec::new());
    let share = own.share.display().to_string();
    let mut waiting = world.launch_one_shot(&["download", "slow.bin", "-d", &share, "--json"]);
    waiting.expect_line(Stream::Stdout, 0, DEADLINE, "a piece", |line| line.contains(r#""event":"bytes""#));
    own.command("cancel 1");
    check(7, waiting.wait(DEADLINE), "cancelled elsewhere");

    // 5: all holders are frozen, and the tracker does not know it yet.
    let frozen = world.holder(&[("frozen", b"x")]);
    frozen.process.signal(Signal::STOP);
    check(5, world.one_shot(&["find", "frozen"]).code, "no holder answers");
    frozen.process.signal(Signal::CONT);

    // 6: the timeout has passed.
    world.tracker_process().signal(Signal::STOP);
    check(6, world.one_shot(&["find", "a.bin", "--timeout", "100ms"]).code, "out of time");
    // 130 and 143: a signal ends a command.
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let mut waiting = world.launch_one_shot(&["find", "a.bin", "--json"]);
        // The command has sent requests once its threads exist.
        let tasks = format!("/proc/{}/task", waiting.id());
        while fs::read_dir(&tasks).expect("it runs").count() < 5 {
            assert!(!waiting.ends_within(crate::support::world::POLL_INTERVAL), "{}", waiting.transcript());
        }
        waiting.signal(signal);
        check(code, waiting.wait(DEADLINE), "a signal");
    }
    world.tracker_process().signal(Signal::CONT);

    // 15: another program listens there.
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = taken.local_addr().expect("bound");
    check(15, run_tracker(&["--listen", &addr.to_string()]).0, "the address is in use");
    check(6, run_tracker(&["--listen", "192.0.2.1:1"]).0, "no such address here");

    // 4: no tracker.
    world.kill_tracker();
    check(4, world.one_shot(&["find", "a.bin"]).code, "no tracker");
    check(
        4,
        run_node(&["127.0.0.1", "0", &path, "--tracker", "127.0.0.1:9", "--latency-file", "none"]).0,
        "the same",
    );

    // 1 is a bug or a failure of the system: no descriptor is left.
    let limited =
        ["-c", "ulimit -n 6; exec \"$0\" find a.bin --tracker 127.0.0.1:9 --latency-file none", NODE];
    let mut process = Process::start("/bin/sh", limited);
    check(1, process.wait(DEADLINE), "no descriptor is left");

    // 10: a directory that cannot be written to.
    if rustix::process::getuid().is_root() {
        skipped(
            "each_exit_code_has_a_command_that_returns_it",
            "permissions do not hold root back: 10 by another node only",
        );
    } else {
        let world = World::new().tracker();
        let _holder = world.holder(&[("a.bin", &bytes)]);
        let closed = world.directory();
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o555)).expect("permissions");
        let ran = world.one_shot(&["download", "a.bin", "-d", &closed.display().to_string()]);
        check(10, ran.code, "not writable");
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o755)).expect("permissions");
    }

    seen.sort_unstable();
    seen.dedup();
    // 9 needs a disk that is full: `disk_failures`.
    assert_eq!(seen, [0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 14, 15, 16, 130, 143]);
}

#[test]
fn a_stopped_service_is_exit_0() {
    let mut world = World::new().tracker();
    let node = world.start(NodeSpec::new().headless());
    assert_eq!(node.terminate(), 0);
    // A node that is filling its share is stopped without failure too.
    let flags = ["--generate", "400000x1KiB", "--json"];
    let (mut filling, share) = world.launch(&NodeSpec::new().headless().flags(&flags));
    while fs::read_dir(&share).expect("there").count() < 3 {
        assert!(!filling.ends_within(crate::support::world::POLL_INTERVAL), "{}", filling.transcript());
    }
    filling.signal(Signal::TERM);
    assert_eq!(filling.wait(DEADLINE), 0, "{}", filling.transcript());
    let printed = filling.since(Stream::Stdout, 0);
    assert!(printed.last().is_some_and(|end| end.contains(r#""event":"end","exit_code":0"#)), "{printed:#?}");
    world.tracker_process().signal(Signal::INT);
    assert_eq!(world.tracker_process().wait(DEADLINE), 0);
}

#[test]
fn a_tracker_without_a_terminal_serves_whatever_its_input_is() {
    let mut world = World::new().tracker();
    world.tracker_process().send("stop");
    world.tracker_process().close_stdin();
    let ran = world.one_shot(&["nodes"]);
    assert_eq!((ran.code, ran.out.len()), (0, 0), "{ran:#?}");
    let said = world.tracker_process().since(Stream::Stderr, 0);
    assert!(said.iter().all(|line| line.starts_with("pages at ")), "{said:#?}");
}

#[test]
fn json_output_has_every_event_up_to_the_end() {
    let world = World::new();
    let share = world.directory().display().to_string();
    let place = ["127.0.0.1", "0", &share, "--json", "--tracker", "127.0.0.1:9"];
    for (more, code, word) in [
        (&["--latency-file", "/no/such"][..], 14, "latency_file"),
        (&["--latency-file=none"], 4, "no_tracker"),
    ] {
        let mut node = Process::start(NODE, [&place[..], more].concat());
        assert_eq!(node.wait(DEADLINE), code, "{}", node.transcript());
        let printed = events::parse_all(&node.since(Stream::Stdout, 0));
        let end = printed.last().expect("an end");
        // Other events may come in between.
        let errors: Vec<_> = printed.iter().filter(|event| event["event"] == "error").collect();
        assert_eq!(
            (&end["event"], &end["exit_code"], &end["code"]),
            (&"end".into(), &code.into(), &word.into())
        );
        assert!(errors.len() == 1 && errors[0]["code"] == word, "{printed:#?}");
        assert_eq!(node.since(Stream::Stderr, 0), [""; 0]);
    }
}

#[test]
fn completions_are_taken_by_a_real_bash() {
    let world = World::new();
    for (program, path, expected) in [
        ("node", NODE, &[("node dow", "download"), ("node download --check", "--checksum")][..]),
        ("tracker", TRACKER, &[("tracker --lis", "--listen"), ("tracker comp", "completions")]),
    ] {
        let of = |shell: &str| {
            let mut printing = Process::start(path, ["completions", shell]);
            assert_eq!(printing.wait(DEADLINE), 0, "{}", printing.transcript());
            printing.since(Stream::Stdout, 0)
        };
        for shell in ["zsh", "fish"] {
            assert!(of(shell).len() > 10, "{program} {shell}");
        }
        let file = world.path("completions.bash");
        fs::write(&file, of("bash").join("\n")).expect("written");
        if !std::path::Path::new("/bin/bash").exists() {
            skipped("completions_are_taken_by_a_real_bash", "there is no /bin/bash");
            return;
        }
        for (words, expected) in expected {
            let script = format!(
                "source '{}' && COMP_WORDS=({words}) COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)) && \
                 _{program} {program} \"${{COMP_WORDS[COMP_CWORD]}}\" && printf '%s\\n' \"${{COMPREPLY[@]}}\"",
                file.display()
            );
            let mut bash = Process::start("/bin/bash", ["--norc", "-c", &script]);
            assert_eq!(bash.wait(DEADLINE), 0, "{}", bash.transcript());
            let offered = bash.since(Stream::Stdout, 0);
            assert!(offered.iter().any(|word| word == expected), "{words}: {offered:#?}");
        }
    }
}
