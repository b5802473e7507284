//! Tests of parts: what stands under the final name and among the parts after every fault, crash and damage.

use super::*;
use crate::store::{FaultyDisk, RealDisk, fixture};
use crate::types::{Manifest, PieceDigests};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::LazyLock;
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
    let part = Partial::open(share, key())?.part;
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

/// Three pieces, the last one of 5 bytes.
static LARGE: LazyLock<Vec<u8>> =
    LazyLock::new(|| (0..(2u32 << 20) + 5).map(|i| (i.wrapping_mul(2654435761) >> 13) as u8 | 1).collect());

static MANIFEST: LazyLock<Arc<Manifest>> = LazyLock::new(|| {
    let geometry = Geometry::of(LARGE.len() as u64);
    let pieces = (0..3).map(|index| PieceDigests::of(&geometry, index, piece(index))).collect();
    Arc::new(Manifest::of_hashed(LARGE.len() as u64, pieces))
});

fn large_key() -> ContentKey {
    MANIFEST.key()
}

fn range(index: u32) -> std::ops::Range<usize> {
    let range = Geometry::of(LARGE.len() as u64).range(index).expect("one of three");
    range.start as usize..range.end as usize
}

fn piece(index: u32) -> &'static [u8] {
    &LARGE[range(index)]
}

fn record(target: &str) -> Record {
    Record {
        name: name(target),
        key: large_key(),
        checksum: None,
        verify_whole: false,
        force: false,
        manifest: Arc::clone(&MANIFEST),
    }
}

/// Opens the part of the large content, remembers, and writes these pieces.
fn begun(share: &Arc<Share>, target: &str, pieces: &[u32]) -> Partial {
    let part = Partial::open(share, large_key()).expect("opened").part;
    part.remember(&record(target)).expect("remembered");
    for index in pieces {
        part.write_piece(range(*index).start as u64, piece(*index)).expect("written");
    }
    part
}

/// What a node does: goes on with what is there, verifies what is marked, gets the rest, places it; sets aside what has failed. Returns
/// how many pieces it had to get.
fn go_on(share: &Arc<Share>, target: &str, force: bool) -> Result<usize, PartialError> {
    let Opened { part, marked, .. } = Partial::open(share, large_key())?;
    let is_right = |index: &u32| {
        let mut bytes = vec![0; range(*index).len()];
        part.read_piece(range(*index).start as u64, &mut bytes).is_ok()
            && MANIFEST.check(*index, &bytes).is_ok()
    };
    let right: Vec<u32> = marked.into_iter().filter(is_right).collect();
    let missing: Vec<u32> = (0..3).filter(|index| !right.contains(index)).collect();
    let fetched = part.remember(&Record { force, ..record(target) }).and_then(|()| {
        missing.iter().try_for_each(|index| part.write_piece(range(*index).start as u64, piece(*index)))
    });
    if let Err(error) = fetched {
        part.set_aside();
        return Err(error);
    }
    let placed = part.place(&name(target), force).map_err(|(part, error)| {
        part.set_aside();
        error
    });
    placed.map(|_| missing.len())
}

fn reopened(dir: &TempDir) -> Arc<Share> {
    Arc::new(Share::open(dir.path(), Arc::new(RealDisk)).expect("free again"))
}

/// The records of all that is unfinished, in its order.
fn wanted_records(share: &Share) -> Vec<Record> {
    let record = |(name, key)| {
        let record = wanted(share, key).expect("listed");
        assert_eq!((&record.name, record.key), (&name, key));
        record
    };
    unfinished(share).into_iter().map(record).collect()
}

/// Names among the parts, with the id left out.
fn left(dir: &TempDir) -> Vec<String> {
    let entries = fs::read_dir(dir.path().join(PARTS_DIR)).into_iter().flatten();
    let mut names: Vec<_> =
        entries.map(|entry| entry.expect("read").file_name().into_string().expect("text")).collect();
    names.iter_mut().for_each(|name| *name = name.replace(&large_key().id.to_string(), ""));
    names.sort();
    names
}

