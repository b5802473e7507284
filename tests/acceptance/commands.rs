//! The stdout form and the exit code of every command, as scripts read them.

use std::time::Duration;

use nearpeer::proto::tracker::{ReplyBody, TrackerReply, TrackerRequest};
use nearpeer::types::{FileName, Query};

use crate::support::content::{b3_hex, md5_hex, noise};
use crate::support::process::Stream;
use crate::support::proxy::{Direction, Fault, Proxy};
use crate::support::raw;
use crate::support::rows::{FindRow, downloaded_row, find_rows, list_row, load_row, node_row};
use crate::support::world::{NodeSpec, Ran, World, assert_only};

fn expect(ran: &Ran, code: i32, out: &[&str]) {
    assert_eq!(
        (ran.code, &ran.out[..]),
        (code, &out.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>()[..]),
        "{ran:#?}"
    );
}

#[test]
fn find_shows_every_field_in_its_place() {
    let bytes = noise(1, 5000);
    let world = World::new().tracker();
    let holder = world.holder(&[("dir/a file.bin", &bytes)]);
    let ran = world.ask("find \"dir/a file.bin\"");
    assert_eq!(ran.code, 0, "{ran:#?}");
    let rows = find_rows(&ran.out);
    let (latency, score) = (rows[0].latency.expect("measured"), rows[0].score.expect("scored"));
    assert!(latency > 0.0 && latency < 3000.0, "{latency}");
    let expected = FindRow {
        endpoint: holder.addr,
        size: 5000,
        md5: md5_hex(&bytes),
        latency: Some(latency),
        load: Some(0),
        // No node has load, so the score is the latency.
        score: Some(latency),
        b3: b3_hex(&bytes)[..16].to_owned(),
        held: "full".to_owned(),
        name: "dir/a file.bin".to_owned(),
    };
    assert_eq!(score, latency);
    assert_eq!(rows, [expected]);
}

#[test]
fn find_groups_contents_by_holders_and_orders_each_group_by_score() {
    let mut world = World::new().tracker();
    let latency = world.latency_file();
    let common: Vec<_> = (0..3).map(|_| world.holder(&[("a.bin", b"common")])).collect();
    let rare = world.holder(&[("a.bin", b"rare")]);
    let mut requester = world.start(NodeSpec::new().latency(&latency));
    let entries = [(&common[0], 30.5), (&common[1], 10.0), (&common[2], 20.0), (&rare, 1.0)];
    let entries = entries.map(|(node, ms)| (requester.addr, node.addr, ms));
    crate::support::world::write_latency(&latency, &entries);
    let rows = find_rows(&requester.command("find a.bin"));
    let seen: Vec<_> = rows.iter().map(|row| (row.endpoint, row.latency, row.load, row.score)).collect();
    let row = |addr, ms| (addr, Some(ms), Some(0), Some(ms));
    let expected = [
        row(common[1].addr, 10.0),
        row(common[2].addr, 20.0),
        row(common[0].addr, 30.5),
        row(rare.addr, 1.0),
    ];
    assert_eq!(seen, expected, "the larger group first, best score first within one");
    // Checks the text itself: no trailing zeros.
    assert!(requester.command("find a.bin").iter().any(|line| line.contains(" 30.5 0 30.5 ")));
    let said = world.tracker_process().since(crate::support::process::Stream::Stderr, 0);
    assert!(said.iter().all(|line| line.starts_with("pages at ")), "{said:#?}");
}

#[test]
fn the_own_node_comes_last_with_dashes_and_alone_is_a_success() {
    let world = World::new().tracker();
    let mut own = world.start(NodeSpec::new().file("a.txt", b"a"));
    let alone = find_rows(&own.command("find a.txt"));
    assert_eq!((alone.len(), alone[0].endpoint, alone[0].score), (1, own.addr, None));
    let other = world.holder(&[("a.txt", b"a")]);
    let rows = find_rows(&own.command("find a.txt"));
    assert_eq!(rows.iter().map(|row| row.endpoint).collect::<Vec<_>>(), [other.addr, own.addr]);
    assert!(rows[0].score.is_some() && rows[1].score.is_none());
    assert_eq!(own.leave(), 0);
}

