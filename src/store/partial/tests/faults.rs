//! The final name and the partial files after each fault of the disk and after a kill at each call.

use super::*;

#[test]
fn a_full_disk_is_reported_and_the_partial_file_kept() {
    for errno in [Errno::NOSPC, Errno::DQUOT, Errno::FBIG] {
        for nth in 1..=BYTES.len() {
            let script =
                FaultyDisk::new().short_writes(1).fail_from(Op::Write, nth, errno).claim_free_bytes(7);
            let (dir, share, disk) = faulty(script);
            let error = download(&share, "f", false).expect_err("full");
            let is_as_expected = match error {
                PartialError::TooLarge { needed_bytes: 5, errno: reported } => reported == errno,
                PartialError::NoSpace { needed_bytes, free_bytes: 7, errno: reported } => {
                    // An allocated block is not needed again.
                    reported == errno && needed_bytes == if nth == 1 { 5 } else { 0 }
                }
                _ => false,
            };
            assert!(is_as_expected, "{error:?}");
            let left = usize::from(nth > 1);
            assert_eq!(
                (disk.count(Op::Write), tree(dir.path()).len()),
                (nth, left),
                "empty partial files are removed"
            );
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
    let partial = written(&share).expect("written");
    assert_eq!(disk.count(Op::Write), BYTES.len() + 2);
    assert_eq!(partial.whole_md5(&stop).expect("read").to_string(), "5d41402abc4b2a76b9719d911017c592");
    partial.place(&name("f"), false).expect("placed");
    assert_eq!(fs::read(dir.path().join("f")).expect("read"), BYTES);
}

#[test]
fn a_disk_that_takes_no_byte_is_an_error() {
    let (_dir, share, _disk) = faulty(FaultyDisk::new().short_writes(0));
    assert_eq!(
        download(&share, "f", false).expect_err("nothing is written"),
        PartialError::Disk { op: Op::Write, errno: Errno::IO }
    );
}

/// A download of the large content to `a/b/f`. With `replace` there is an old file, and the download has
/// `force`. An earlier download has fetched the pieces `before`.
struct Scene {
    replace: bool,
    before: &'static [u32],
    script: fn() -> FaultyDisk,
}

/// A directory in memory, if possible: a sync takes no time there.
fn quick_dir() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a directory")
}

impl Scene {
    /// Runs the download on a disk that has `faults` too.
    fn run(&self, faults: impl FnOnce(FaultyDisk) -> FaultyDisk) -> SceneResult {
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
        let result = resume(&share, "a/b/f", self.replace);
        SceneResult { dir, disk, result, replace: self.replace }
    }
}

struct SceneResult {
    dir: TempDir,
    disk: Arc<FaultyDisk>,
    result: Result<usize, PartialError>,
    replace: bool,
}

impl SceneResult {
    /// Whether the new content is at its name. Otherwise the entry must be as before.
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

    /// Finishes the download on a disk without faults, after a restart or not. Returns the number of pieces
    /// fetched.
    fn finish(&self, restart: bool) -> usize {
        let share = reopened(&self.dir);
        let was_placed = self.is_placed();
        if restart {
            sweep(&share);
        }
        let fetched = if was_placed {
            0
        } else {
            resume(&share, "a/b/f", self.replace).expect("the disk has no faults")
        };
        assert!(self.is_placed());
        if was_placed {
            sweep(&share);
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
    // A file system that cannot rename without replacing.
    Scene {
        replace: false,
        before: &[],
        script: || FaultyDisk::new().fail_from(Op::RenameNoReplace, 1, Errno::INVAL),
    },
];

#[test]
fn a_download_killed_at_any_disk_call_is_resumed_and_finished() {
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
                    // One write is that of the record.
                    let written = calls[..nth - 1].iter().filter(|call| **call == Op::Write).count();
                    let here = scene.before.len() + written.saturating_sub(1);
                    assert!(fetched <= 3 - here, "{what}: {fetched} pieces were fetched again");
                }
            }
        }
    }
}

