//! Tests of parts.

use super::*;
use crate::store::{FaultyDisk, RealDisk, fixture};
use crate::types::ContentId;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use tempfile::TempDir;

const BYTES: &[u8] = b"hello";

fn key() -> ContentKey {
    ContentKey { size_bytes: BYTES.len() as u64, id: ContentId(*blake3::hash(BYTES).as_bytes()) }
}

fn name(text: &str) -> FileName {
    FileName::new(text).expect(text)
}

fn faulty(disk: FaultyDisk) -> (TempDir, Arc<Share>, Arc<FaultyDisk>) {
    let disk = Arc::new(disk);
    let (dir, share) = fixture::share_on(disk.clone());
    (dir, share, disk)
}

/// A part with all its bytes.
fn written(share: &Arc<Share>) -> Result<Partial, PartialError> {
    let part = Partial::open(share, key())?;
    part.write_piece(3, &BYTES[3..])?;
    part.write_piece(0, &BYTES[..3])?;
    Ok(part)
}

/// A whole download; what cannot be placed is discarded.
fn download(share: &Arc<Share>, target: &str, force: bool) -> Result<Placed, PartialError> {
    written(share)?.place(&name(target), force).map_err(|(part, error)| {
        part.discard().expect("removed");
        error
    })
}

/// All that is below a directory but the directory of the parts itself: path, and content or kind.
fn tree(root: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut pending = vec![root.to_owned()];
    while let Some(dir) = pending.pop() {
        for entry in fs::read_dir(dir).expect("read") {
            let entry = entry.expect("read");
            let path = entry.path();
            let kind = entry.file_type().expect("its type");
            let shown = path.strip_prefix(root).expect("below").display().to_string();
            if kind.is_file() {
                found.insert(shown, String::from_utf8(fs::read(&path).expect("read")).expect("text"));
            } else if shown != PARTS_DIR {
                found.insert(shown, format!("{kind:?}"));
            }
            if kind.is_dir() {
                pending.push(path);
            }
        }
    }
    found
}

#[test]
fn a_download_becomes_a_file_by_steps_that_survive_a_power_cut() {
    let (dir, share, disk) = faulty(FaultyDisk::new());
    let placed = download(&share, "a/b/f", false).expect("placed");
    use Op::*;
    assert_eq!(
        disk.calls(),
        [
            vec![MakeDir, Unlink, FreeBytes, Create, SetLen, Write, Write],
            vec![SyncFile, MakeDir, MakeDir, RenameNoReplace],
            // b, which has the file; a, which has b; the root, which has a; and the directory that had
            // the part.
            vec![SyncDir, SyncDir, SyncDir, SyncDir],
        ]
        .concat()
    );
    assert_eq!(fs::read(dir.path().join("a/b/f")).expect("read"), BYTES);
    assert_eq!(share.open_file(&name("a/b/f")).expect("opened").stamp, placed.stamp);
    assert_eq!(fs::read_dir(dir.path().join(PARTS_DIR)).expect("read").count(), 0);

    let mode =
        |name: &str| fs::metadata(dir.path().join(name)).expect("its mode").permissions().mode() & 0o7777;
    fs::write(dir.path().join("ordinary"), b"").expect("written");
    fs::create_dir(dir.path().join("ordinary-dir")).expect("made");
    assert_eq!(mode("a/b/f"), mode("ordinary"));
    assert_eq!(mode("a/b"), mode("ordinary-dir"));
    assert_eq!(mode(PARTS_DIR) & 0o077, 0);
}

#[test]
fn an_empty_file_is_placed_too() {
    let (dir, share) = fixture::share();
    let key = ContentKey { size_bytes: 0, id: ContentId(*blake3::hash(b"").as_bytes()) };
    let part = Partial::open(&share, key).expect("created");
    part.write_piece(0, b"").expect("nothing to write");
    part.place(&name("empty"), false).expect("placed");
    assert_eq!(tree(dir.path()), BTreeMap::from([("empty".to_owned(), String::new())]));
}

#[test]
fn a_file_is_replaced_with_force_and_not_without() {
    let (dir, share) = fixture::share();
    fs::write(dir.path().join("f"), b"old").expect("written");
    let (part, error) = written(&share).expect("written").place(&name("f"), false).expect_err("exists");
    assert_eq!(error, PartialError::Exists { name: name("f"), what: "a file" });
    assert_eq!(fs::read(dir.path().join("f")).expect("read"), b"old");
    part.place(&name("f"), true).expect("the same part can be placed with force");
    assert_eq!(fs::read(dir.path().join("f")).expect("read"), BYTES);
}

