//! Placement: its steps, obstacles at the name, and links in the way.

use super::*;
use crate::store::PathEntry;

#[test]
fn the_steps_of_a_placement_survive_a_power_failure() {
    let (dir, share, disk) = faulty(FaultyDisk::new());
    let placed = download(&share, "a/b/f", false).expect("placed");
    use Op::*;
    assert_eq!(
        disk.calls(),
        [
            vec![MakeDir, Open, FreeBytes, Create, SetLen, Write, Write],
            vec![SyncFile, MakeDir, MakeDir, RenameNoReplace],
            // The directories b, a, the root, and the directory of the partial files.
            vec![SyncDir, SyncDir, SyncDir, SyncDir],
            // Records; there are none.
            vec![Unlink, Unlink],
        ]
        .concat()
    );
    assert_eq!(fs::read(dir.path().join("a/b/f")).expect("read"), BYTES);
    assert_eq!(share.open_file(&name("a/b/f")).expect("opened").stamp, placed.stamp);
    assert_eq!(fs::read_dir(dir.path().join(PARTIALS_DIR)).expect("read").count(), 0);

    let mode =
        |name: &str| fs::metadata(dir.path().join(name)).expect("its mode").permissions().mode() & 0o7777;
    fs::write(dir.path().join("ordinary"), b"").expect("written");
    fs::create_dir(dir.path().join("ordinary-dir")).expect("made");
    assert_eq!(mode("a/b/f"), mode("ordinary"));
    assert_eq!(mode("a/b"), mode("ordinary-dir"));
    assert_eq!(mode(PARTIALS_DIR) & 0o077, 0);
}

#[test]
fn a_partial_file_that_another_program_has_changed_is_not_placed() {
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
        let partial = written(&share).expect("written");
        touch(&dir.path().join(PARTIALS_DIR).join(LeftoverPart::Partial.name(key().id)));
        let (partial, error) = partial.place(&name("f"), false).expect_err("refused");
        assert_eq!(error, PartialError::Touched);
        partial.quarantine();
        assert!(!dir.path().join("f").exists());
    }
}

#[test]
fn an_empty_file_is_placed() {
    let (dir, share) = fixture::share();
    let key = ContentKey { size_bytes: 0, id: ContentId(*blake3::hash(b"").as_bytes()) };
    let partial = Partial::open(&share, key).expect("created").partial;
    partial.write_piece(0, b"").expect("nothing to write");
    partial.place(&name("empty"), false).expect("placed");
    assert_eq!(tree(dir.path()), BTreeMap::from([("empty".to_owned(), String::new())]));
}

#[test]
fn a_file_is_replaced_only_with_force() {
    let (dir, share) = fixture::share();
    fs::write(dir.path().join("f"), b"old").expect("written");
    let (partial, error) = written(&share).expect("written").place(&name("f"), false).expect_err("exists");
    assert_eq!(error, PartialError::Exists { name: name("f"), what: "a file" });
    assert_eq!(fs::read(dir.path().join("f")).expect("read"), b"old");
    partial.place(&name("f"), true).expect("the same partial file can be placed with force");
    assert_eq!(fs::read(dir.path().join("f")).expect("read"), BYTES);
}