#[test]
fn after_any_single_fault_the_name_is_unchanged_and_the_partial_file_kept() {
    for (number, scene) in SCENES.iter().enumerate() {
        let calls = scene.run(|disk| disk).disk.calls();
        for (index, op) in calls.iter().copied().enumerate() {
            let nth = calls[..=index].iter().filter(|call| **call == op).count();
            for errno in [Errno::IO, Errno::NOSPC, Errno::DQUOT, Errno::ACCESS, Errno::ROFS] {
                if op == Op::RenameNoReplace && number == 4 {
                    continue; // This call fails in the scene already.
                }
                let what = format!("scene {number}, call {index}, {op:?}, {errno:?}");
                let played = scene.run(|disk| disk.fail(op, nth, errno));
                match &played.result {
                    Ok(_) => assert!(played.is_placed(), "{what}"),
                    Err(error) => {
                        let is_reported = match error {
                            PartialError::Disk { op: reported, errno: Errno::IO } => {
                                *reported == op && errno == Errno::IO
                            }
                            PartialError::NoSpace { errno: reported, .. } => *reported == errno,
                            PartialError::Unwritable(reported) => *reported == errno,
                            _ => false,
                        };
                        assert!(is_reported, "{what}: {error:?}");
                        // The old file cannot be restored: it was replaced in one step.
                        let stays = scene.replace && op == Op::SyncDir;
                        assert!(!played.is_placed() || stays, "{what}");
                    }
                }
                let is_file_sync = op == Op::SyncFile && nth == 2;
                assert!(!is_file_sync || left(&played.dir).is_empty(), "{what}: an unsynced file stays");
                let is_kept = left(&played.dir).contains(&".part".to_owned());
                assert!(played.is_placed() || is_file_sync || is_kept || scene.before.is_empty(), "{what}");
                played.finish(true);
            }
        }
    }
}

#[test]
fn a_file_whose_sync_failed_is_neither_placed_nor_kept() {
    let (dir, share, disk) = faulty(FaultyDisk::new().fail(Op::SyncFile, 1, Errno::IO));
    let failed = PartialError::Disk { op: Op::SyncFile, errno: Errno::IO };
    let (partial, error) =
        written(&share).expect("written").place(&name("f"), false).expect_err("not synced");
    assert_eq!(error, failed);
    let (partial, error) = partial.place(&name("f"), false).expect_err("still not");
    assert_eq!((error, disk.count(Op::SyncFile)), (failed, 1));
    partial.keep();
    assert!(tree(dir.path()).is_empty());
}

#[test]
fn a_share_that_is_not_writable_is_reported() {
    for (op, errno) in [(Op::MakeDir, Errno::ROFS), (Op::MakeDir, Errno::ACCESS), (Op::Create, Errno::PERM)] {
        let (dir, share, _disk) = faulty(FaultyDisk::new().fail_from(op, 1, errno));
        assert_eq!(download(&share, "f", false).expect_err("unwritable"), PartialError::Unwritable(errno));
        assert!(tree(dir.path()).is_empty());
    }
}

#[test]
fn a_share_removed_meanwhile_is_an_error_and_no_file_is_created_elsewhere() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("share");
    fs::create_dir(&path).expect("made");
    let share = Arc::new(Share::open(&path, Arc::new(RealDisk)).expect("a share"));
    fs::remove_dir(&path).expect("removed");
    fs::create_dir(&path).expect("another in its place");
    let error = download(&share, "f", false).expect_err("gone");
    assert!(matches!(error, PartialError::Disk { errno: Errno::NOENT, .. }), "{error:?}");
    assert!(tree(&path).is_empty() && !path.join(PARTIALS_DIR).exists());
}

#[test]
fn an_untrusted_file_that_cannot_be_removed_is_emptied() {
    let script = FaultyDisk::new().fail(Op::SyncFile, 1, Errno::IO).fail_from(Op::Unlink, 1, Errno::IO);
    let (_dir, share, _disk) = faulty(script);
    let (partial, _error) =
        written(&share).expect("written").place(&name("f"), false).expect_err("not synced");
    partial.keep();
    assert_eq!(Partial::open(&share, key()).expect("opened").marked, [0; 0]);
}

#[test]
fn after_any_fault_the_record_is_the_old_or_the_new_one() {
    for nth in 1.. {
        let dir = quick_dir();
        begun(&reopened(&dir), "old", &[0]).keep();
        let open = |disk: FaultyDisk| {
            let disk = Arc::new(disk.short_writes(100));
            let share = Arc::new(Share::open(dir.path(), disk.clone()).expect("a share"));
            let partial = Partial::open(&share, large_key()).expect("opened").partial;
            (partial, disk.calls().len())
        };
        let (partial, opening) = open(FaultyDisk::new());
        partial.keep();
        let (partial, _) = open(FaultyDisk::new().fail_everything_from(opening + nth, Errno::IO));
        let written = partial.write_record(&record("new"));
        partial.keep();
        let is_new =
            Partial::open(&reopened(&dir), large_key()).expect("opened").record == Some(record("new"));
        let is_old = resumable_records(&reopened(&dir)) == [record("old")];
        assert!(is_new || is_old && written.is_err(), "call {nth}");
        if written.is_ok() {
            assert!(nth > 6, "only {nth} calls");
            break;
        }
    }
}
