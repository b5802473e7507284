//! One-shot commands without a running node leave nothing behind and do no damage: where downloads go, what
//! the commands need of the machine, how they end.

use std::fs;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt, symlink};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::Signal;

use crate::support::DEADLINE;
use crate::support::content::noise;
use crate::support::events;
use crate::support::process::{Process, Stream};
use crate::support::world::{NodeSpec, World, assert_only};

const NODE: &str = env!("CARGO_BIN_EXE_node");

/// A command as a shell runs it: `settings` come before it, `rest` after its words.
fn in_shell(world: &World, settings: &str, words: &str, rest: &str) -> Process {
    let tracker = world.tracker_addr();
    let script = format!("{settings} exec '{NODE}' {words} --tracker={tracker} {rest}");
    Process::start("/bin/sh", ["-c", &script])
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn fifo(path: &Path) {
    mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).expect("a fifo");
}

#[test]
fn only_the_file_goes_to_standard_output() {
    let bytes: Vec<u8> = b"line\n".repeat(3000);
    let world = World::new().tracker();
    let _holder = world.holder(&[("text", &bytes)]);
    let here = world.directory();
    fs::write(here.join("latency.txt"), "").expect("written");
    let out = world.path("out");
    let rest = format!("> '{}'", text(&out));
    let mut process = in_shell(
        &world,
        &format!("cd '{}' &&", text(&here)),
        "download text -o - --json --as 127.0.0.1:7",
        &rest,
    );
    assert_eq!(process.wait(DEADLINE), 0, "{}", process.transcript());
    assert!(fs::read(&out).expect("there") == bytes);
    let printed = events::parse_all(&process.since(Stream::Stderr, 0));
    for kind in ["notice", "done", "end"] {
        assert!(printed.iter().any(|event| event["event"] == kind), "{kind}: {printed:#?}");
    }
}

#[test]
fn a_reader_that_does_not_read_is_not_waited_for_and_nothing_is_left() {
    let bytes = noise(71, 3 << 20);
    let world = World::new().tracker();
    let _holder = world.holder(&[("large.bin", &bytes)]);
    for (more, signal, code) in [("", Some(Signal::INT), 130), ("--timeout 2s", None, 6)] {
        let (place, out) = (world.directory(), world.path("fifo"));
        fifo(&out);
        // The pipe is held open and never read.
        let nonblock = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
        let _reader = fs::OpenOptions::new().read(true).custom_flags(nonblock).open(&out).expect("a fifo");
        let words = format!("download large.bin -o - --latency-file=none {more}");
        let settings = format!("TMPDIR='{}'", text(&place));
        let mut process = in_shell(&world, &settings, &words, &format!("> '{}'", text(&out)));
        process.expect_stderr("downloaded large.bin ");
        if let Some(signal) = signal {
            process.signal(signal);
        }
        assert_eq!(process.wait(DEADLINE), code, "{more}: {}", process.transcript());
        assert_only(&place, &[]);
    }
}

#[test]
fn only_an_ordinary_file_is_replaced_and_the_same_content_is_here_already() {
    let bytes = noise(72, 5000);
    let world = World::new().tracker();
    let _holder = world.holder(&[("dir/a.bin", &bytes)]);
    let dir = world.directory();
    let to = |file: &str, more: &[&str]| {
        let file = text(&dir.join(file));
        world.one_shot(&[&["download", "dir/a.bin", "-o", &file, "--json"][..], more].concat())
    };
    fifo(&dir.join("fifo"));
    symlink("/dev/null", dir.join("link")).expect("a link");
    fs::create_dir(dir.join("sub")).expect("made");
    for name in ["fifo", "link", "sub"] {
        let ran = to(name, &["--force"]);
        assert_eq!(ran.code, 11, "{name}: {ran:#?}");
        assert!(!events::parse_all(&ran.out).iter().any(|event| event["event"] == "done"), "{ran:#?}");
    }
    assert!(fs::symlink_metadata(dir.join("fifo")).expect("there").file_type().is_fifo());
    assert_eq!(to("new", &[]).code, 0);
    assert!(fs::read(dir.join("new")).expect("in place") == bytes);
    let again = events::parse_all(&to("new", &[]).out);
    assert!(again.iter().any(|event| event["outcome"] == "already_here"), "{again:#?}");
    fs::write(dir.join("new"), "else").expect("written");
    assert_eq!((to("new", &[]).code, to("new", &["--force"]).code), (11, 0));
    assert!(fs::read(dir.join("new")).expect("in place") == bytes);
    for (name, code) in [(".hidden", 2), ("a\nb", 2), ("none/x", 2)] {
        assert_eq!(to(name, &[]).code, code, "{name:?}");
    }
    assert_only(&dir, &["fifo", "link", "new", "sub/"]);
}

