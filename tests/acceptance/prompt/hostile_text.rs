//! Hostile names and texts at a terminal, in every output: the terminal gets only text, line feeds, and the
//! codes with which an editor and bars draw.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::prompt::terminal::{Running, source, start};
use crate::prompt::tty::{Tty, XTERM, without_drawing};
use crate::support::content::b3_hex;
use crate::support::evil::{Behaviour, EvilPeer};
use crate::support::hostile_text::{EvilTracker, NAMES, REFUSED_NAMES, faults, some_pieces};

fn check(what: &str, bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    assert_eq!(faults(&without_drawing(bytes)), Vec::<String>::new(), "{what}: {text:?}");
}

fn tracker(dir: &Path) -> (Running, String) {
    start(env!("CARGO_BIN_EXE_tracker"), &["--listen", "127.0.0.1:0"], dir)
}

fn node(tracker: &str) -> String {
    let node = env!("CARGO_BIN_EXE_node");
    format!(
        "mkdir -p share; exec {node} 127.0.0.1 0 share --tracker {tracker} --latency-file none --retries 0"
    )
}

#[test]
fn names_are_inert_at_the_prompt_in_bars_in_candidates_and_in_history() {
    let dir = tempfile::tempdir().expect("a directory");
    let (_tracker, addr) = tracker(dir.path());
    let fill = |share: &Path| {
        for name in NAMES {
            fs::write(share.join(name), name).expect("written");
        }
        fs::write(share.join("far\u{202e}nib.mib"), vec![7; 8 << 20]).expect("written");
    };
    let _source = source(&addr, dir.path(), fill, &["--max-upload", "8MiB"]);
    let share = dir.path().join("share");
    fs::create_dir(&share).expect("a directory");
    for name in REFUSED_NAMES {
        fs::write(share.join(OsStr::from_bytes(name)), "refused").expect("written");
    }
    fs::write(share.join("own\u{202e}txt"), "own").expect("written");
    let state = dir.path().join("state/nearpeer");
    fs::create_dir_all(&state).expect("a directory");
    fs::write(state.join("history"), "limit\nfind \u{1b}]0;owned\u{7}\nfind \u{202e}x\u{9b}31m\n")
        .expect("written");
    let mut tty = Tty::start(&node(&addr), dir.path(), &XTERM);
    tty.expect("line\\u{a}ready: 99 files");
    tty.expect("> ");
    // The last line of the history that can be shown.
    tty.keys("\u{1b}[A\r");
    tty.expect("max-upload off");
    tty.expect("> ");
    let found = b3_hex(NAMES[0].as_bytes());
    tty.command("list", "own\\u{202e}txt");
    tty.command("list swarm", "far\\u{202e}nib.mib");
    tty.command(&format!("find b3={found}"), "x\\u{202e}gpj.exe");
    tty.command(&format!("sources b3={found}"), "chosen");
    tty.command(&format!("replicate b3={found} --copies 1"), "replicate 1 wanted");
    // A name that cannot be shown unchanged is no candidate: nothing is completed.
    tty.keys("find far\t");
    tty.keys("zzz\r");
    tty.expect("No nodes found");
    tty.expect("> ");
    tty.command("stats", "shared_files 1");
    tty.keys("exit\r");
    let (code, bytes) = tty.end();
    assert_eq!(code, 0);
    check("prompt", &bytes);
    // A typed name is echoed as it is typed. As an argument it has no control characters.
    let node = env!("CARGO_BIN_EXE_node");
    let name = "far\u{202e}nib.mib";
    let line = format!("exec {node} download '{name}' -d into --tracker {addr} --latency-file none");
    fs::create_dir(dir.path().join("into")).expect("a directory");
    let mut tty = Tty::start(&line, dir.path(), &XTERM);
    // The beginning of a long name is cut.
    tty.expect("{202e}nib.mib ##");
    tty.expect("downloaded far\\u{202e}nib.mib 8388608 bytes");
    let (code, bytes) = tty.end();
    assert_eq!(code, 0);
    check("bar", &bytes);
    for words in
        ["find 'a\nready: 99 files'", "find '\u{1b}[2J\u{9b}31m\u{202e}'", "find x --'\u{1b}]0;owned\u{7}'"]
    {
        let plain = crate::prompt::tty::Kind { set: &[("NO_COLOR", "1")], ..XTERM };
        let (code, bytes) = Tty::start(&format!("exec {node} {words}"), dir.path(), &plain).end();
        assert_eq!(code, 2);
        check(words, &bytes);
    }
}

#[test]
fn texts_of_a_hostile_peer_are_inert_above_bars_and_above_the_prompt() {
    let dir = tempfile::tempdir().expect("a directory");
    let (_tracker, addr) = tracker(dir.path());
    let at = addr.parse().expect("an address");
    let _evil = EvilPeer::start(at, "f.bin", &some_pieces(), Behaviour::HostileText);
    let mut tty = Tty::start(&node(&addr), dir.path(), &XTERM);
    tty.expect("> ");
    tty.command("find f.bin", "full f.bin");
    tty.keys("download f.bin\r");
    tty.expect("f.bin: left 127.0.0.1:");
    tty.expect("no source could deliver it");
    tty.expect("> ");
    tty.keys("download f.bin &\r");
    tty.expect("[2] download: `f.bin`: no source could deliver it");
    tty.expect("> ");
    tty.command("jobs", "2 failed ");
    tty.keys("exit\r");
    let (code, bytes) = tty.end();
    assert_eq!(code, 0);
    check("peer", &bytes);
    assert!(String::from_utf8_lossy(&bytes).contains("cannot read the file: \\u{1b}[2J"));
}

#[test]
fn texts_of_a_hostile_tracker_are_inert_at_the_prompt() {
    let dir = tempfile::tempdir().expect("a directory");
    let evil = EvilTracker::start();
    let mut tty = Tty::start(&node(&evil.addr.to_string()), dir.path(), &XTERM);
    tty.expect("\\u{1b}]52;c;");
    tty.expect("> ");
    for command in ["find f.bin", "sources f.bin", "nodes", "list swarm", "stats", "download f.bin"] {
        tty.keys(&format!("{command}\r"));
        tty.expect("\n");
        tty.expect("tracker");
        tty.expect("> ");
    }
    tty.keys("exit\r");
    let (code, bytes) = tty.end();
    assert_eq!(code, 0);
    check("tracker", &bytes);
}