#[test]
fn the_own_node_is_not_counted_when_groups_are_ordered() {
    let world = World::new().tracker();
    let _theirs: Vec<_> = (0..2).map(|_| world.holder(&[("a.txt", b"theirs")])).collect();
    let _ours = world.holder(&[("a.txt", b"ours")]);
    let mut own = world.start(NodeSpec::new().file("a.txt", b"ours"));
    let rows = find_rows(&own.command("find a.txt"));
    let sizes: Vec<_> = rows.iter().map(|row| row.size).collect();
    assert_eq!(sizes, [6, 6, 4, 4], "two live holders before one and the own node");
}

#[test]
fn content_is_found_by_digest_under_any_name() {
    let bytes = noise(2, 3000);
    let world = World::new().tracker();
    let _first = world.holder(&[("a.bin", &bytes)]);
    let _second = world.holder(&[("other/b.bin", &bytes), ("c.bin", b"else")]);
    let (md5, b3) = (md5_hex(&bytes), b3_hex(&bytes));
    for query in [
        format!("md5={md5}"),
        format!("md5={}", md5.to_uppercase()),
        format!("b3={}", &b3[..16]),
        format!("b3={}", &b3[..17]),
        format!("b3={b3}"),
    ] {
        let ran = world.ask(&format!("find {query}"));
        assert_eq!(ran.code, 0, "{query}: {ran:#?}");
        let mut names: Vec<_> = find_rows(&ran.out).into_iter().map(|row| row.name).collect();
        names.sort();
        assert_eq!(names, ["a.bin", "other/b.bin"], "{query}");
    }
    expect(&world.ask(&format!("find md5={}", md5_hex(b"nobody's"))), 3, &["No nodes found"]);
    for query in ["md5=12", &format!("b3={}", &b3[..15])] {
        let ran = world.ask(&format!("find {query}"));
        assert_eq!((ran.code, ran.out.len()), (2, 0), "`{query}` is no digest: {ran:#?}");
    }
}

#[test]
fn content_without_holders_is_exit_3() {
    let world = World::new().tracker();
    expect(&world.ask("find nobody-has-this.txt"), 3, &["No nodes found"]);
    let ran = world.ask("download nobody-has-this.txt");
    assert_eq!(ran.code, 3, "{ran:#?}");
    assert!(ran.err.contains("nobody-has-this.txt"), "the name is in the error: {}", ran.err);
    assert_only(&ran.share, &[]);
}

#[test]
fn an_unknown_word_gets_a_suggestion_and_the_session_continues() {
    let world = World::new().tracker();
    let _holder = world.holder(&[("a.txt", b"a")]);
    let ran = world.run(&NodeSpec::new(), "donwload a.txt\nfind a.txt\n");
    assert_eq!(ran.code, 2, "the last failure's code: {ran:#?}");
    assert!(ran.err.contains("download"), "{}", ran.err);
    assert_eq!(find_rows(&ran.out).len(), 1, "the next command is carried out");
}

#[test]
fn the_exit_code_of_several_commands_is_the_last_failure() {
    let world = World::new().tracker();
    let ran = world.run(&NodeSpec::new(), "nonsense\nfind nothing\nlist\n");
    expect(&ran, 3, &["No nodes found"]);
    // A missing newline at the end of input, an empty line and blanks are no failure.
    let ran = world.run(&NodeSpec::new(), "\n   \nlist");
    expect(&ran, 0, &[]);
}

#[test]
fn usage_errors_are_exit_2_and_say_nothing_on_stdout() {
    let world = World::new().tracker();
    for command in [
        "find",
        "find a b",
        "download",
        "getload 127.0.0.1",
        "getload 127.0.0.1 70000",
        "getload x 5",
        "find \"open quote",
        "download a --checksum sha1=00",
        "download ../a",
        "find /etc/passwd",
    ] {
        let ran = world.ask(command);
        assert_eq!((ran.code, ran.out.len()), (2, 0), "`{command}`: {ran:#?}");
        assert!(!ran.err.is_empty() && !ran.err.contains("panicked"), "`{command}`: {}", ran.err);
    }
}

