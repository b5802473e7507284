//! Typed or piped input of any bytes: bounded memory, an error that names the fault, the right exit code; and
//! names that need quotes.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;

use crate::support::DEADLINE;
use crate::support::process::{Process, Stream};
use crate::support::rows::find_rows;
use crate::support::world::{NodeSpec, World};

const NODE: &str = env!("CARGO_BIN_EXE_node");

/// Peak memory of a process, in KiB; see `proc(5)`.
fn peak_kib(process: &Process) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", process.id())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

#[test]
fn a_line_of_any_bytes_spoils_only_itself_and_needs_little_memory() {
    let world = World::new().tracker();
    let cases: [(&str, Vec<u8>, usize, &str); 7] = [
        ("a line of 1 MiB", vec![b'x'; 1 << 20], 1, "a line has more than 65536 bytes: it was skipped"),
        (
            "64 MiB without an end",
            vec![b'x'; 64 << 20],
            1,
            "a line has more than 65536 bytes: it was skipped",
        ),
        ("NUL", b"find a\0b".to_vec(), 1, "a line holds a NUL byte: it was skipped"),
        ("no UTF-8", b"find \xff\xfe".to_vec(), 1, "a line is not UTF-8: it was skipped"),
        (
            "a long name",
            [b"find ".to_vec(), vec![b'x'; 60_000]].concat(),
            1,
            "file name of 60000 bytes: at most 4096 are allowed",
        ),
        (
            "many words",
            [b"find".to_vec(), b" x".repeat(30_000)].concat(),
            1,
            "unexpected argument 'x' found; Usage: find <NAME",
        ),
        ("100,000 bad ones", b"frob\n".repeat(100_000), 100_000, "unknown command `frob`: help lists them"),
    ];
    for (what, bytes, count, error) in cases {
        let mut node = world.start(NodeSpec::new());
        let mark = node.process.mark(Stream::Stderr);
        node.process.send_raw(&bytes);
        // The node continues normally with the next line.
        node.process.send("");
        assert_eq!(node.command("limit"), ["max-upload off"], "{what}");
        let peak = peak_kib(&node.process);
        assert!(peak < 32 << 10, "{what}: {peak} KiB");
        crate::support::print_figures(&format!("{what}: {peak} KiB"));
        node.process.close_stdin();
        assert_eq!(node.process.wait(DEADLINE), 2, "{what}");
        let errors = node.process.since(Stream::Stderr, mark);
        let said = errors.iter().filter(|line| line.contains(error)).count();
        assert_eq!(said, count, "{what}: {:?}", errors.first());
    }
}

#[test]
fn a_hundred_thousand_commands_are_run_in_order_in_little_memory() {
    let world = World::new().tracker();
    let mut node = world.start(NodeSpec::new());
    let commands: String = (0..100_000).map(|number| format!("limit {}\n", number + 1)).collect();
    let mark = node.process.mark(Stream::Stdout);
    node.process.send_raw(commands.as_bytes());
    let last = |line: &str| line == "max-upload 100000";
    node.process.expect_line(Stream::Stdout, mark, DEADLINE * 2, "the last answer", last);
    let peak = peak_kib(&node.process);
    crate::support::print_figures(&format!("100,000 commands: {peak} KiB"));
    assert!(peak < 32 << 10, "{peak} KiB");
    let answers = node.process.since(Stream::Stdout, mark);
    assert!((1..=100_000).map(|number| format!("max-upload {number}")).eq(answers));
    assert_eq!(node.leave(), 0);
}

#[test]
fn arguments_that_are_not_utf_8_are_named_in_the_error() {
    let check = |words: &[&[u8]], named: &str| {
        let words = words.iter().map(|word| OsString::from_vec(word.to_vec()));
        let mut process = Process::start(NODE, words);
        process.close_stdin();
        assert_eq!(process.wait(DEADLINE), 2, "{named}");
        let err = process.since(Stream::Stderr, 0).join("\n");
        assert!(err.starts_with(&format!("error: {named}")), "{err}");
        assert!(err.len() < 1000, "{err}");
    };
    check(&[b"find", b"a\xff\x1bb"], "`a\u{fffd}\\u{1b}b` is not UTF-8");
    check(&[b"download", b"x", b"--checksum", b"md5=\xfe"], "`--checksum=md5=\u{fffd}` is not UTF-8");
    check(&[b"127.0.0.1", b"50\xff", b"/tmp"], "`50\u{fffd}` is not UTF-8");
    check(&[b"find", &[b'x'; 100_000]], "invalid value 'xxx");
    check(&[b"find", b""], "invalid value '' for '<NAME|md5=HEX|b3=HEX>': a file name may not be empty");
}

/// The same names in all three ways that the guide describes.
#[test]
fn names_that_need_quotes_are_found_by_pipe_and_as_one_command() {
    const NAMES: [(&str, &str); 9] = [
        ("my notes.txt", "'my notes.txt'"),
        ("two  blanks", r"two\ \ blanks"),
        ("it's", r#""it's""#),
        ("say \"hi\"", r#"'say "hi"'"#),
        ("both ' and \"", r#"both\ \'\ and\ \""#),
        ("#1 of 2", "'#1 of 2'"),
        ("a#b", "a#b"),
        ("-rf", "-- -rf"),
        ("--force", "-- --force"),
    ];
    let world = World::new().tracker();
    let files: Vec<_> = NAMES.iter().map(|(name, _)| (*name, name.as_bytes())).collect();
    let _holder = world.holder(&files);
    for (name, typed) in NAMES {
        let ran = world.run(&NodeSpec::new(), &format!("find {typed}\ndownload {typed} # as typed\n"));
        assert_eq!(ran.code, 0, "{name}: {ran:#?}");
        assert_eq!(find_rows(&ran.out[..2])[0].name, name);
        assert_eq!(fs::read(ran.share.join(name)).expect("in place"), name.as_bytes());
        let dir = world.directory();
        let into = dir.display().to_string();
        let words = ["download", "-d", &into, "--", name];
        let alone = world.one_shot(&words);
        assert_eq!(alone.code, 0, "{name}: {alone:#?}");
        assert_eq!(fs::read(dir.join(name)).expect("in place"), name.as_bytes());
    }
    for (line, error) in [
        ("find 'my notes.txt", "a quote is not closed"),
        ("find my notes.txt", "unexpected argument 'notes.txt' found; Usage: find <NAME"),
        ("find -rf", "unexpected argument '-r' found; tip: to pass '-r' as a value, use '-- -r'"),
        ("find #1", "not provided: <NAME|md5=HEX|b3=HEX>"),
    ] {
        let ran = world.run(&NodeSpec::new(), &format!("{line}\n"));
        assert_eq!(ran.code, 2, "{line}: {ran:#?}");
        assert!(ran.err.contains(error), "{line}: {ran:#?}");
    }
}