#[test]
fn a_killed_download_into_a_file_is_resumed() {
    let bytes = noise(73, 6 << 20);
    let world = World::new().tracker();
    let slow = NodeSpec::new().headless().file("slow.bin", &bytes).flags(&["--max-upload", "2MiB"]);
    let _slow = world.start(slow);
    let dir = world.directory();
    let to_file = ["download", "slow.bin", "-o", &text(&dir.join("a")), "--json"];
    let mut killed = world.launch_one_shot(&to_file);
    killed.expect_line(Stream::Stdout, 0, DEADLINE, "a piece", |line| line.contains(r#""event":"bytes""#));
    killed.kill();
    assert!(!dir.join("a").exists());
    let ran = world.one_shot(&to_file);
    assert_eq!(ran.code, 0, "{ran:#?}");
    assert!(ran.out.iter().any(|line| line.contains(r#""event":"resumed""#)), "{ran:#?}");
    assert!(fs::read(dir.join("a")).expect("in place") == bytes);
    assert_only(&dir, &["a"]);
}

#[test]
fn a_symlink_in_place_of_the_partial_files_is_not_followed() {
    let world = World::new().tracker();
    let _holder = world.holder(&[("a.bin", b"bytes")]);
    let (dir, trap) = (world.directory(), world.directory());
    let parts = format!(".nearpeer-{}", rustix::process::geteuid().as_raw());
    symlink(&trap, dir.join(parts)).expect("a link");
    let ran = world.one_shot(&["download", "a.bin", "-o", &text(&dir.join("a"))]);
    assert_eq!(ran.code, 10, "{ran:#?}");
    crate::assert_clear(&ran.err, &["is not a directory of this user's"]);
    assert_only(&trap, &[]);
    assert!(!dir.join("a").exists());
}

#[test]
fn commands_that_only_query_need_no_directory() {
    let world = World::new().tracker();
    let holder = world.start(NodeSpec::new().headless().file("a", b"a"));
    // The command does not use a directory that a node shares either.
    for place in ["/nonexistent".to_owned(), text(&holder.share)] {
        for words in ["find a", "stats", "sources a", "verify a"] {
            let settings = format!("cd '{}' && TMPDIR='{place}'", text(&holder.share));
            let mut process = in_shell(&world, &settings, words, "");
            assert_eq!(process.wait(DEADLINE), 0, "{place}: {}", process.transcript());
            let out = process.since(Stream::Stdout, 0);
            assert!(!out.iter().any(|line| line.starts_with("shared_files ")), "{out:#?}");
        }
    }
    let ran = world.one_shot(&["updatelist"]);
    assert_eq!(ran.code, 2, "{ran:#?}");
    crate::assert_clear(&ran.err, &["-d DIR"]);
}

#[test]
fn a_timeout_during_a_directory_listing_is_exit_6() {
    let world = World::new().tracker();
    let dir = world.directory();
    for number in 0..3000 {
        fs::write(dir.join(number.to_string()), "").expect("written");
    }
    for words in [&["list", "-d"][..], &["verify", "-d"]] {
        let ran = world.one_shot(&[words, &[&text(&dir), "--timeout", "1ns"]].concat());
        assert_eq!(ran.code, 6, "{ran:#?}");
        crate::assert_clear(&ran.err, &["the time of --timeout"]);
    }
}

#[test]
fn a_split_directory_is_listed_and_verified_under_published_names() {
    let world = World::new().tracker();
    let spec = || NodeSpec::new().headless().flags(&["--layout", "split"]);
    let own = world.start(spec().file("shared/mine", b"mine").file("replicated/dir/kept", b"kept"));
    let path = text(&own.share);
    let names = |ran: &crate::support::world::Ran| -> Vec<String> {
        ran.out.iter().filter_map(|line| line.split(' ').next_back().map(str::to_owned)).collect()
    };
    // With the running node, and without it.
    let verified = world.one_shot(&["verify", "-d", &path]);
    assert_eq!(
        (verified.code, names(&verified)),
        (0, vec!["dir/kept".into(), "mine".into()]),
        "{verified:#?}"
    );
    assert!(verified.out.iter().all(|line| line.starts_with("ok ")), "{verified:#?}");
    for is_shared in [true, false] {
        for (kind, expected) in [
            (&["all"][..], &["dir/kept", "mine"][..]),
            (&["local"], &["mine"]),
            (&["replicated"], &["dir/kept"]),
            (&["downloaded"], &[]),
            (&[], &["dir/kept", "mine"]),
        ] {
            let ran = world.one_shot(&[&["list", "-d", &path], kind].concat());
            assert_eq!(
                (ran.code, names(&ran)),
                (0, expected.to_vec().iter().map(|&name| name.into()).collect())
            );
        }
        if is_shared {
            own.process.signal(Signal::TERM);
            assert!(own.process.ends_within(DEADLINE));
        }
    }
    assert_eq!(world.one_shot(&["list", "local"]).code, 2, "of which directory?");
}