#[test]
fn list_shows_the_own_files_by_name() {
    let world = World::new().tracker();
    let mut node =
        world.start(NodeSpec::new().file("b c.txt", b"bb").file("a/x.txt", b"").file("a.txt", b"aaa"));
    let rows: Vec<_> = node.command("list").iter().map(|line| list_row(line)).collect();
    let row = |name: &str, bytes: &[u8]| (bytes.len() as u64, md5_hex(bytes), name.to_owned());
    assert_eq!(rows, [row("a.txt", b"aaa"), row("a/x.txt", b""), row("b c.txt", b"bb")]);
}

#[test]
fn only_regular_visible_files_are_shared() {
    let world = World::new().tracker();
    let share = world.directory();
    let spec = NodeSpec::new()
        .share(&share)
        .file("seen.txt", b"1")
        .file(".hidden", b"2")
        .file(".dir/x", b"3")
        .file(".nearpeer/y", b"4");
    std::os::unix::fs::symlink("/etc/passwd", share.join("link")).expect("a symlink");
    std::os::unix::fs::symlink("/etc", share.join("linkdir")).expect("a symlink");
    let _socket = std::os::unix::net::UnixListener::bind(share.join("socket")).expect("a socket");
    let fifo = share.join("fifo");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status().expect("mkfifo is there");
    assert!(made.success());
    let bad = std::ffi::OsStr::new("bad-");
    let mut bad = std::os::unix::ffi::OsStrExt::as_bytes(bad).to_vec();
    bad.push(0xff);
    let bad: std::ffi::OsString = std::os::unix::ffi::OsStringExt::from_vec(bad);
    std::fs::write(share.join(bad), b"5").expect("a file with a name that is no utf-8");
    let mut node = world.start(spec);
    let names: Vec<_> = node.command("list").iter().map(|line| list_row(line).2).collect();
    assert_eq!(names, ["seen.txt"]);
    node.process.expect_stderr("bad-");
}

#[test]
fn nodes_shows_liveness_files_and_load() {
    let world = World::new().tracker();
    let beating = world
        .start(NodeSpec::new().headless().file("a", b"a").file("b", b"b").flags(&["--heartbeat", "100ms"]));
    let silent = world.start(NodeSpec::new().headless().flags(&["--heartbeat", "off"]));
    let mut suspect = world.start(NodeSpec::new().headless());
    let row = |ran: &Ran, addr| ran.out.iter().map(|line| node_row(line)).find(|row| row.endpoint == addr);
    let ran = world.ask_until("nodes", |ran| row(ran, beating.addr).is_some_and(|row| row.load.is_some()));
    assert_eq!(ran.code, 0);
    let shown = row(&ran, beating.addr).expect("listed");
    assert_eq!((shown.liveness.as_str(), shown.files, shown.load), ("live", 2, Some(0)));
    let shown = row(&ran, silent.addr).expect("listed");
    assert_eq!((shown.liveness.as_str(), shown.files, shown.load), ("live", 0, None));
    suspect.process.kill();
    let gone = |ran: &Ran| row(ran, suspect.addr).is_none_or(|row| row.liveness == "suspect");
    assert!(gone(&world.ask_until("nodes", gone)));
}

#[test]
fn getload_of_an_unreachable_node_is_exit_6() {
    let world = World::new().tracker();
    let node = world.holder(&[]);
    let ran = world.ask(&format!("getload 127.0.0.1 {}", node.addr.port()));
    assert_eq!((ran.code, load_row(&ran.out[0])), (0, (node.addr, 0)));
    let port = node.addr.port();
    assert_eq!(node.terminate(), 0);
    let ran = world.ask(&format!("getload 127.0.0.1 {port}"));
    assert_eq!((ran.code, ran.out.len()), (6, 0), "{ran:#?}");
}