#[test]
fn what_is_no_file_is_never_replaced_and_no_link_followed() {
    let outside = tempfile::tempdir().expect("a directory");
    fs::write(outside.path().join("victim"), b"victim").expect("written");
    let (dir, share) = fixture::share();
    let path = |name: &str| dir.path().join(name);
    fs::create_dir(path("dir")).expect("made");
    fs::write(path("file"), b"file").expect("written");
    symlink(outside.path().join("victim"), path("link")).expect("linked");
    symlink(outside.path(), path("out")).expect("linked");
    symlink("dir", path("in")).expect("linked");
    symlink(outside.path().join("new"), path("dangling")).expect("linked");
    mknodat(CWD, path("fifo"), FileType::Fifo, Mode::RWXU, 0).expect("made");
    let (before, before_outside) = (tree(dir.path()), tree(outside.path()));
    for target in
        ["dir", "link", "dangling", "fifo", "out/f", "out/victim", "out/new/f", "in/f", "file/f", "fifo/f"]
    {
        for force in [false, true] {
            let error = download(&share, target, force).expect_err(target);
            assert!(matches!(error, PartialError::Exists { .. }), "{target}: {error:?}");
            assert_eq!(tree(dir.path()), before, "{target}");
            assert_eq!(tree(outside.path()), before_outside, "{target}");
        }
    }
}

#[test]
fn a_parts_directory_that_is_none_is_refused() {
    let outside = tempfile::tempdir().expect("a directory");
    let (dir, share) = fixture::share();
    symlink(outside.path(), dir.path().join(PARTS_DIR)).expect("linked");
    assert_eq!(Partial::open(&share, key()).expect_err("a link"), PartialError::PartsDirectory);
    assert!(tree(outside.path()).is_empty());
    fs::remove_file(dir.path().join(PARTS_DIR)).expect("removed");
    fs::write(dir.path().join(PARTS_DIR), b"").expect("written");
    assert_eq!(Partial::open(&share, key()).expect_err("a file"), PartialError::PartsDirectory);
}

#[test]
fn a_left_over_part_is_used_anew_and_never_written_through_another_name() {
    let (dir, share) = fixture::share();
    let part_path = dir.path().join(PARTS_DIR).join(Left::Part.name(key().id));
    let part = Partial::open(&share, key()).expect("created");
    part.write_piece(0, BYTES).expect("written");
    part.keep();
    assert_eq!(fs::read(&part_path).expect("kept"), BYTES);
    fs::hard_link(&part_path, dir.path().join("other")).expect("linked");
    let part = Partial::open(&share, key()).expect("created anew");
    assert_eq!(fs::read(&part_path).expect("read"), [0; 5]);
    drop(part);
    assert_eq!(tree(dir.path()), BTreeMap::from([("other".to_owned(), "hello".to_owned())]));
}

#[test]
fn a_content_is_downloaded_once_at_a_time() {
    let (_dir, share) = fixture::share();
    let first = Partial::open(&share, key()).expect("created");
    assert_eq!(Partial::open(&share, key()).expect_err("in use"), PartialError::InProgress);
    first.write_piece(0, BYTES).expect("the first one is left alone");
    first.place(&name("f"), false).expect("placed");
    Partial::open(&share, key()).expect("free again");
}

#[test]
fn a_size_beyond_the_disk_is_refused_before_anything_is_made() {
    let exbibyte = ContentKey { size_bytes: 1 << 60, ..key() };
    let (dir, share, disk) = faulty(FaultyDisk::new());
    let error = Partial::open(&share, exbibyte).expect_err("no disk is so large");
    assert!(
        matches!(error, PartialError::NoSpace { needed_bytes, .. } if needed_bytes == 1 << 60),
        "{error:?}"
    );
    assert_eq!((disk.count(Op::Create), tree(dir.path()).len()), (0, 0));

    for (free_bytes, fits) in [(4, false), (5, true)] {
        let (_dir, share, _disk) = faulty(FaultyDisk::new().claim_free_bytes(free_bytes));
        assert_eq!(Partial::open(&share, key()).is_ok(), fits, "{free_bytes} bytes free");
    }
}

#[test]
fn a_full_disk_at_any_write_is_told_and_leaves_nothing() {
    for errno in [Errno::NOSPC, Errno::DQUOT, Errno::FBIG] {
        for nth in 1..=BYTES.len() {
            let script =
                FaultyDisk::new().short_writes(1).fail_from(Op::Write, nth, errno).claim_free_bytes(7);
            let (dir, share, disk) = faulty(script);
            let error = download(&share, "f", false).expect_err("full");
            let expected = match errno {
                Errno::FBIG => PartialError::TooLarge { needed_bytes: 5, errno },
                errno => PartialError::NoSpace { needed_bytes: 5, free_bytes: 7, errno },
            };
            assert_eq!(error, expected);
            assert_eq!((disk.count(Op::Write), tree(dir.path()).len()), (nth, 0));
        }
    }
}

#[test]
fn short_and_interrupted_writes_lose_nothing() {
    let (dir, share, disk) = faulty(FaultyDisk::new().short_writes(1).fail(Op::Write, 2, Errno::INTR).fail(
        Op::Write,
        5,
        Errno::INTR,
    ));
    let stop = Stop::new().expect("a descriptor");
    let part = written(&share).expect("written");
    assert_eq!(disk.count(Op::Write), BYTES.len() + 2);
    assert_eq!(part.whole_md5(&stop).expect("read").to_string(), "5d41402abc4b2a76b9719d911017c592");
    part.place(&name("f"), false).expect("placed");
    assert_eq!(fs::read(dir.path().join("f")).expect("read"), BYTES);
}

