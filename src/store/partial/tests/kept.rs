//! Files of unfinished downloads: resumed, repaired, quarantined, swept.

use super::*;

#[test]
fn a_partial_file_is_kept_quarantined_or_discarded() {
    let (dir, share) = fixture::share();
    let names = |share: &Share| resumable(share).len();
    begun(&share, "f", &[1]).keep();
    assert_eq!((left(&dir), names(&share)), (vec![".part".to_owned(), ".resume".to_owned()], 1));
    Partial::open(&share, large_key()).expect("opened").partial.quarantine();
    assert_eq!((left(&dir), names(&share)), (vec![".kept".to_owned(), ".part".to_owned()], 0));
    let opened = Partial::open(&share, large_key()).expect("opened");
    assert_eq!((opened.marked, opened.record), (vec![1], Some(record("f"))));
    drop(opened.partial);
    assert_eq!((left(&dir), names(&share)), (vec![".kept".to_owned(), ".part".to_owned()], 0));
    begun(&share, "another", &[]).keep();
    assert_eq!(left(&dir), [".part", ".resume"], "requested again");
    assert_eq!(resumable_records(&share), [record("another")]);
    Partial::open(&share, large_key()).expect("opened").partial.discard().expect("removed");
    assert_eq!((left(&dir), names(&share)), (vec![], 0));

    let kept: &[&str] = &[".part", ".resume"];
    for (end, expected) in [(Partial::keep as fn(Partial), kept), (Partial::quarantine, &[]), (drop, &[])] {
        end(begun(&share, "f", &[]));
        assert_eq!(left(&dir), expected, "nothing was written");
    }
}

#[test]
fn guests_and_a_starting_node_leave_partial_files_in_use_alone() {
    let dir = tempfile::tempdir().expect("a directory");
    let guest = || Arc::new(Share::open_as_guest(dir.path(), Arc::new(RealDisk)).expect("no node shares it"));
    let (share, other) = (guest(), guest());
    let partial = begun(&share, "f", &[1]);
    let still_sent = partial.file();
    assert_eq!(Partial::open(&other, large_key()).map(drop), Err(PartialError::InProgress));
    let node = Arc::new(Share::open(dir.path(), Arc::new(RealDisk)).expect("guests keep no node out"));
    let in_use =
        Share::open_as_guest(dir.path(), Arc::new(RealDisk)).map(drop).expect_err("a node shares it");
    assert!(matches!(in_use, crate::store::ShareError::InUse { .. }), "{in_use}");
    assert_eq!((sweep(&node), resumable(&node)), (SweepReport::default(), vec![]));
    assert_eq!(left(&dir), [".part", ".resume"], "without a lock, sweep could remove them");
    partial.keep();
    assert_eq!(resumable(&node).len(), 1);
    let opened = Partial::open(&other, large_key()).expect("free, although it is still being sent");
    assert_eq!(opened.marked, [1]);
    drop((opened, still_sent));
}