#[test]
fn updatelist_counts_added_removed_and_changed() {
    let mut world = World::new().tracker().nodes(1);
    let node = world.node(0);
    for (name, bytes) in [("a", "1"), ("b", "2"), ("c", "3")] {
        node.write(name, bytes.as_bytes());
    }
    assert_eq!(node.command("updatelist"), ["updated 3 files +3 -0 ~0"]);
    assert_eq!(node.command("updatelist"), ["updated 3 files +0 -0 ~0"]);
    node.write("b", b"22");
    std::fs::remove_file(node.share.join("a")).expect("it was there");
    node.write("d/e", b"4");
    assert_eq!(node.command("updatelist"), ["updated 3 files +1 -1 ~1"]);
    // Same size, other content: only the modification time shows the change.
    node.write("c", b"x");
    assert_eq!(node.command("updatelist"), ["updated 3 files +0 -0 ~1"]);
}

#[test]
fn help_and_exit() {
    let world = World::new().tracker();
    let ran = world.run(&NodeSpec::new(), "help\nexit\nfind nothing\n");
    assert_eq!(ran.code, 0, "nothing is carried out behind exit: {ran:#?}");
    for command in ["updatelist", "find", "download", "getload", "list", "nodes", "help", "exit"] {
        assert!(ran.out.iter().any(|line| line.contains(command)), "{command} in {:#?}", ran.out);
    }
    for line in ran.out.iter().chain([&ran.err]) {
        assert!(!line.contains('\u{1b}') && !line.starts_with("> "), "no prompt, no control codes: `{line}`");
    }
}

#[test]
fn a_download_of_one_piece_prints_the_computed_md5() {
    for (name, bytes) in
        [("small.txt", b"small".to_vec()), ("empty", Vec::new()), ("piece", noise(3, 1 << 20))]
    {
        let world = World::new().tracker();
        let holder = world.holder(&[(name, &bytes)]);
        let ran = world.ask(&format!("download {name}"));
        assert_eq!(ran.code, 0, "{ran:#?}");
        let row = downloaded_row(ran.out.last().expect("a result"), name);
        assert_eq!(
            (row.size, row.algorithm.as_str(), row.hex, row.sources),
            (bytes.len() as u64, "md5", md5_hex(&bytes), vec![holder.addr])
        );
        assert!(std::fs::read(ran.share.join(name)).expect("in place") == bytes);
        assert_only(&ran.share, &[name]);
    }
}

#[test]
fn a_download_of_several_pieces_prints_the_content_id_and_the_pieces() {
    let bytes = noise(4, (2 << 20) + 1);
    let world = World::new().tracker();
    let holder = world.holder(&[("big.bin", &bytes)]);
    let ran = world.ask("download big.bin");
    assert_eq!(ran.code, 0, "{ran:#?}");
    let row = downloaded_row(ran.out.last().expect("a result"), "big.bin");
    if row.algorithm == "md5" {
        // The MD5 was computed here in time for the line.
        assert_eq!(row.hex, md5_hex(&bytes));
    } else {
        assert_eq!((row.hex, row.md5_pieces), (b3_hex(&bytes), Some(3)));
    }
    assert_eq!((row.size, row.sources), (bytes.len() as u64, vec![holder.addr]));
    assert!(std::fs::read(ran.share.join("big.bin")).expect("in place") == bytes);
    assert_only(&ran.share, &["big.bin"]);
}

#[test]
fn verify_whole_computes_the_md5_of_the_file() {
    let bytes = noise(5, (3 << 20) + 17);
    let world = World::new().tracker();
    let _holder = world.holder(&[("big.bin", &bytes)]);
    for flag in ["--verify whole".to_owned(), format!("--checksum md5={}", md5_hex(&bytes))] {
        let ran = world.ask(&format!("download big.bin {flag}"));
        assert_eq!(ran.code, 0, "{ran:#?}");
        let row = downloaded_row(ran.out.last().expect("a result"), "big.bin");
        assert_eq!((row.algorithm.as_str(), row.hex), ("md5", md5_hex(&bytes)), "{flag}");
    }
}

