//! Failures of files and disks, as users see them: never a wrong file, nothing left behind, other nodes are
//! served.

use std::fs;
use std::path::Path;
use std::process::Command;

use rustix::process::{Pid, Resource, Rlimit, prlimit};

use crate::assert_clear;
use crate::support::content::noise;
use crate::support::raw;
use crate::support::rows::downloaded_row;
use crate::support::world::{Node, NodeSpec, World, assert_only, tree};
use crate::support::{DEADLINE, skipped};

#[test]
fn a_file_that_vanishes_while_published_is_no_source() {
    let world = World::new().tracker();
    let gone = world.holder(&[("a.txt", b"content")]);
    fs::remove_file(gone.share.join("a.txt")).expect("it was there");
    let ran = world.run(&NodeSpec::new().flags(&["--retries", "0"]), "download a.txt\n");
    // The holder may have noticed the removal already. Then no node has the file.
    assert!([3, 5].contains(&ran.code) && ran.out.is_empty(), "{ran:#?}");
    assert_clear(&ran.err, &["a.txt"]);
    assert_only(&ran.share, &[]);
    let whole = world.holder(&[("a.txt", b"content")]);
    let ran = world.ask("download a.txt");
    assert_eq!((ran.code, downloaded_row(&ran.out[0], "a.txt").sources), (0, vec![whole.addr]), "{ran:#?}");
}

#[test]
fn a_file_that_changes_with_size_and_mtime_kept_is_never_taken_for_the_old_one() {
    let bytes = noise(13, 2 << 20);
    let mut other = bytes.clone();
    other[1_500_000] ^= 1;
    let world = World::new().tracker();
    let changed = world.holder(&[("a.bin", &bytes)]);
    let path = changed.share.join("a.bin");
    let mtime = fs::metadata(&path).and_then(|meta| meta.modified()).expect("its time");
    fs::write(&path, &other).expect("changed in place");
    fs::File::options()
        .write(true)
        .open(&path)
        .and_then(|file| file.set_modified(mtime))
        .expect("its time again");
    let ran = world.run(&NodeSpec::new().flags(&["--retries", "0"]), "download a.bin\n");
    if ran.code == 0 {
        // The change was noticed, and the file was hashed again and fetched with its new content. The result
        // is right if it is one of the two whole contents.
        let got = fs::read(ran.share.join("a.bin")).expect("in place");
        assert!(got == other, "neither the new content nor an error");
    } else {
        assert!([3, 5, 8].contains(&ran.code), "{ran:#?}");
        assert_clear(&ran.err, &["a.bin"]);
        let blamed = format!(": left {}: ", changed.addr);
        assert!(ran.code == 3 || ran.err.contains(&blamed), "who was left is named: {ran:#?}");
        assert_only(&ran.share, &[]);
    }
}

#[test]
fn a_file_replaced_since_it_was_published_is_fetched_as_what_it_is_now() {
    let world = World::new().tracker();
    let holder = world.holder(&[("a.txt", b"old")]);
    holder.write("a.txt", b"quite new");
    let ran = world.run(&NodeSpec::new().flags(&["--retries", "3"]), "download a.txt\n");
    assert_eq!(ran.code, 0, "{ran:#?}");
    assert_clear(&ran.err, &["a.txt", "has changed there", "beginning again"]);
    assert_eq!(fs::read(ran.share.join("a.txt")).expect("in place"), b"quite new");
}

#[test]
fn a_file_that_changes_while_it_is_served_is_fetched_from_the_next_source() {
    let bytes = noise(14, 4 << 20);
    let world = World::new().tracker();
    let changing =
        world.start(NodeSpec::new().headless().file("a.bin", &bytes).flags(&["--max-upload", "2MiB"]));
    let honest = world.holder(&[("a.bin", &bytes)]);
    let latency = world.latency_file();
    let mut requester = world.start(NodeSpec::new().latency(&latency));
    crate::support::world::write_latency(
        &latency,
        &[(requester.addr, changing.addr, 1.0), (requester.addr, honest.addr, 900.0)],
    );
    requester.process.send("download a.bin");
    let until = std::time::Instant::now() + DEADLINE;
    while raw::load_of(changing.addr, raw::fresh_node_id(), None).0 == 0 {
        assert!(std::time::Instant::now() < until, "no upload began\n{}", requester.process.transcript());
    }
    // The file is truncated and written in place: the same inode now has other content.
    changing.write("a.bin", &noise(15, 3 << 20));
    requester.process.expect_stdout("downloaded ");
    assert!(requester.read("a.bin") == Some(bytes), "the requested content, complete");
    assert_only(&requester.share, &["a.bin"]);
}

/// A mount that drop removes.
struct Mounted<'a>(&'a Path);

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let _no_longer_mounted = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