#[test]
fn exactly_the_pieces_without_a_hole_are_marked() {
    let check = |ranges: &[(usize, usize)], expected: &[u32]| {
        let (dir, share) = fixture::share();
        let partial = begun(&share, "f", &[]);
        for (start, end) in ranges.iter().copied() {
            partial.write_piece(start as u64, &LARGE[start..end]).expect("written");
        }
        partial.keep();
        let opened = Partial::open(&share, large_key()).expect("opened");
        assert_eq!(opened.marked, expected, "{ranges:?}");
        assert_eq!(opened.record, Some(record("f")));
        opened.partial.keep();
        // The same after a sync.
        fs::File::open(left_path(&dir, LeftoverPart::Partial))
            .and_then(|file| file.sync_all())
            .expect("synced");
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
fn without_reported_holes_all_pieces_are_marked_and_verified() {
    let (dir, share) = fixture::share();
    begun(&share, "f", &[1]).keep();
    drop(share);
    let disk = Arc::new(FaultyDisk::new().fail_from(Op::FindData, 1, Errno::INVAL));
    let share = Arc::new(Share::open(dir.path(), disk).expect("a share"));
    let opened = Partial::open(&share, large_key()).expect("opened");
    assert_eq!(opened.marked, [0, 1, 2]);
    opened.partial.quarantine();
    assert_eq!(resume(&share, "f", false), Ok(2));
    assert_eq!(fs::read(dir.path().join("f")).expect("read"), *LARGE);
}

#[test]
fn a_damaged_partial_file_is_repaired() {
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
        damage(&open(&left_path(&dir, LeftoverPart::Partial))).expect("damaged");
        assert_eq!(resume(&share, "f", false), Ok(fetched), "{what}");
        assert!(fs::read(dir.path().join("f")).expect("read") == *LARGE, "{what}");
        assert_eq!(left(&dir), [""; 0], "{what}");
    }
}

#[test]
fn invalid_records_are_not_used() {
    let (dir, share) = fixture::share();
    begun(&share, "f", &[0]).keep();
    let id = large_key().id;
    let other = ContentKey { size_bytes: LARGE.len() as u64, id: ContentId([7; 32]) };
    let path = |kind: LeftoverPart, id| dir.path().join(PARTIALS_DIR).join(kind.name(id));
    for kind in [LeftoverPart::Partial, LeftoverPart::Resumable] {
        fs::copy(path(kind, id), path(kind, other.id)).expect("copied");
    }
    let opened = Partial::open(&share, other).expect("opened");
    assert_eq!(opened.record, None, "copied from another content");
    opened.partial.keep();
    assert_eq!(resumable_records(&share), [record("f")]);

    let longer = ContentKey { size_bytes: large_key().size_bytes + 1, id };
    let opened = Partial::open(&share, longer).expect("opened");
    assert_eq!(opened.record, None, "of another size, although its manifest fits");
    opened.partial.keep();

    let whole = fs::read(path(LeftoverPart::Resumable, id)).expect("read");
    let sparse = |len| {
        fs::write(path(LeftoverPart::Resumable, id), &whole[..60]).expect("written");
        let file = fs::File::options().write(true).open(path(LeftoverPart::Resumable, id)).expect("opened");
        file.set_len(len).expect("lengthened");
    };
    for damage in [
        &(|| fs::write(path(LeftoverPart::Resumable, id), &whole[..whole.len() - 1]).expect("written"))
            as &dyn Fn(),
        &|| fs::write(path(LeftoverPart::Resumable, id), [&whole[..], &[0]].concat()).expect("written"),
        &|| fs::write(path(LeftoverPart::Resumable, id), b"").expect("written"),
        &|| sparse(whole.len() as u64),
        &|| sparse(1 << 40),
        &|| fs::remove_file(path(LeftoverPart::Resumable, id)).expect("removed"),
        &|| fs::create_dir(path(LeftoverPart::Resumable, id)).expect("made"),
    ] {
        damage();
        let opened = Partial::open(&share, large_key()).expect("opened anyway");
        assert_eq!((opened.marked, opened.record), (vec![0], None));
        opened.partial.keep();
        assert_eq!(resumable(&share), []);
    }
}

#[test]
fn files_that_no_download_can_use_are_swept() {
    use LeftoverPart::{Partial, Quarantined, Resumable, Temporary};
    let whole: &[LeftoverPart] = &[Partial, Resumable];
    for (there, damaged, stays) in [
        (whole, None, whole),
        (&[Partial, Quarantined], None, &[Partial, Quarantined]),
        (&[Partial, Resumable, Quarantined], None, &[Partial, Resumable, Quarantined]),
        (&[Partial, Resumable, Temporary], None, whole),
        (&[Partial, Temporary], None, &[]),
        (&[Partial], None, &[]),
        (&[Resumable], None, &[]),
        (&[Quarantined], None, &[]),
        (whole, Some(Resumable), &[]),
        (&[Partial, Quarantined, Resumable], Some(Resumable), &[Partial, Quarantined, Resumable]),
    ] {
        let (dir, share) = fixture::share();
        begun(&share, "f", &[0]).keep();
        fs::copy(left_path(&dir, Resumable), left_path(&dir, Quarantined)).expect("copied");
        fs::write(left_path(&dir, Temporary), b"incomplete").expect("written");
        for kind in LeftoverPart::ALL.iter().filter(|kind| !there.contains(kind)) {
            fs::remove_file(left_path(&dir, *kind)).expect("removed");
        }
        if let Some(kind) = damaged {
            fs::write(left_path(&dir, kind), b"damaged").expect("written");
        }
        fs::write(dir.path().join(PARTIALS_DIR).join("notes.part"), b"").expect("written");
        let swept = sweep(&share);
        for kind in LeftoverPart::ALL {
            assert_eq!(left_path(&dir, kind).exists(), stays.contains(&kind), "{there:?}: {kind:?}");
        }
        let files = usize::from(stays.contains(&Partial));
        assert_eq!(swept.files, files);
        assert_eq!(swept.allocated_bytes >= 1 << 20, files == 1);
        assert!(swept.allocated_bytes < 2 << 20, "holes do not count");
        assert!(dir.path().join(PARTIALS_DIR).join("notes.part").exists(), "not a file of a download");
    }
}

#[test]
fn files_that_cannot_be_examined_are_not_swept() {
    for op in [Op::Open, Op::Read] {
        let (dir, share, _disk) = faulty(FaultyDisk::new().fail_from(op, 2, Errno::MFILE));
        begun(&share, "f", &[0]).keep();
        sweep(&share);
        assert_eq!(left(&dir), [".part", ".resume"], "{op:?}");
    }
    let (dir, share) = fixture::share();
    assert_eq!((sweep(&share), resumable(&share)), (SweepReport::default(), Vec::new()));
    assert!(tree(dir.path()).is_empty() && !dir.path().join(PARTIALS_DIR).exists());
}

#[test]
fn resumable_downloads_are_listed_by_name() {
    let (_dir, share) = fixture::share();
    let mut expected = Vec::new();
    for (target, last) in [("b", 3u8), ("a/z", 1), ("c", 2)] {
        let bytes = [&LARGE[..2 << 20], &[last]].concat();
        let geometry = Geometry::of(bytes.len() as u64);
        let cut = bytes.chunks(1 << 20).enumerate();
        let pieces = cut.map(|(index, piece)| PieceDigests::of(&geometry, index as u32, piece)).collect();
        let manifest = Arc::new(Manifest::of_hashed(bytes.len() as u64, pieces));
        let record = Record { key: manifest.key(), manifest, ..record(target) };
        let partial = Partial::open(&share, record.key).expect("opened").partial;
        partial.write_record(&record).expect("written");
        partial.keep();
        expected.push(record);
    }
    expected.sort_by(|a, b| a.name.cmp(&b.name));
    assert_eq!(resumable_records(&share), expected);
}

#[test]
fn running_and_quarantined_downloads_are_not_resumable() {
    let (dir, share) = fixture::share();
    let key = large_key();
    let other_size = ContentKey { size_bytes: key.size_bytes + 1, ..key };
    let listed = || (resumable(&share).len(), resumable_record(&share, key).is_some());
    let partial = begun(&share, "f", &[1]);
    assert_eq!(listed(), (0, false), "it is running");
    partial.keep();
    assert_eq!(listed(), (1, true));
    assert_eq!(resumable_record(&share, other_size), None, "another content");
    quarantine(&share, key);
    assert_eq!(listed(), (0, false), "quarantined");
    begun(&share, "f", &[1]).keep();
    assert_eq!(listed(), (1, true), "requested again");
    fs::remove_file(left_path(&dir, LeftoverPart::Partial)).expect("removed");
    assert_eq!(listed(), (0, false), "the partial file is gone");
}

#[test]
fn a_directory_in_the_way_stays_and_is_reported() {
    for kind in [LeftoverPart::Partial, LeftoverPart::Resumable, LeftoverPart::Temporary] {
        let (dir, share) = fixture::share();
        let path = left_path(&dir, kind);
        fs::create_dir_all(&path).expect("made");
        let written =
            Partial::open(&share, large_key()).and_then(|opened| opened.partial.write_record(&record("f")));
        assert_eq!(written, Err(PartialError::DirectoryInTheWay(large_key().id)), "{kind:?}");
        assert!(path.is_dir(), "{kind:?}");
    }
}

#[test]
fn space_that_the_partial_file_takes_is_not_needed_again() {
    let (dir, share) = fixture::share();
    begun(&share, "f", &[0]).keep();
    drop(share);
    let needed = LARGE.len() as u64
        - allocated_bytes(&fs::File::open(left_path(&dir, LeftoverPart::Partial)).expect("opened"));
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
fn reads_are_complete_and_report_failures() {
    let stop = Stop::new().expect("a descriptor");
    let script = FaultyDisk::new().short_reads(1).fail(Op::Read, 2, Errno::INTR);
    let (_dir, share, disk) = faulty(script.fail(Op::Read, 10, Errno::IO));
    let partial = written(&share).expect("written");
    let mut bytes = [0; 5];
    partial.read_piece(0, &mut bytes).expect("read");
    assert_eq!((&bytes[..], disk.count(Op::Read)), (BYTES, 6));
    let eof = partial.read_piece(3, &mut bytes).expect_err("3 bytes beyond the end");
    assert_eq!((eof.kind(), disk.count(Op::Read)), (io::ErrorKind::UnexpectedEof, 9));
    let error = partial.whole_md5(&stop).expect_err("a bad sector");
    assert_eq!(error.raw_os_error(), Some(Errno::IO.raw_os_error()));
    assert_eq!(partial.whole_md5(&stop).expect("read").to_string(), "5d41402abc4b2a76b9719d911017c592");
}

#[test]
fn all_partial_files_are_removed_except_those_in_use() {
    let (dir, share) = fixture::share();
    begun(&share, "f", &[1]).keep();
    remove_all(&share);
    assert_eq!(left(&dir), Vec::<String>::new());
    begun(&share, "f", &[1]).quarantine();
    remove_all(&share);
    assert_eq!(left(&dir), Vec::<String>::new());
    let in_use = begun(&share, "f", &[1]);
    remove_all(&share);
    assert_eq!(left(&dir), [".part", ".resume"]);
    in_use.keep();
    assert_eq!(resumable(&share).len(), 1);
}