#[test]
fn a_file_that_is_already_here_is_reported_and_not_fetched() {
    let world = World::new().tracker();
    let _holder = world.holder(&[("a.txt", b"same")]);
    let here = format!("already here a.txt 4 bytes b3 {}", b3_hex(b"same"));
    let ran = world.run(&NodeSpec::new().file("a.txt", b"same"), "download a.txt\n");
    expect(&ran, 0, &[&here]);
    // The second download under the same name is refused too.
    let ran = world.run(&NodeSpec::new(), "download a.txt\ndownload a.txt\n");
    assert_eq!((ran.code, ran.out.len()), (0, 2), "{ran:#?}");
    assert_eq!(ran.out[1], here);
}

#[test]
fn other_content_is_never_overwritten_without_force() {
    let world = World::new().tracker();
    let holder = world.holder(&[("a.txt", b"theirs")]);
    let ran = world.run(&NodeSpec::new().file("a.txt", b"mine"), "download a.txt\n");
    assert_eq!((ran.code, ran.out.len()), (11, 0), "{ran:#?}");
    assert!(ran.err.contains("--force"), "what to do is said: {}", ran.err);
    assert_eq!(std::fs::read(ran.share.join("a.txt")).expect("it stays"), b"mine");
    assert_only(&ran.share, &["a.txt"]);
    let ran = world.run(&NodeSpec::new().file("a.txt", b"mine"), "download a.txt --force\nlist\n");
    assert_eq!(ran.code, 0, "{ran:#?}");
    assert_eq!(downloaded_row(&ran.out[0], "a.txt").sources, [holder.addr]);
    assert_eq!(list_row(&ran.out[1]).1, md5_hex(b"theirs"), "the replaced file is shared at once");
    assert_eq!(std::fs::read(ran.share.join("a.txt")).expect("replaced"), b"theirs");
}

#[test]
fn a_file_here_that_was_not_published_is_not_overwritten_either() {
    let mut world = World::new().tracker().nodes(1);
    let _holder = world.holder(&[("a.txt", b"theirs")]);
    let node = world.node(0);
    node.write("a.txt", b"written after the scan");
    assert_eq!(node.command("download a.txt"), [""; 0]);
    assert_eq!(node.read("a.txt").expect("it stays"), b"written after the scan");
}

#[test]
fn equally_held_contents_are_ambiguous_and_checksum_chooses() {
    let world = World::new().tracker();
    let _one = world.holder(&[("a.txt", b"one")]);
    let _two = world.holder(&[("a.txt", b"twofold")]);
    let ran = world.ask("download a.txt");
    assert_eq!((ran.code, ran.out.len()), (16, 0), "{ran:#?}");
    assert!(ran.err.contains("--checksum"), "{}", ran.err);
    for bytes in [&b"one"[..], b"twofold"] {
        assert!(ran.err.contains(&b3_hex(bytes)[..16]), "each variant is listed: {}", ran.err);
        for checksum in [format!("md5={}", md5_hex(bytes)), format!("b3={}", &b3_hex(bytes)[..16])] {
            let ran = world.ask(&format!("download a.txt --checksum {checksum}"));
            assert_eq!(ran.code, 0, "{ran:#?}");
            assert_eq!(std::fs::read(ran.share.join("a.txt")).expect("in place"), bytes);
        }
    }
}

#[test]
fn the_content_with_more_holders_is_chosen_and_the_choice_is_printed() {
    let world = World::new().tracker();
    let many: Vec<_> = (0..2).map(|_| world.holder(&[("a.txt", b"many")])).collect();
    let _few = world.holder(&[("a.txt", b"single")]);
    let ran = world.ask("download a.txt");
    assert_eq!(ran.code, 0, "{ran:#?}");
    let row = downloaded_row(ran.out.last().expect("a result"), "a.txt");
    assert_eq!(row.hex, md5_hex(b"many"));
    assert!(many.iter().any(|node| node.addr == row.sources[0]));
    assert!(ran.err.contains(&b3_hex(b"many")[..16]), "what was chosen is said: {}", ran.err);
}