#[test]
fn only_regular_files_are_replaced_and_links_are_not_followed() {
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
fn a_link_or_file_instead_of_the_directory_of_partial_files_is_refused() {
    let outside = tempfile::tempdir().expect("a directory");
    let (dir, share) = fixture::share();
    symlink(outside.path(), dir.path().join(PARTIALS_DIR)).expect("linked");
    assert_eq!(
        Partial::open(&share, key()).expect_err("a link"),
        PartialError::PartialsDirectory(".nearpeer".into())
    );
    assert!(tree(outside.path()).is_empty());
    fs::remove_file(dir.path().join(PARTIALS_DIR)).expect("removed");
    fs::write(dir.path().join(PARTIALS_DIR), b"").expect("written");
    assert_eq!(
        Partial::open(&share, key()).expect_err("a file"),
        PartialError::PartialsDirectory(".nearpeer".into())
    );
}

#[test]
fn a_partial_file_is_never_written_through_another_name_or_a_link() {
    let outside = tempfile::tempdir().expect("a directory");
    fs::write(outside.path().join("victim"), b"victim").expect("written");
    let (dir, share) = fixture::share();
    begun(&share, "f", &[0, 1, 2]).keep();
    let partial = left_path(&dir, LeftoverPart::Partial);
    fs::hard_link(&partial, dir.path().join("other")).expect("linked");
    let remove = || fs::remove_file(&partial).expect("removed");
    for (what, make) in [
        ("a second name", &(|| ()) as &dyn Fn()),
        ("a link", &|| symlink(outside.path().join("victim"), &partial).expect("linked")),
        ("a fifo", &|| mknodat(CWD, &partial, FileType::Fifo, Mode::RWXU, 0).expect("made")),
        ("a socket", &|| drop(std::os::unix::net::UnixListener::bind(&partial).expect("bound"))),
    ] {
        make();
        let opened = Partial::open(&share, large_key()).expect(what);
        assert_eq!(opened.marked, [0; 0], "{what}");
        opened.partial.write_piece(0, &[7; 100]).expect("written");
        opened.partial.keep();
        assert_eq!(fs::read(&partial).expect("read").len(), LARGE.len(), "{what}");
        remove();
    }
    assert_eq!(fs::read(dir.path().join("other")).expect("read"), *LARGE);
    assert_eq!(fs::read(outside.path().join("victim")).expect("read"), b"victim");
}

#[test]
fn a_content_is_downloaded_once_at_a_time() {
    let (_dir, share) = fixture::share();
    let first = Partial::open(&share, key()).expect("created").partial;
    for size_bytes in [BYTES.len() as u64, 1] {
        let same_id = ContentKey { size_bytes, ..key() };
        assert_eq!(Partial::open(&share, same_id).expect_err("in use"), PartialError::InProgress);
    }
    first.write_piece(0, BYTES).expect("the first download continues");
    first.place(&name("f"), false).expect("placed");
    Partial::open(&share, key()).expect("free again");
}

#[test]
fn a_size_beyond_the_disk_is_refused_before_a_file_is_created() {
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
fn a_file_is_linked_if_the_file_system_cannot_rename_without_replacing() {
    let script = FaultyDisk::new().fail_from(Op::RenameNoReplace, 1, Errno::INVAL);
    let (dir, share, disk) = faulty(script);
    download(&share, "f", false).expect("placed");
    assert_eq!(tree(dir.path()), BTreeMap::from([("f".to_owned(), "hello".to_owned())]));
    assert_eq!((disk.count(Op::Link), disk.count(Op::Rename)), (1, 0));
}

#[test]
fn a_file_created_meanwhile_is_not_replaced() {
    let (_dir, share, _disk) = faulty(FaultyDisk::new().fail(Op::RenameNoReplace, 1, Errno::EXIST));
    let error = download(&share, "f", false).expect_err("exists");
    assert!(matches!(error, PartialError::Exists { .. }), "{error:?}");
}

/// A share with a complete file, another share, and the stamp of the file.
fn whole_file(disk: FaultyDisk) -> (TempDir, Arc<Share>, TempDir, Arc<Share>, FileStamp) {
    let (from_dir, from) = fixture::share();
    fs::create_dir(from_dir.path().join("sub")).expect("made");
    fs::write(from_dir.path().join("sub/f"), BYTES).expect("written");
    let stamp = from.open_file(&name("sub/f")).expect("opened").stamp;
    let (to_dir, to, _) = faulty(disk);
    (from_dir, from, to_dir, to, stamp)
}

#[test]
fn a_complete_file_is_moved_in_one_step_or_stays() {
    let (from_dir, from, to_dir, to, stamp) = whole_file(FaultyDisk::new());
    let placed = take_over(&from, &to, &name("sub/f"), key(), &stamp).expect("moved");
    assert_eq!(to.path_entry(&name("sub/f")).expect("reported"), PathEntry::File(placed.stamp));
    assert!(to_dir.path().join("sub/f").is_file() && !from_dir.path().join("sub/f").exists());

    let (from_dir, from, to_dir, to, stamp) = whole_file(FaultyDisk::new());
    fs::create_dir(to_dir.path().join("sub")).expect("made");
    fs::write(to_dir.path().join("sub/f"), b"mine").expect("written");
    let error = take_over(&from, &to, &name("sub/f"), key(), &stamp).expect_err("in the way");
    assert!(matches!(error, PartialError::Exists { .. }), "{error:?}");
    assert_eq!(fs::read(to_dir.path().join("sub/f")).expect("there"), b"mine");
    fs::remove_file(to_dir.path().join("sub/f")).expect("removed");
    fs::write(from_dir.path().join("sub/f"), b"changed").expect("written");
    let error = take_over(&from, &to, &name("sub/f"), key(), &stamp).expect_err("another file");
    assert!(matches!(error, PartialError::Look { .. }), "{error:?}");
    assert!(from_dir.path().join("sub/f").exists());
}

#[test]
fn after_any_fault_a_moved_file_is_in_one_of_its_folders() {
    for (op, nth) in [
        (Op::SyncFile, 1),
        (Op::MakeDir, 1),
        (Op::RenameNoReplace, 1),
        (Op::SyncDir, 1),
        (Op::SyncDir, 2),
        (Op::SyncDir, 3),
    ] {
        let (from_dir, from, to_dir, to, stamp) = whole_file(FaultyDisk::new().fail(op, nth, Errno::IO));
        let error = take_over(&from, &to, &name("sub/f"), key(), &stamp).expect_err("a fault");
        assert!(matches!(error, PartialError::Disk { .. }), "{op:?} {nth}: {error:?}");
        assert_eq!(fs::read(from_dir.path().join("sub/f")).expect("where it was"), BYTES, "{op:?} {nth}");
        assert_eq!(fs::read_dir(to_dir.path()).expect("readable").count(), 0, "{op:?} {nth}");
    }
    let (_from_dir, from, to_dir, to, stamp) =
        whole_file(FaultyDisk::new().fail(Op::Mark, 1, Errno::OPNOTSUPP));
    take_over(&from, &to, &name("sub/f"), key(), &stamp).expect("a missing mark is no error");
    assert!(to_dir.path().join("sub/f").is_file());
}