/// Mounts a file system of `size` on `at`, or returns the reason why not.
fn mount_tmpfs<'a>(at: &'a Path, options: &str) -> Result<Mounted<'a>, String> {
    let output = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(at).output();
    match output {
        Ok(output) if output.status.success() => Ok(Mounted(at)),
        Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

#[test]
fn a_full_disk_is_exit_9_and_leaves_nothing() {
    let world = World::new().tracker();
    let bytes = noise(16, 5 << 20);
    let _holder = world.holder(&[("big.bin", &bytes), ("small.txt", b"small")]);
    let share = world.directory();
    let _mounted = match mount_tmpfs(&share, "size=2m") {
        Ok(mounted) => mounted,
        Err(why) => return skipped("a_full_disk_is_exit_9_and_leaves_nothing", &format!("no tmpfs: {why}")),
    };
    let ran = world.run(&NodeSpec::new().share(&share), "download big.bin\n");
    assert_eq!((ran.code, ran.out.len()), (9, 0), "{ran:#?}");
    assert_clear(&ran.err, &["big.bin"]);
    assert!(!tree(&share).iter().any(|path| path == "big.bin"), "{:?}", tree(&share));
    let ran = world.run(&NodeSpec::new().share(&share), "download big.bin\ndownload small.txt\n");
    assert_eq!((ran.code, ran.out.len()), (9, 1), "the next command is carried out: {ran:#?}");
    assert_eq!(fs::read(share.join("small.txt")).expect("in place"), b"small");
}

#[test]
fn an_unwritable_share_serves_and_downloads_are_exit_10() {
    let world = World::new().tracker();
    let _holder = world.holder(&[("theirs.txt", b"theirs")]);
    let share = world.directory();
    let name = "an_unwritable_share_serves_and_downloads_are_exit_10";
    let _mounted = match mount_tmpfs(&share, "size=2m") {
        Ok(mounted) => mounted,
        Err(why) => return skipped(name, &format!("no tmpfs: {why}")),
    };
    fs::write(share.join("mine.txt"), b"mine").expect("a file");
    let remounted = Command::new("mount").args(["-o", "remount,ro"]).arg(&share).status();
    if !remounted.is_ok_and(|status| status.success()) {
        return skipped(name, "no read-only remount");
    }
    let mut node = world.start(NodeSpec::new().share(&share));
    let ran = world.ask("download mine.txt");
    assert_eq!((ran.code, downloaded_row(&ran.out[0], "mine.txt").sources), (0, vec![node.addr]));
    assert_eq!(node.command("download theirs.txt"), [""; 0]);
    // Lines on standard error may come shortly after the next result.
    assert_clear(&node.process.expect_stderr("theirs.txt"), &["theirs.txt"]);
    assert_eq!(node.leave(), 10);
}

#[test]
fn a_limit_on_the_size_of_files_is_an_error_and_the_node_keeps_running() {
    let bytes = noise(31, 3 << 20);
    let world = World::new().tracker();
    let _source = world.holder(&[("a.bin", &bytes), ("small", b"content")]);
    let mut requester = world.start(NodeSpec::new());
    let pid = Pid::from_raw(requester.process.id().cast_signed()).expect("it runs");
    let limit = Some(1 << 20);
    prlimit(Some(pid), Resource::Fsize, Rlimit { current: limit, maximum: limit }).expect("lower is allowed");
    assert_eq!(requester.command("download a.bin"), Vec::<String>::new());
    assert_clear(&requester.process.expect_stderr("no space left"), &["a.bin"]);
    assert_eq!(downloaded_row(&requester.command("download small")[0], "small").sources.len(), 1);
    assert_only(&requester.share, &["small"]);
}

#[test]
fn a_log_that_is_truncated_before_the_disk_is_full_keeps_whole_lines_only() {
    let world = World::new().tracker();
    let disk = world.directory();
    let _mounted = match mount_tmpfs(&disk, "size=256k") {
        Ok(mounted) => mounted,
        Err(why) => {
            let name = "a_log_that_is_truncated_before_the_disk_is_full_keeps_whole_lines_only";
            return skipped(name, &format!("no tmpfs: {why}"));
        }
    };
    let log = disk.join("log");
    let mut node = world.start(NodeSpec::new().flags(&["--log", &log.display().to_string()]));
    let find_and_log = |node: &mut Node, word: &str| {
        let until = std::time::Instant::now() + DEADLINE;
        node.command(&format!("find {word}"));
        while !String::from_utf8_lossy(&fs::read(&log).expect("a log")).contains(word) {
            assert!(std::time::Instant::now() < until, "{word} is not in the log");
            node.command(&format!("find {word}"));
        }
    };
    (0..20).for_each(|number| drop(node.command(&format!("find before{number}"))));
    find_and_log(&mut node, "before20");
    fs::File::create(&log).expect("truncated");
    let fill = disk.join("fill");
    let mut filled = fs::File::create(&fill).expect("a file");
    while std::io::Write::write_all(&mut filled, &[1; 1024]).is_ok() {}
    drop(filled);
    (0..40).for_each(|number| drop(node.command(&format!("find full{number}"))));
    node.process.expect_stderr("cannot be written");
    fs::remove_file(&fill).expect("removed");
    find_and_log(&mut node, "free");
    let text = String::from_utf8(fs::read(&log).expect("a log")).expect("text");
    assert!(text.ends_with('\n') && text.lines().all(|line| line.starts_with('{')), "{text:?}");
    assert!(text.contains("\"event\":\"missed\""), "{text}");
}
