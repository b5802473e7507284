//! What an unfinished download leaves: gone on with, mended, set aside, swept.

use super::*;

#[test]
fn a_partial_file_is_kept_quarantined_or_discarded() {
    let (dir, share) = fixture::share();
    let names = |share: &Share| unfinished(share).len();
    begun(&share, "f", &[1]).keep();
    assert_eq!((left(&dir), names(&share)), (vec![".part".to_owned(), ".resume".to_owned()], 1));
    Partial::open(&share, large_key()).expect("opened").part.quarantine();
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
    for (end, expected) in [(Partial::keep as fn(Partial), kept), (Partial::quarantine, &[]), (drop, &[])] {
        end(begun(&share, "f", &[]));
        assert_eq!(left(&dir), expected, "nothing was written");
    }
}

#[test]
fn a_part_that_somebody_works_on_is_left_alone_by_visitors_and_by_a_node_that_starts() {
    let dir = tempfile::tempdir().expect("a directory");
    let visit = || Arc::new(Share::open_as_guest(dir.path(), Arc::new(RealDisk)).expect("nobody shares it"));
    let (share, other) = (visit(), visit());
    let part = begun(&share, "f", &[1]);
    let still_sent = part.file();
    assert_eq!(Partial::open(&other, large_key()).map(drop), Err(PartialError::InProgress));
    let node = Arc::new(Share::open(dir.path(), Arc::new(RealDisk)).expect("visitors keep nobody out"));
    let in_use =
        Share::open_as_guest(dir.path(), Arc::new(RealDisk)).map(drop).expect_err("a node shares it");
    assert!(matches!(in_use, crate::store::ShareError::InUse { .. }), "{in_use}");
    assert_eq!((sweep(&node), unfinished(&node)), (Swept::default(), vec![]));
    assert_eq!(left(&dir), [".part", ".resume"], "of no record, it would be swept");
    part.keep();
    assert_eq!(unfinished(&node).len(), 1);
    let opened = Partial::open(&other, large_key()).expect("free, though it is still being sent");
    assert_eq!(opened.marked, [1]);
    drop((opened, still_sent));
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
        fs::File::open(left_path(&dir, LeftoverPart::Part)).and_then(|file| file.sync_all()).expect("synced");
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
    opened.part.quarantine();
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
        damage(&open(&left_path(&dir, LeftoverPart::Part))).expect("damaged");
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
    let path = |kind: LeftoverPart, id| dir.path().join(PARTS_DIR).join(kind.name(id));
    for kind in [LeftoverPart::Part, LeftoverPart::Wanted] {
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

    let whole = fs::read(path(LeftoverPart::Wanted, id)).expect("read");
    let sparse = |len| {
        fs::write(path(LeftoverPart::Wanted, id), &whole[..60]).expect("written");
        let file = fs::File::options().write(true).open(path(LeftoverPart::Wanted, id)).expect("opened");
        file.set_len(len).expect("lengthened");
    };
    for damage in [
        &(|| fs::write(path(LeftoverPart::Wanted, id), &whole[..whole.len() - 1]).expect("written"))
            as &dyn Fn(),
        &|| fs::write(path(LeftoverPart::Wanted, id), [&whole[..], &[0]].concat()).expect("written"),
        &|| fs::write(path(LeftoverPart::Wanted, id), b"").expect("written"),
        &|| sparse(whole.len() as u64),
        &|| sparse(1 << 40),
        &|| fs::remove_file(path(LeftoverPart::Wanted, id)).expect("removed"),
        &|| fs::create_dir(path(LeftoverPart::Wanted, id)).expect("made"),
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
    use LeftoverPart::*;
    let whole: &[LeftoverPart] = &[Part, Wanted];
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
        for kind in LeftoverPart::ALL.iter().filter(|kind| !there.contains(kind)) {
            fs::remove_file(left_path(&dir, *kind)).expect("removed");
        }
        if let Some(kind) = damaged {
            fs::write(left_path(&dir, kind), b"damaged").expect("written");
        }
        fs::write(dir.path().join(PARTS_DIR).join("notes.part"), b"").expect("written");
        let swept = sweep(&share);
        for kind in LeftoverPart::ALL {
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
    quarantine(&share, key);
    assert_eq!(listed(), (0, false), "set aside");
    begun(&share, "f", &[1]).keep();
    assert_eq!(listed(), (1, true), "asked for again");
    fs::remove_file(left_path(&dir, LeftoverPart::Part)).expect("removed");
    assert_eq!(listed(), (0, false), "the part is gone");
}

#[test]
fn a_directory_at_a_name_among_the_parts_is_left_alone_and_said() {
    for kind in [LeftoverPart::Part, LeftoverPart::Wanted, LeftoverPart::Temporary] {
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
    let needed = LARGE.len() as u64
        - allocated_bytes(&fs::File::open(left_path(&dir, LeftoverPart::Part)).expect("opened"));
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
fn parts_are_cleared_but_for_those_in_use() {
    let (dir, share) = fixture::share();
    begun(&share, "f", &[1]).keep();
    clear_parts(&share);
    assert_eq!(left(&dir), Vec::<String>::new());
    begun(&share, "f", &[1]).quarantine();
    clear_parts(&share);
    assert_eq!(left(&dir), Vec::<String>::new());
    let in_use = begun(&share, "f", &[1]);
    clear_parts(&share);
    assert_eq!(left(&dir), [".part", ".resume"]);
    in_use.keep();
    assert_eq!(unfinished(&share).len(), 1);
}