#[test]
fn a_checksum_without_matching_content_places_no_file() {
    let world = World::new().tracker();
    let _holder = world.holder(&[("a.txt", b"a")]);
    for checksum in [format!("md5={}", md5_hex(b"other")), format!("b3={}", &b3_hex(b"other")[..20])] {
        let ran = world.ask(&format!("download a.txt --checksum {checksum}"));
        // No node has such content: exit 3. If content had been fetched and had not matched: exit 8.
        assert!([3, 8].contains(&ran.code) && ran.out.is_empty(), "{ran:#?}");
        assert_only(&ran.share, &[]);
    }
}

#[test]
fn a_downloaded_file_is_published_before_the_result_is_printed() {
    let mut world = World::new().tracker();
    let holder = world.holder(&[("a.txt", b"a")]);
    let tracker = world.tracker_addr();
    // The link of the downloader to the tracker is slow, so that a late publication would be missed. It is
    // well within the second that the downloader waits.
    let slow = Proxy::to(tracker);
    world.set_tracker_addr(slow.addr());
    let mut requester = world.start(NodeSpec::new());
    slow.set(Direction::ToServer, Fault { delay: Duration::from_millis(400), ..Fault::default() });
    requester.process.send("download a.txt");
    let line = requester.process.expect_stdout("downloaded a.txt");
    let find = TrackerRequest::Find { query: Query::Name(FileName::new("a.txt").expect("a name")), skip: 0 };
    let reply: TrackerReply = raw::Client::connect(tracker).ask(&find);
    let ReplyBody::Providers { providers, .. } = reply.body else { panic!("{reply:?}") };
    let offered: Vec<_> = providers.iter().map(|provider| provider.endpoint).collect();
    assert!(offered.contains(&requester.addr), "printed and not published: {line}, {offered:?}");
    assert_eq!(downloaded_row(&line, "a.txt").sources, [holder.addr]);
}

#[test]
fn a_download_at_the_end_of_input_finishes() {
    let bytes = noise(6, 2 << 20);
    let world = World::new().tracker();
    let _holder =
        world.start(NodeSpec::new().headless().file("a.bin", &bytes).flags(&["--max-upload", "2MiB"]));
    let ran = world.run(&NodeSpec::new(), "download a.bin");
    assert_eq!(ran.code, 0, "{ran:#?}");
    assert!(std::fs::read(ran.share.join("a.bin")).expect("in place") == bytes);
}

#[test]
fn an_interrupted_or_terminated_tracker_or_headless_node_is_exit_0() {
    for signal in [rustix::process::Signal::INT, rustix::process::Signal::TERM] {
        let mut world = World::new().tracker();
        let mut node = world.holder(&[]);
        node.process.signal(signal);
        assert_eq!(node.process.wait(crate::support::DEADLINE), 0, "headless node, {signal:?}");
        let tracker = world.tracker_process();
        tracker.signal(signal);
        assert_eq!(tracker.wait(crate::support::DEADLINE), 0, "tracker, {signal:?}");
    }
}

#[test]
fn a_node_listens_and_publishes_during_a_long_scan() {
    let world = World::new().tracker();
    let share = world.directory();
    // The file needs no space, but every machine hashes it for more than 2 s.
    let big = std::fs::File::create(share.join("big.bin")).expect("made");
    big.set_len(64 << 30).expect("the file system has sparse files");
    let node = world.start(NodeSpec::new().headless().share(&share).file("a.txt", b"a"));
    let ran = world.ask_until("find a.txt", |ran| ran.code == 0);
    assert_eq!(find_rows(&ran.out)[0].endpoint, node.addr);
    let said = node.process.since(Stream::Stderr, 0);
    assert!(!said.iter().any(|line| line.starts_with("ready:")), "the scan still runs: {said:?}");
    assert_eq!(node.terminate(), 0, "and ends with the node");
}

#[test]
fn a_node_at_a_pipe_ended_by_term_is_exit_143() {
    let world = World::new().tracker().nodes(0);
    let node = world.start(NodeSpec::new());
    assert_eq!(node.terminate(), 128 + 15);
}