fn left_path(dir: &TempDir, kind: Left) -> std::path::PathBuf {
    dir.path().join(PARTS_DIR).join(kind.name(large_key().id))
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
            vec![MakeDir, Open, FreeBytes, Create, SetLen, Write, Write],
            vec![SyncFile, MakeDir, MakeDir, RenameNoReplace],
            // b, which has the file; a, which has b; the root, which has a; and the directory that had
            // the part.
            vec![SyncDir, SyncDir, SyncDir, SyncDir],
            // Records, of which there is none.
            vec![Unlink, Unlink],
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
fn a_part_that_something_else_has_removed_or_cut_is_not_placed() {
    let touches: [fn(&Path); 3] = [
        |path| fs::remove_file(path).expect("removed"),
        |path| {
            fs::remove_file(path).expect("removed");
            fs::write(path, BYTES).expect("another file of that name");
        },
        |path| File::options().write(true).open(path).and_then(|file| file.set_len(1)).expect("cut"),
    ];
    for touch in touches {
        let (dir, share) = fixture::share();
        let part = written(&share).expect("written");
        touch(&dir.path().join(PARTS_DIR).join(Left::Part.name(key().id)));
        let (part, error) = part.place(&name("f"), false).expect_err("refused");
        assert_eq!(error, PartialError::Touched);
        part.set_aside();
        assert!(!dir.path().join("f").exists());
    }
}

#[test]
fn an_empty_file_is_placed_too() {
    let (dir, share) = fixture::share();
    let key = ContentKey { size_bytes: 0, id: ContentId(*blake3::hash(b"").as_bytes()) };
    let part = Partial::open(&share, key).expect("created").part;
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
fn a_part_is_never_written_through_another_name_or_what_is_no_file() {
    let outside = tempfile::tempdir().expect("a directory");
    fs::write(outside.path().join("victim"), b"victim").expect("written");
    let (dir, share) = fixture::share();
    begun(&share, "f", &[0, 1, 2]).keep();
    let part = left_path(&dir, Left::Part);
    fs::hard_link(&part, dir.path().join("other")).expect("linked");
    let remove = || fs::remove_file(&part).expect("removed");
    for (what, make) in [
        ("a second name", &(|| ()) as &dyn Fn()),
        ("a link", &|| symlink(outside.path().join("victim"), &part).expect("linked")),
        ("a fifo", &|| mknodat(CWD, &part, FileType::Fifo, Mode::RWXU, 0).expect("made")),
        ("a socket", &|| drop(std::os::unix::net::UnixListener::bind(&part).expect("bound"))),
    ] {
        make();
        let opened = Partial::open(&share, large_key()).expect(what);
        assert_eq!(opened.marked, [0; 0], "{what}");
        opened.part.write_piece(0, &[7; 100]).expect("written");
        opened.part.keep();
        assert_eq!(fs::read(&part).expect("read").len(), LARGE.len(), "{what}");
        remove();
    }
    assert_eq!(fs::read(dir.path().join("other")).expect("read"), *LARGE);
    assert_eq!(fs::read(outside.path().join("victim")).expect("read"), b"victim");
}

#[test]
fn a_content_is_downloaded_once_at_a_time() {
    let (_dir, share) = fixture::share();
    let first = Partial::open(&share, key()).expect("created").part;
    for size_bytes in [BYTES.len() as u64, 1] {
        let same_id = ContentKey { size_bytes, ..key() };
        assert_eq!(Partial::open(&share, same_id).expect_err("in use"), PartialError::InProgress);
    }
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
fn a_full_disk_at_any_write_is_told_and_the_part_kept() {
    for errno in [Errno::NOSPC, Errno::DQUOT, Errno::FBIG] {
        for nth in 1..=BYTES.len() {
            let script =
                FaultyDisk::new().short_writes(1).fail_from(Op::Write, nth, errno).claim_free_bytes(7);
            let (dir, share, disk) = faulty(script);
            let error = download(&share, "f", false).expect_err("full");
            let is_as_expected = match error {
                PartialError::TooLarge { needed_bytes: 5, errno: told } => told == errno,
                PartialError::NoSpace { needed_bytes, free_bytes: 7, errno: told } => {
                    // A block that has been allocated is not needed any more.
                    told == errno && needed_bytes == if nth == 1 { 5 } else { 0 }
                }
                _ => false,
            };
            assert!(is_as_expected, "{error:?}");
            let left = usize::from(nth > 1);
            assert_eq!((disk.count(Op::Write), tree(dir.path()).len()), (nth, left), "empty parts go");
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

/// The large content is downloaded to `a/b/f`, with a file `old` there and force, or without, after `before` has been fetched by an
/// earlier download.
struct Scene {
    replace: bool,
    before: &'static [u32],
    script: fn() -> FaultyDisk,
}

/// A directory in memory, where there is one: there a sync takes no time.
fn quick_dir() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a directory")
}

impl Scene {
    /// Runs it on a disk that has `faults` too.
    fn run(&self, faults: impl FnOnce(FaultyDisk) -> FaultyDisk) -> Played {
        let disk = Arc::new(faults((self.script)()));
        let dir = quick_dir();
        if self.replace {
            fs::create_dir_all(dir.path().join("a/b")).expect("made");
            fs::write(dir.path().join("a/b/f"), b"old").expect("written");
        }
        if !self.before.is_empty() {
            begun(&reopened(&dir), "a/b/f", self.before).keep();
        }
        let share = Arc::new(Share::open(dir.path(), disk.clone()).expect("a share"));
        let result = go_on(&share, "a/b/f", self.replace);
        Played { dir, disk, result, replace: self.replace }
    }
}

struct Played {
    dir: TempDir,
    disk: Arc<FaultyDisk>,
    result: Result<usize, PartialError>,
    replace: bool,
}

impl Played {
    /// Returns true if and only if the new content is at its name. What else may be there is what was before.
    fn is_placed(&self) -> bool {
        match fs::read(self.dir.path().join("a/b/f")) {
            Ok(bytes) if bytes == *LARGE => true,
            Ok(bytes) => {
                assert!(self.replace && bytes == b"old", "{} bytes under the name", bytes.len());
                false
            }
            Err(_) => {
                assert!(!self.replace, "the old file is gone");
                false
            }
        }
    }

    /// The disk is well again, the node restarted or not. Returns how many pieces had to be got.
    fn finish(&self, restart: bool) -> usize {
        let share = reopened(&self.dir);
        let was_placed = self.is_placed();
        if restart {
            sweep(&share);
        }
        let fetched = match was_placed {
            true => 0,
            false => go_on(&share, "a/b/f", self.replace).expect("the disk is well"),
        };
        assert!(self.is_placed());
        if was_placed {
            sweep(&share); // Nobody asks for it any more.
        }
        assert_eq!(left(&self.dir), [""; 0]);
        fetched
    }
}

const SCENES: [Scene; 5] = [
    Scene { replace: false, before: &[], script: FaultyDisk::new },
    Scene { replace: true, before: &[], script: FaultyDisk::new },
    Scene { replace: false, before: &[1, 2], script: FaultyDisk::new },
    Scene { replace: false, before: &[0], script: || FaultyDisk::new().short_writes(300_001) },
    // Without renaming that does not replace.
    Scene {
        replace: false,
        before: &[],
        script: || FaultyDisk::new().fail_from(Op::RenameNoReplace, 1, Errno::INVAL),
    },
];

#[test]
fn killed_at_any_call_of_the_disk_it_is_gone_on_with_and_finished() {
    for (number, scene) in SCENES.iter().enumerate() {
        let calls = scene.run(|disk| disk).disk.calls();
        for nth in 1..=calls.len() {
            for restart in [false, true] {
                let what = format!("scene {number}, call {nth}, {:?}, restart {restart}", calls[nth - 1]);
                let played = scene.run(|disk| disk.fail_everything_from(nth, Errno::IO));
                assert!(played.result.is_err() || played.is_placed(), "{what}");
                let sync = calls[..nth - 1].iter().filter(|call| **call == Op::SyncFile).count();
                assert!(sync == 2 || !played.is_placed(), "{what}: placed before it was synced");
                let fetched = played.finish(restart);
                if number != 3 {
                    // One write is the record's.
                    let written = calls[..nth - 1].iter().filter(|call| **call == Op::Write).count();
                    let here = scene.before.len() + written.saturating_sub(1);
                    assert!(fetched <= 3 - here, "{what}: {fetched} pieces were got again");
                }
            }
        }
    }
}

#[test]
fn after_any_single_fault_the_name_is_as_it_was_and_the_part_is_kept() {
    for (number, scene) in SCENES.iter().enumerate() {
        let calls = scene.run(|disk| disk).disk.calls();
        for (index, op) in calls.iter().copied().enumerate() {
            let nth = calls[..=index].iter().filter(|call| **call == op).count();
            for errno in [Errno::IO, Errno::NOSPC, Errno::DQUOT, Errno::ACCESS, Errno::ROFS] {
                if op == Op::RenameNoReplace && number == 4 {
                    continue; // That call fails already: it is why there is a link.
                }
                let what = format!("scene {number}, call {index}, {op:?}, {errno:?}");
                let played = scene.run(|disk| disk.fail(op, nth, errno));
                match &played.result {
                    Ok(_) => assert!(played.is_placed(), "{what}"),
                    Err(error) => {
                        let is_told = match error {
                            PartialError::Disk { op: told, errno: Errno::IO } => {
                                *told == op && errno == Errno::IO
                            }
                            PartialError::NoSpace { errno: told, .. } => *told == errno,
                            PartialError::Unwritable(told) => *told == errno,
                            _ => false,
                        };
                        assert!(is_told, "{what}: {error:?}");
                        // The old file cannot be put back: its name was taken in one step.
                        let stays = scene.replace && op == Op::SyncDir;
                        assert!(!played.is_placed() || stays, "{what}");
                    }
                }
                let part_sync = op == Op::SyncFile && nth == 2;
                assert!(!part_sync || left(&played.dir).is_empty(), "{what}: a part not synced stays");
                let is_kept = left(&played.dir).contains(&".part".to_owned());
                assert!(played.is_placed() || part_sync || is_kept || scene.before.is_empty(), "{what}");
                played.finish(true);
            }
        }
    }
}

#[test]
fn a_part_is_kept_set_aside_or_discarded() {
    let (dir, share) = fixture::share();
    let names = |share: &Share| unfinished(share).len();
    begun(&share, "f", &[1]).keep();
    assert_eq!((left(&dir), names(&share)), (vec![".part".to_owned(), ".resume".to_owned()], 1));
    Partial::open(&share, large_key()).expect("opened").part.set_aside();
    assert_eq!((left(&dir), names(&share)), (vec![".kept".to_owned(), ".part".to_owned()], 0));
    let opened = Partial::open(&share, large_key()).expect("opened");
    assert_eq!((opened.marked, opened.record), (vec![1], Some(record("f"))));
    drop(opened.part);
    assert_eq!((left(&dir), names(&share)), (vec![".kept".to_owned(), ".part".to_owned()], 0));
    begun(&share, "another", &[]).keep();
    assert_eq!(left(&dir), [".part", ".resume"], "asked for again");
    assert_eq!(wanted_records(&share), [record("another")]);
    Partial::open(&share, large_key()).expect("opened").part.discard().expect("removed");
    assert_eq!((left(&dir), names(&share)), (vec![], 0));

    let kept: &[&str] = &[".part", ".resume"];
    for (end, expected) in [(Partial::keep as fn(Partial), kept), (Partial::set_aside, &[]), (drop, &[])] {
        end(begun(&share, "f", &[]));
        assert_eq!(left(&dir), expected, "nothing was written");
    }
}

#[test]
fn without_renaming_that_does_not_replace_it_is_done_by_link() {
    let script = FaultyDisk::new().fail_from(Op::RenameNoReplace, 1, Errno::INVAL);
    let (dir, share, disk) = faulty(script);
    download(&share, "f", false).expect("placed");
    assert_eq!(tree(dir.path()), BTreeMap::from([("f".to_owned(), "hello".to_owned())]));
    assert_eq!((disk.count(Op::Link), disk.count(Op::Rename)), (1, 0));
}

#[test]
fn exactly_the_pieces_without_a_hole_are_marked() {
    let check = |ranges: &[(usize, usize)], expected: &[u32]| {
        let (dir, share) = fixture::share();
        let part = begun(&share, "f", &[]);
        for (start, end) in ranges.iter().copied() {
            part.write_piece(start as u64, &LARGE[start..end]).expect("written");
        }
        part.keep();
        let opened = Partial::open(&share, large_key()).expect("opened");
        assert_eq!(opened.marked, expected, "{ranges:?}");
        assert_eq!(opened.record, Some(record("f")));
        opened.part.keep();
        // The same when it is no longer in memory alone.
        fs::File::open(left_path(&dir, Left::Part)).and_then(|file| file.sync_all()).expect("synced");
        assert_eq!(Partial::open(&share, large_key()).expect("opened").marked, expected, "{ranges:?}");
    };
    const MIB: usize = 1 << 20;
    // Larger than the blocks and pages of any file system in use.
    const GAP: usize = 64 << 10;
    let end = LARGE.len();
    check(&[], &[]);
    check(&[(0, end)], &[0, 1, 2]);
    check(&[(0, MIB)], &[0]);
    check(&[(MIB, 2 * MIB)], &[1]);
    check(&[(2 * MIB, end)], &[2]);
    check(&[(0, MIB), (2 * MIB, end)], &[0, 2]);
    check(&[(0, MIB - GAP), (MIB, end)], &[1, 2]);
    check(&[(GAP, 2 * MIB - GAP)], &[]);
    check(&[(GAP, 2 * MIB)], &[1]);
    check(&[(0, GAP), (MIB - GAP, 2 * MIB)], &[1]);
    check(&[(0, MIB + 1)], &[0]);
}

#[test]
fn where_holes_cannot_be_told_everything_is_marked_and_verified() {
    let (dir, share) = fixture::share();
    begun(&share, "f", &[1]).keep();
    drop(share);
    let disk = Arc::new(FaultyDisk::new().fail_from(Op::FindData, 1, Errno::INVAL));
    let share = Arc::new(Share::open(dir.path(), disk).expect("a share"));
    let opened = Partial::open(&share, large_key()).expect("opened");
    assert_eq!(opened.marked, [0, 1, 2]);
    opened.part.set_aside();
    assert_eq!(go_on(&share, "f", false), Ok(2));
    assert_eq!(fs::read(dir.path().join("f")).expect("read"), *LARGE);
}

#[test]
fn a_part_of_another_length_or_damaged_is_mended() {
    let open = |path: &Path| fs::File::options().write(true).open(path).expect("opened");
    for (what, damage, fetched) in [
        ("whole", (|_| Ok(())) as fn(&fs::File) -> io::Result<()>, 0),
        ("longer", |file| file.write_all_at(b"more", 5 << 20), 0),
        ("a little longer", |file| file.write_all_at(b"more", LARGE.len() as u64), 0),
        ("shorter", |file| file.set_len((1 << 20) + 7), 2),
        ("empty", |file| file.set_len(0), 3),
        ("damaged middle", |file| file.write_all_at(&[7], (1 << 20) + 77), 1),
        ("damaged end", |file| file.write_all_at(&[7], 2 << 20), 1),
        ("all damaged", |file| (0..3).try_for_each(|i| file.write_all_at(&[0], i << 20)), 3),
    ] {
        let (dir, share) = fixture::share();
        begun(&share, "f", &[0, 1, 2]).keep();
        damage(&open(&left_path(&dir, Left::Part))).expect("damaged");
        assert_eq!(go_on(&share, "f", false), Ok(fetched), "{what}");
        assert!(fs::read(dir.path().join("f")).expect("read") == *LARGE, "{what}");
        assert_eq!(left(&dir), [""; 0], "{what}");
    }
}

#[test]
fn a_record_of_another_content_or_size_or_none_is_not_used() {
    let (dir, share) = fixture::share();
    begun(&share, "f", &[0]).keep();
    let id = large_key().id;
    let other = ContentKey { size_bytes: LARGE.len() as u64, id: ContentId([7; 32]) };
    let path = |kind: Left, id| dir.path().join(PARTS_DIR).join(kind.name(id));
    for kind in [Left::Part, Left::Wanted] {
        fs::copy(path(kind, id), path(kind, other.id)).expect("copied");
    }
    let opened = Partial::open(&share, other).expect("opened");
    assert_eq!(opened.record, None, "copied from another content");
    opened.part.keep();
    assert_eq!(wanted_records(&share), [record("f")]);

    let longer = ContentKey { size_bytes: large_key().size_bytes + 1, id };
    let opened = Partial::open(&share, longer).expect("opened");
    assert_eq!(opened.record, None, "of another size, though its list would do");
    opened.part.keep();

    let whole = fs::read(path(Left::Wanted, id)).expect("read");
    let sparse = |len| {
        fs::write(path(Left::Wanted, id), &whole[..60]).expect("written");
        let file = fs::File::options().write(true).open(path(Left::Wanted, id)).expect("opened");
        file.set_len(len).expect("lengthened");
    };
    for damage in [
        &(|| fs::write(path(Left::Wanted, id), &whole[..whole.len() - 1]).expect("written")) as &dyn Fn(),
        &|| fs::write(path(Left::Wanted, id), [&whole[..], &[0]].concat()).expect("written"),
        &|| fs::write(path(Left::Wanted, id), b"").expect("written"),
        &|| sparse(whole.len() as u64),
        &|| sparse(1 << 40),
        &|| fs::remove_file(path(Left::Wanted, id)).expect("removed"),
        &|| fs::create_dir(path(Left::Wanted, id)).expect("made"),
    ] {
        damage();
        let opened = Partial::open(&share, large_key()).expect("opened all the same");
        assert_eq!((opened.marked, opened.record), (vec![0], None));
        opened.part.keep();
        assert_eq!(unfinished(&share), []);
    }
}

#[test]
fn what_is_of_no_use_is_swept() {
    use Left::*;
    let whole: &[Left] = &[Part, Wanted];
    for (there, damaged, stays) in [
        (whole, None, whole),
        (&[Part, SetAside], None, &[Part, SetAside]),
        (&[Part, Wanted, SetAside], None, &[Part, Wanted, SetAside]),
        (&[Part, Wanted, Temporary], None, whole),
        (&[Part, Temporary], None, &[]),
        (&[Part], None, &[]),
        (&[Wanted], None, &[]),
        (&[SetAside], None, &[]),
        (whole, Some(Wanted), &[]),
        (&[Part, SetAside, Wanted], Some(Wanted), &[Part, SetAside, Wanted]),
    ] {
        let (dir, share) = fixture::share();
        begun(&share, "f", &[0]).keep();
        fs::copy(left_path(&dir, Wanted), left_path(&dir, SetAside)).expect("copied");
        fs::write(left_path(&dir, Temporary), b"torn").expect("written");
        for kind in Left::ALL.iter().filter(|kind| !there.contains(kind)) {
            fs::remove_file(left_path(&dir, *kind)).expect("removed");
        }
        if let Some(kind) = damaged {
            fs::write(left_path(&dir, kind), b"damaged").expect("written");
        }
        fs::write(dir.path().join(PARTS_DIR).join("notes.part"), b"").expect("written");
        let swept = sweep(&share);
        for kind in Left::ALL {
            assert_eq!(left_path(&dir, kind).exists(), stays.contains(&kind), "{there:?}: {kind:?}");
        }
        let parts = usize::from(stays.contains(&Part));
        assert_eq!(swept.parts, parts);
        assert_eq!(swept.allocated_bytes >= 1 << 20, parts == 1);
        assert!(swept.allocated_bytes < 2 << 20, "holes do not count");
        assert!(dir.path().join(PARTS_DIR).join("notes.part").exists(), "not ours");
    }
}

#[test]
fn nothing_is_swept_that_cannot_be_looked_at() {
    for op in [Op::Open, Op::Read] {
        let (dir, share, _disk) = faulty(FaultyDisk::new().fail_from(op, 2, Errno::MFILE));
        begun(&share, "f", &[0]).keep();
        sweep(&share);
        assert_eq!(left(&dir), [".part", ".resume"], "{op:?}");
    }
    let (dir, share) = fixture::share();
    assert_eq!((sweep(&share), unfinished(&share)), (Swept::default(), Vec::new()));
    assert!(tree(dir.path()).is_empty() && !dir.path().join(PARTS_DIR).exists());
}

#[test]
fn what_was_wanted_is_listed_by_name() {
    let (_dir, share) = fixture::share();
    let mut expected = Vec::new();
    for (target, last) in [("b", 3u8), ("a/z", 1), ("c", 2)] {
        let bytes = [&LARGE[..2 << 20], &[last]].concat();
        let geometry = Geometry::of(bytes.len() as u64);
        let cut = bytes.chunks(1 << 20).enumerate();
        let pieces = cut.map(|(index, piece)| PieceDigests::of(&geometry, index as u32, piece)).collect();
        let manifest = Arc::new(Manifest::of_hashed(bytes.len() as u64, pieces));
        let record = Record { key: manifest.key(), manifest, ..record(target) };
        let part = Partial::open(&share, record.key).expect("opened").part;
        part.remember(&record).expect("remembered");
        part.keep();
        expected.push(record);
    }
    expected.sort_by(|a, b| a.name.cmp(&b.name));
    assert_eq!(wanted_records(&share), expected);
}

#[test]
fn what_runs_or_is_over_is_not_gone_on_with() {
    let (dir, share) = fixture::share();
    let key = large_key();
    let other_size = ContentKey { size_bytes: key.size_bytes + 1, ..key };
    let listed = || (unfinished(&share).len(), wanted(&share, key).is_some());
    let part = begun(&share, "f", &[1]);
    assert_eq!(listed(), (0, false), "it runs");
    part.keep();
    assert_eq!(listed(), (1, true));
    assert_eq!(wanted(&share, other_size), None, "another content");
    set_aside(&share, key);
    assert_eq!(listed(), (0, false), "set aside");
    begun(&share, "f", &[1]).keep();
    assert_eq!(listed(), (1, true), "asked for again");
    fs::remove_file(left_path(&dir, Left::Part)).expect("removed");
    assert_eq!(listed(), (0, false), "the part is gone");
}

#[test]
fn a_directory_at_a_name_among_the_parts_is_left_alone_and_said() {
    for kind in [Left::Part, Left::Wanted, Left::Temporary] {
        let (dir, share) = fixture::share();
        let path = left_path(&dir, kind);
        fs::create_dir_all(&path).expect("made");
        let remembered =
            Partial::open(&share, large_key()).and_then(|opened| opened.part.remember(&record("f")));
        assert_eq!(remembered, Err(PartialError::DirectoryInTheWay(large_key().id)), "{kind:?}");
        assert!(path.is_dir(), "{kind:?}");
    }
}

#[test]
fn space_that_the_part_has_already_is_not_needed_again() {
    let (dir, share) = fixture::share();
    begun(&share, "f", &[0]).keep();
    drop(share);
    let needed =
        LARGE.len() as u64 - allocated_bytes(&fs::File::open(left_path(&dir, Left::Part)).expect("opened"));
    for (free_bytes, fits) in [(needed - 1, false), (needed, true)] {
        let disk = Arc::new(FaultyDisk::new().claim_free_bytes(free_bytes));
        let share = Arc::new(Share::open(dir.path(), disk).expect("a share"));
        match Partial::open(&share, large_key()) {
            Ok(opened) => {
                assert!(fits);
                assert_eq!(opened.marked, [0]);
            }
            Err(error) => {
                let errno = Errno::NOSPC;
                assert_eq!(error, PartialError::NoSpace { needed_bytes: needed, free_bytes, errno });
                assert!(!fits && left(&dir) == [".part", ".resume"]);
            }
        }
    }
}

#[test]
fn reading_back_loses_nothing_and_tells_what_failed() {
    let stop = Stop::new().expect("a descriptor");
    let script = FaultyDisk::new().short_reads(1).fail(Op::Read, 2, Errno::INTR);
    let (_dir, share, disk) = faulty(script.fail(Op::Read, 10, Errno::IO));
    let part = written(&share).expect("written");
    let mut bytes = [0; 5];
    part.read_piece(0, &mut bytes).expect("read");
    assert_eq!((&bytes[..], disk.count(Op::Read)), (BYTES, 6));
    let eof = part.read_piece(3, &mut bytes).expect_err("3 bytes beyond the end");
    assert_eq!((eof.kind(), disk.count(Op::Read)), (io::ErrorKind::UnexpectedEof, 9));
    let error = part.whole_md5(&stop).expect_err("a bad sector");
    assert_eq!(error.raw_os_error(), Some(Errno::IO.raw_os_error()));
    assert_eq!(part.whole_md5(&stop).expect("read").to_string(), "5d41402abc4b2a76b9719d911017c592");
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

#[test]
fn a_part_that_is_not_trusted_and_cannot_be_removed_is_emptied() {
    let script = FaultyDisk::new().fail(Op::SyncFile, 1, Errno::IO).fail_from(Op::Unlink, 1, Errno::IO);
    let (_dir, share, _disk) = faulty(script);
    let (part, _error) = written(&share).expect("written").place(&name("f"), false).expect_err("not synced");
    part.keep();
    assert_eq!(Partial::open(&share, key()).expect("opened").marked, [0; 0]);
}

#[test]
fn a_record_is_the_old_or_the_new_one_whatever_fails() {
    for nth in 1.. {
        let dir = quick_dir();
        begun(&reopened(&dir), "old", &[0]).keep();
        let open = |disk: FaultyDisk| {
            let disk = Arc::new(disk.short_writes(100));
            let share = Arc::new(Share::open(dir.path(), disk.clone()).expect("a share"));
            let part = Partial::open(&share, large_key()).expect("opened").part;
            (part, disk.calls().len())
        };
        let (part, opening) = open(FaultyDisk::new());
        part.keep();
        let (part, _) = open(FaultyDisk::new().fail_everything_from(opening + nth, Errno::IO));
        let remembered = part.remember(&record("new"));
        part.keep();
        let is_new =
            Partial::open(&reopened(&dir), large_key()).expect("opened").record == Some(record("new"));
        let is_old = wanted_records(&reopened(&dir)) == [record("old")];
        assert!(is_new || is_old && remembered.is_err(), "call {nth}");
        if remembered.is_ok() {
            assert!(nth > 6, "only {nth} calls");
            break;
        }
    }
}
