//! Terminals of every kind, and standard streams that are not terminals: the drawing, and the destination of
//! results.

use std::fs;
use std::path::Path;

use crate::prompt::terminal::{Running, source, start};
use crate::prompt::tty::{Kind, Tty, XTERM, without_drawing};
use crate::support::hostile_text::faults;

/// A tracker, and a source of `large file.bin`.
fn swarm(dir: &Path, rate: &str) -> (Running, Running, String) {
    let (tracker, addr) = start(env!("CARGO_BIN_EXE_tracker"), &["--listen", "127.0.0.1:0"], dir);
    let fill = |share: &Path| fs::write(share.join("large file.bin"), vec![7; 8 << 20]).expect("written");
    let holder = source(&addr, dir, fill, &["--max-upload", rate]);
    fs::create_dir(dir.join("share")).expect("a directory");
    (tracker, holder, addr)
}

fn node(tracker: &str) -> String {
    let node = env!("CARGO_BIN_EXE_node");
    format!("{node} 127.0.0.1 0 share --tracker {tracker} --latency-file none")
}

#[test]
fn a_terminal_without_control_codes_gets_none() {
    for term in [Some("dumb"), Some(""), None] {
        let dir = tempfile::tempdir().expect("a directory");
        let (_tracker, _source, addr) = swarm(dir.path(), "1GiB");
        // The terminal splits the lines: the output has `\n`.
        let mut tty = Tty::start(&format!("exec {}", node(&addr)), dir.path(), &Kind { term, ..XTERM });
        tty.expect("> ");
        tty.keys("frob\nfind 'large file.bin'\n");
        tty.expect("unknown command `frob`");
        tty.expect("full large file.bin");
        tty.expect("> ");
        tty.keys("download 'large file.bin'\n");
        tty.expect("large file.bin 100% 8.0/8.0 MiB");
        tty.expect("downloaded large file.bin ");
        tty.expect("> ");
        tty.keys("\u{4}");
        let (code, bytes) = tty.end();
        assert_eq!(code, 0, "{term:?}");
        let text = String::from_utf8_lossy(&bytes).replace("\r\n", "\n");
        assert_eq!(faults(text.as_bytes()), Vec::<String>::new(), "{term:?}: {text:?}");
    }
}

#[test]
fn ctrl_c_at_a_plain_terminal_cancels_a_command_and_exits_between_commands() {
    let dir = tempfile::tempdir().expect("a directory");
    let (_tracker, _source, addr) = swarm(dir.path(), "512KiB");
    let kind = Kind { term: Some("dumb"), ..XTERM };
    let mut tty = Tty::start(&format!("exec {}", node(&addr)), dir.path(), &kind);
    tty.expect("> ");
    tty.keys("download 'large file.bin'\n");
    tty.expect("large file.bin 10% ");
    tty.keys("\u{3}");
    tty.expect("cancelled");
    tty.expect("> ");
    tty.keys("limit\n");
    tty.expect("max-upload off");
    tty.expect("> ");
    tty.keys("half a li\u{3}");
    assert_eq!(tty.end().0, 130);
}

#[test]
fn any_width_and_a_change_of_it_are_drawn_with_the_known_codes_and_no_colour() {
    for (columns, then, set) in [
        (80, 40, &[][..]),
        (20, 100, &[]),
        (5, 3, &[]),
        (1, 80, &[]),
        (80, 80, &[("NO_COLOR", "1")]),
        (80, 30, &[("COLUMNS", "7"), ("CLICOLOR_FORCE", "1")]),
    ] {
        let dir = tempfile::tempdir().expect("a directory");
        let (_tracker, _source, addr) = swarm(dir.path(), "8MiB");
        let mut tty =
            Tty::start(&format!("exec {}", node(&addr)), dir.path(), &Kind { columns, set, ..XTERM });
        tty.expect("> ");
        tty.keys("download 'large file.bin'\r");
        tty.expect("..file.bin ".trim_start_matches(if columns == 80 { ".." } else { "" }));
        tty.resize(then);
        tty.expect("downloaded large file.bin 8388608 bytes ");
        tty.expect("> ");
        // A line that is longer than the width of the terminal, while the width changes.
        tty.keys(&"a".repeat(150));
        tty.expect("aa");
        tty.resize(columns);
        tty.keys("\u{3}");
        tty.expect("\u{1b}[K> \r");
        tty.command("limit", "max-upload off");
        tty.keys("exit\r");
        let (code, bytes) = tty.end();
        assert_eq!(code, 0, "{columns}");
        let text = String::from_utf8_lossy(&bytes);
        assert_eq!(faults(&without_drawing(&bytes)), Vec::<String>::new(), "{columns} {set:?}: {text:?}");
    }
}

