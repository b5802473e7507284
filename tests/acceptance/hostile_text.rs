//! Hostile names and texts at a pipe, in every output: no control characters except line feeds, no faked
//! line, nothing hidden.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;

use rustix::process::Signal;

use crate::support::DEADLINE;
use crate::support::evil::{Behaviour, EvilPeer};
use crate::support::hostile_text::{EvilTracker, NAMES, REFUSED_NAMES, faults, some_pieces};
use crate::support::process::Stream;
use crate::support::world::{NodeSpec, Ran, World};

/// Checks that all output is inert and that it contains each of `parts`.
fn check(what: &str, ran: &Ran, parts: &[&str]) {
    let all = format!("{}\n{}", ran.out.join("\n"), ran.err);
    assert_eq!(faults(all.as_bytes()), Vec::<String>::new(), "{what}: {ran:#?}");
    for part in parts {
        assert!(all.contains(part), "{what}: {part} is not there: {ran:#?}");
    }
}

fn share_of_hostile_names(world: &World) -> NodeSpec {
    let share = world.directory();
    for name in REFUSED_NAMES {
        fs::write(share.join(OsStr::from_bytes(name)), "refused").expect("written");
    }
    NAMES.iter().fold(NodeSpec::new().share(&share), |spec, name| spec.file(name, name.as_bytes()))
}

#[test]
fn names_are_inert_in_what_is_printed_as_text_and_as_json() {
    let world = World::new().tracker();
    let _holder = world.start(share_of_hostile_names(&world).headless());
    let commands: String = NAMES
        .iter()
        .map(|name| name.replace('\\', "\\\\"))
        .map(|name| {
            format!("find '{name}'\nsources '{name}'\ndownload '{name}'\nfrob{name}\nfind a {name}\n")
        })
        .collect();
    // A backslash in quotes stays as it is. The other names have no backslash.
    let commands = commands.replace("back\\\\slash", "back\\slash");
    let commands = format!(
        "{commands}download '{}' --force &\njobs\nlist\nlist swarm\nstats\nnodes\nupdatelist\n",
        NAMES[0]
    );
    for flags in [&[][..], &["--progress", "plain"], &["--progress", "json"], &["--json"]] {
        let spec = share_of_hostile_names(&world).flags(flags);
        let own = world.run(&spec, &commands);
        // JSON writes a backslash twice.
        let shown: &[&str] = if flags == ["--json"] {
            &["line\\\\u{a}ready: 99 files", "esc\\\\u{1b}]0;owned\\\\u{7}"]
        } else {
            &["line\\u{a}ready: 99 files", "esc\\u{1b}]0;owned\\u{7}"]
        };
        check("own", &own, shown);
        let fresh = world.run(&NodeSpec::new().flags(flags), &commands);
        let shown = if flags == ["--json"] { "x\\u202egpj.exe" } else { "downloaded x\\u{202e}gpj.exe " };
        check("others'", &fresh, &[shown, "back\\\\slash"]);
        assert!(fresh.share.join(NAMES[0]).exists());
    }
    for words in [
        &["find", NAMES[0]][..],
        &["find", NAMES[0], "--json"],
        &["sources", NAMES[1]],
        &["list"],
        &["download", NAMES[0], "-d", &world.directory().display().to_string()],
        &["verify", "-d", &world.directory().display().to_string(), NAMES[0]],
        &["find", "a\nready: 99 files"],
        &["find", "x", "\u{1b}[2J\nready: 99 files"],
        &["frob\u{9b}31m"],
        &["find", "x", "--tracker", "\u{1b}]0;owned\u{7}"],
        &["find", "x", "--\u{202e}evil", "y"],
        &["download", "x", "--checksum", "md5=\u{8}\u{8}"],
        &["find", "x", "-c", "/no\u{1b}[2J\nready: 99 files"],
        &["list", "-d", "/no\u{1b}[2J\nready: 99 files"],
    ] {
        check(&format!("{words:?}"), &world.one_shot(words), &[]);
    }
}

#[test]
fn texts_of_a_hostile_peer_are_inert() {
    let world = World::new().tracker();
    let _evil = EvilPeer::start(world.tracker_addr(), "f.bin", &some_pieces(), Behaviour::HostileText);
    for flags in [&[][..], &["--progress", "plain"], &["--progress", "json"], &["--json"]] {
        let spec = NodeSpec::new().flags(flags).flags(&["--retries", "0"]);
        let ran = world.run(&spec, "find f.bin\ndownload f.bin\n");
        assert_eq!(ran.code, 5, "{ran:#?}");
        check("peer", &ran, &["cannot read the file: ", "ready: 99 files"]);
    }
    // In the background, and printed by the node that shares the directory.
    let mut node = world.start(NodeSpec::new().flags(&["--retries", "0"]));
    node.process.send("download f.bin &");
    node.process.expect_stderr("[1] download: `f.bin`: no source could deliver it");
    let share = node.share.display().to_string();
    let ran = world.one_shot(&["download", "f.bin", "-d", &share]);
    assert_eq!(ran.code, 5, "{ran:#?}");
    check("handed over", &ran, &["cannot read the file: "]);
    node.process.send("jobs");
    node.process.close_stdin();
    node.process.wait(DEADLINE);
    let (out, err) =
        (node.process.since(Stream::Stdout, 0), node.process.since(Stream::Stderr, 0).join("\n"));
    check("background", &Ran { code: 0, out, err, share: node.share.clone() }, &["1 failed "]);
}

#[test]
fn texts_of_a_hostile_tracker_are_inert() {
    let evil = EvilTracker::start();
    let mut world = World::new();
    world.set_tracker_addr(evil.addr);
    let commands =
        ["find f.bin", "sources f.bin", "nodes", "list swarm", "stats", "download f.bin", "updatelist"];
    for flags in [&[][..], &["--json"]] {
        for command in commands {
            let spec = NodeSpec::new().flags(flags).file("a.bin", b"a");
            let ran = world.run(&spec, &format!("{command}\n"));
            // The message names the node as unproved, with the reason.
            check(command, &ran, &["\\u"]);
            let words: Vec<_> = command
                .split(' ')
                .take(2)
                .filter(|word| *word != "swarm")
                .chain(flags.iter().copied())
                .collect();
            check(command, &world.one_shot(&words), &[]);
        }
    }
}

#[test]
fn a_line_feed_in_a_name_makes_no_line_of_a_log() {
    let world = World::new().tracker();
    let holder = world.start(share_of_hostile_names(&world).headless());
    holder.process.signal(Signal::TERM);
    let mut process = holder.process;
    assert_eq!(process.wait(DEADLINE), 0);
    let err = process.since(Stream::Stderr, 0);
    let escaped: Vec<_> = err.iter().filter(|line| line.contains("\\u{a}ready: 99 files")).collect();
    assert_eq!(escaped.len(), 1, "{err:#?}");
    assert!(escaped[0].starts_with("warning: "), "{err:#?}");
    assert_eq!(faults(err.join("\n").as_bytes()), Vec::<String>::new());
}