#[test]
fn a_disk_that_takes_nothing_is_an_error_and_no_endless_loop() {
    let (_dir, share, _disk) = faulty(FaultyDisk::new().short_writes(0));
    assert_eq!(
        download(&share, "f", false).expect_err("nothing is written"),
        PartialError::Disk { op: Op::Write, errno: Errno::IO }
    );
}

/// Downloads to `a/b/f`, with a file `old` there and force, or without; each call of the disk that is
/// made then fails once. Whatever fails, it is told, nothing is left behind, and the file is as it was
/// (or new and whole, where `new_stays` says so).
fn check_every_fault(replace: bool, script: fn() -> FaultyDisk, new_stays: fn(Op) -> bool) {
    let prepare = |dir: &TempDir| {
        if replace {
            fs::create_dir_all(dir.path().join("a/b")).expect("made");
            fs::write(dir.path().join("a/b/f"), b"old").expect("written");
        }
    };
    let (dir, share, disk) = faulty(script());
    prepare(&dir);
    download(&share, "a/b/f", replace).expect("placed");
    let calls = disk.calls();
    for (index, op) in calls.iter().copied().enumerate() {
        let nth = calls[..=index].iter().filter(|call| **call == op).count();
        if op == Op::RenameNoReplace && calls.contains(&Op::Link) {
            continue; // That call fails already: it is why there is a link.
        }
        let (dir, share, _disk) = faulty(script().fail(op, nth, Errno::IO));
        prepare(&dir);
        let mut expected = tree(dir.path());
        let result = download(&share, "a/b/f", replace);
        assert_eq!(result, Err(PartialError::Disk { op, errno: Errno::IO }), "call {index}, {op:?}");
        if new_stays(op) {
            expected.insert("a/b/f".to_owned(), "hello".to_owned());
        }
        assert_eq!(tree(dir.path()), expected, "call {index}, {op:?}");
    }
}

#[test]
fn after_any_fault_everything_is_as_before() {
    check_every_fault(false, FaultyDisk::new, |_| false);
}

#[test]
fn after_any_fault_a_file_to_be_replaced_is_old_or_new_and_whole() {
    check_every_fault(true, FaultyDisk::new, |op| op == Op::SyncDir);
}

#[test]
fn without_renaming_that_does_not_replace_it_is_done_by_link() {
    let script = || FaultyDisk::new().fail_from(Op::RenameNoReplace, 1, Errno::INVAL);
    check_every_fault(false, script, |_| false);
    let (dir, share, disk) = faulty(script());
    download(&share, "f", false).expect("placed");
    assert_eq!(tree(dir.path()), BTreeMap::from([("f".to_owned(), "hello".to_owned())]));
    assert_eq!((disk.count(Op::Link), disk.count(Op::Rename)), (1, 0));
}

#[test]
fn a_file_that_came_to_be_meanwhile_is_not_replaced() {
    let (_dir, share, _disk) = faulty(FaultyDisk::new().fail(Op::RenameNoReplace, 1, Errno::EXIST));
    let error = download(&share, "f", false).expect_err("exists");
    assert!(matches!(error, PartialError::Exists { .. }), "{error:?}");
}

#[test]
fn a_part_whose_sync_failed_is_never_placed_and_never_kept() {
    let (dir, share, disk) = faulty(FaultyDisk::new().fail(Op::SyncFile, 1, Errno::IO));
    let failed = PartialError::Disk { op: Op::SyncFile, errno: Errno::IO };
    let (part, error) = written(&share).expect("written").place(&name("f"), false).expect_err("not synced");
    assert_eq!(error, failed);
    let (part, error) = part.place(&name("f"), false).expect_err("still not");
    assert_eq!((error, disk.count(Op::SyncFile)), (failed, 1));
    part.keep();
    assert!(tree(dir.path()).is_empty());
}

#[test]
fn a_share_that_cannot_be_written_to_says_so() {
    for (op, errno) in [(Op::MakeDir, Errno::ROFS), (Op::MakeDir, Errno::ACCESS), (Op::Create, Errno::PERM)] {
        let (dir, share, _disk) = faulty(FaultyDisk::new().fail_from(op, 1, errno));
        assert_eq!(download(&share, "f", false).expect_err("unwritable"), PartialError::Unwritable(errno));
        assert!(tree(dir.path()).is_empty());
    }
}

#[test]
fn a_share_removed_meanwhile_is_an_error_and_nothing_is_made_elsewhere() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("share");
    fs::create_dir(&path).expect("made");
    let share = Arc::new(Share::open(&path, Arc::new(RealDisk)).expect("a share"));
    fs::remove_dir(&path).expect("removed");
    fs::create_dir(&path).expect("another in its place");
    let error = download(&share, "f", false).expect_err("gone");
    assert!(matches!(error, PartialError::Disk { errno: Errno::NOENT, .. }), "{error:?}");
    assert!(tree(&path).is_empty() && !path.join(PARTS_DIR).exists());
}