#[test]
fn results_are_alone_on_a_standard_output_that_is_no_terminal() {
    for term in [Some("xterm"), Some("dumb")] {
        let dir = tempfile::tempdir().expect("a directory");
        let (_tracker, _source, addr) = swarm(dir.path(), "1GiB");
        let line = format!("{} > out; echo code $?", node(&addr));
        let mut tty = Tty::start(&line, dir.path(), &Kind { term, ..XTERM });
        tty.expect("> ");
        for command in ["limit", "find 'large file.bin'", "download 'large file.bin'"] {
            tty.keys(&format!("{command}{}", if term == Some("dumb") { "\n" } else { "\r" }));
            if term == Some("xterm") {
                // There the prompt is drawn again after each message above it. After Enter was read, it is
                // drawn only for the next line.
                tty.expect(&format!("{command}\r\n"));
            }
            tty.expect("> ");
        }
        tty.keys("\u{4}");
        tty.expect("code 0");
        let (_, bytes) = tty.end();
        assert!(!String::from_utf8_lossy(&bytes).contains("max-upload"), "it is not for the terminal");
        let out = fs::read(dir.path().join("out")).expect("written");
        assert_eq!(faults(&out), Vec::<String>::new(), "{out:?}");
        let lines: Vec<_> = std::str::from_utf8(&out).expect("text").lines().collect();
        let begins = [
            "node listening on ",
            "max-upload off",
            "Found nodes:",
            "127.0.0.1 ",
            "downloaded large file.bin ",
        ];
        assert_eq!(lines.len(), begins.len(), "{lines:?}");
        assert!(lines.iter().zip(begins).all(|(line, begin)| line.starts_with(begin)), "{lines:?}");
    }
}

#[test]
fn commands_from_a_pipe_put_no_prompt_on_a_terminal_and_end_with_their_code() {
    let dir = tempfile::tempdir().expect("a directory");
    let (_tracker, _source, addr) = swarm(dir.path(), "1GiB");
    let line = format!("printf 'limit\\nfind nobody\\nlimit\\n' | {}; echo code $?", node(&addr));
    let mut tty = Tty::start(&line, dir.path(), &XTERM);
    tty.expect("code 3");
    let (_, bytes) = tty.end();
    let text = String::from_utf8_lossy(&bytes).replace("\r\n", "\n");
    assert_eq!(faults(text.as_bytes()), Vec::<String>::new(), "{text:?}");
    assert!(!text.contains("> "), "{text:?}");
    assert_eq!(text.lines().filter(|line| *line == "max-upload off").count(), 2, "{text:?}");
}

#[test]
fn nothing_is_drawn_where_standard_error_is_no_terminal() {
    let dir = tempfile::tempdir().expect("a directory");
    let (_tracker, _source, addr) = swarm(dir.path(), "1GiB");
    let mut tty = Tty::start(&format!("exec {} 2> err", node(&addr)), dir.path(), &XTERM);
    tty.expect("> ");
    tty.command("download 'large file.bin'", "downloaded large file.bin ");
    tty.keys("frob\r");
    tty.expect("> ");
    tty.keys("exit\r");
    assert_eq!(tty.end().0, 0);
    let err = fs::read_to_string(dir.path().join("err")).expect("written");
    assert_eq!(faults(err.as_bytes()), Vec::<String>::new(), "{err:?}");
    assert!(err.contains("large file.bin 100% ") && err.contains("unknown command `frob`"), "{err}");
}

#[test]
fn an_endless_line_at_the_prompt_is_refused_in_little_memory() {
    let dir = tempfile::tempdir().expect("a directory");
    let (_tracker, _source, addr) = swarm(dir.path(), "1GiB");
    let mut tty = Tty::start(&format!("exec {}", node(&addr)), dir.path(), &XTERM);
    tty.expect("> ");
    for chunk in vec![b'x'; 1 << 20].chunks(1024) {
        tty.keys(std::str::from_utf8(chunk).expect("text"));
    }
    tty.command("", "a line has more than 16384 bytes: it was skipped");
    tty.command("limit", "max-upload off");
    tty.keys("exit\r");
    let (code, bytes) = tty.end();
    assert_eq!(code, 0);
    assert!(bytes.len() < 8 << 20, "{} bytes were drawn", bytes.len());
}

#[test]
fn names_that_need_quotes_are_completed_and_typed() {
    let dir = tempfile::tempdir().expect("a directory");
    let (_tracker, addr) = start(env!("CARGO_BIN_EXE_tracker"), &["--listen", "127.0.0.1:0"], dir.path());
    fs::create_dir(dir.path().join("share")).expect("a directory");
    for name in ["my notes.txt", "it's", "#1", "-rf", "q \"u\""] {
        fs::write(dir.path().join("share").join(name), name).expect("written");
    }
    let mut tty = Tty::start(&format!("exec {}", node(&addr)), dir.path(), &XTERM);
    tty.expect("> ");
    for (typed, name) in [
        ("find 'my notes.txt'", "my notes.txt"),
        ("find my\t", "my notes.txt"),
        (r#"find "it's""#, "it's"),
        ("find it\t", "it's"),
        ("find '#1' # the first", "#1"),
        ("find -- -rf", "-rf"),
        ("find -r\t", "-rf"),
        (r#"find 'q "u"'"#, "q \"u\""),
    ] {
        tty.command(typed, &format!("full {name}\r\n"));
    }
    tty.keys("exit\r");
    assert_eq!(tty.end().0, 0);
}
