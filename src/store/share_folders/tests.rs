//! Tests of the folders in each layout.

use super::*;
use crate::rt::Stop;
use crate::store::{Partial, RealDisk, hash_file};
use crate::types::{ContentId, ContentKey};
use std::os::unix::fs::symlink;
use tempfile::TempDir;

fn name(text: &str) -> FileName {
    FileName::new(text).expect(text)
}

fn open(dir: &Path, layout: Layout, save_dir: Option<&Path>) -> Result<ShareFolders, ShareError> {
    ShareFolders::open(dir, layout, save_dir, Arc::new(RealDisk))
}

fn made(layout: Layout) -> (TempDir, ShareFolders) {
    let dir = tempfile::tempdir().expect("a directory");
    let folders = open(dir.path(), layout, None).expect("folders");
    (dir, folders)
}

/// Downloads `bytes` as a file of this origin.
fn place(folders: &ShareFolders, origin: FileOrigin, file: &str, bytes: &[u8]) {
    let key = ContentKey { size_bytes: bytes.len() as u64, id: ContentId(*blake3::hash(bytes).as_bytes()) };
    let partial =
        Partial::open(&folders.target(origin).expect("a folder"), key).expect("a partial file").partial;
    partial.write_piece(0, bytes).expect("written");
    partial.mark();
    partial.place(&name(file), false).map_err(|(_, error)| error).expect("placed");
}

/// The origin under which a name is published.
fn origin(folders: &ShareFolders, file: &str) -> FileOrigin {
    let visible = folders.visible(&name(file)).expect(file);
    let hashed = hash_file(&visible.share, &name(file), &Stop::new().expect("a descriptor"));
    folders.origin_of(visible.origin, &hashed.expect("hashed")).expect("not a changed replica")
}

#[test]
fn a_fetched_file_is_placed_in_the_folder_of_its_origin() {
    for (layout, paths) in
        [(Layout::Flat, ["d", ".nearpeer/replicas/r"]), (Layout::Split, ["downloaded/d", "replicated/r"])]
    {
        let (dir, folders) = made(layout);
        place(&folders, FileOrigin::Downloaded, "d", b"downloaded");
        place(&folders, FileOrigin::Replicated, "r", b"replica");
        for path in paths {
            assert!(dir.path().join(path).is_file(), "{path}");
        }
        drop(folders);
        // The origins are known from the disk alone.
        let folders = open(dir.path(), layout, None).expect("folders");
        assert_eq!(
            (origin(&folders, "d"), origin(&folders, "r")),
            (FileOrigin::Downloaded, FileOrigin::Replicated)
        );
    }
}

#[test]
fn a_changed_download_is_local() {
    let (dir, folders) = made(Layout::Flat);
    place(&folders, FileOrigin::Downloaded, "a", b"downloaded");
    place(&folders, FileOrigin::Downloaded, "b", b"downloaded too");
    fs::write(dir.path().join("a"), b"changed").expect("written");
    fs::rename(dir.path().join("b"), dir.path().join("c")).expect("renamed");
    assert_eq!((origin(&folders, "a"), origin(&folders, "c")), (FileOrigin::Local, FileOrigin::Downloaded));
    fs::write(dir.path().join("a"), b"downloaded").expect("written");
    assert_eq!(origin(&folders, "a"), FileOrigin::Downloaded, "it has the downloaded content again");
}

#[test]
fn a_changed_replica_is_not_published() {
    for layout in [Layout::Flat, Layout::Split] {
        let (dir, folders) = made(layout);
        place(&folders, FileOrigin::Replicated, "r", b"replica");
        assert_eq!(origin(&folders, "r"), FileOrigin::Replicated);
        let path = dir.path().join(layout.folder(FileOrigin::Replicated)).join("r");
        fs::write(&path, b"rotten!").expect("written");
        let visible = folders.visible(&name("r")).expect("there");
        let hashed =
            hash_file(&visible.share, &name("r"), &Stop::new().expect("a descriptor")).expect("hashed");
        assert!(matches!(folders.origin_of(visible.origin, &hashed), Err(HashError::Spoiled)));
        fs::write(&path, b"replica").expect("written");
        assert_eq!(origin(&folders, "r"), FileOrigin::Replicated, "repaired");
    }
}

#[test]
fn of_files_with_one_name_the_file_of_the_first_origin_is_published() {
    let (dir, folders) = made(Layout::Split);
    for folder in ["shared", "downloaded", "replicated"] {
        fs::write(dir.path().join(folder).join("f"), folder).expect("written");
    }
    for first in FileOrigin::ALL {
        assert_eq!(origin(&folders, "f"), first);
        fs::remove_file(dir.path().join(Layout::Split.folder(first)).join("f")).expect("removed");
    }
    assert_eq!(folders.visible(&name("f")).expect_err("gone").kind(), ErrorKind::NotFound);
    // A directory hides no file.
    fs::create_dir(dir.path().join("shared/f")).expect("made");
    fs::write(dir.path().join("replicated/f"), b"r").expect("written");
    assert_eq!(origin(&folders, "f"), FileOrigin::Replicated);
}

#[test]
fn a_flat_share_gets_its_first_folder_with_the_first_replica() {
    let (dir, folders) = made(Layout::Flat);
    assert_eq!(fs::read_dir(dir.path()).expect("readable").count(), 0);
    assert_eq!((folders.shared().len(), folders.targets().len()), (1, 1));
    assert!(folders.of(FileOrigin::Replicated).is_none());
    folders.target(FileOrigin::Replicated).expect("made");
    assert!(folders.of(FileOrigin::Replicated).is_some());
    assert_eq!((folders.shared().len(), folders.targets().len()), (2, 2));
}

#[test]
fn a_removed_or_replaced_folder_is_opened_again() {
    for layout in [Layout::Flat, Layout::Split] {
        let (dir, folders) = made(layout);
        let path = dir.path().join(layout.folder(FileOrigin::Replicated));
        place(&folders, FileOrigin::Replicated, "old", b"old");
        fs::remove_dir_all(&path).expect("removed");
        assert!(folders.renew().is_empty() && folders.of(FileOrigin::Replicated).is_none());
        place(&folders, FileOrigin::Replicated, "new", b"new");
        assert_eq!(fs::read(path.join("new")).expect("in place"), b"new");
        // Another directory in its place.
        fs::rename(&path, dir.path().join("moved")).expect("moved");
        fs::create_dir(&path).expect("made");
        fs::write(path.join("other"), b"other").expect("written");
        assert!(folders.renew().is_empty());
        assert_eq!(origin(&folders, "other"), FileOrigin::Replicated);
        assert!(folders.visible(&name("new")).is_err());
        // A link in its place.
        fs::remove_dir_all(&path).expect("removed");
        symlink(dir.path().join("moved"), &path).expect("linked");
        assert!(folders.renew().is_empty() && folders.visible(&name("new")).is_err());
        assert!(folders.target(FileOrigin::Replicated).is_err());
    }
}

#[test]
fn every_folder_is_locked_by_one_node() {
    let (dir, folders) = made(Layout::Split);
    for path in [".", "shared", "downloaded", "replicated"] {
        for layout in [Layout::Flat, Layout::Split] {
            let error = open(&dir.path().join(path), layout, None).expect_err("in use");
            assert!(matches!(error, ShareError::InUse { .. }), "{path}: {error:?}");
        }
    }
    let other = tempfile::tempdir().expect("a directory");
    let error = open(other.path(), Layout::Flat, Some(&dir.path().join("downloaded"))).expect_err("in use");
    assert!(matches!(error, ShareError::InUse { .. }), "{error:?}");
    drop(folders);
    drop(open(&dir.path().join("shared"), Layout::Flat, None).expect("free again"));
}

#[test]
fn a_folder_that_is_a_link_or_a_file_is_refused() {
    let outside = tempfile::tempdir().expect("a directory");
    for (folder, origin) in [("shared", FileOrigin::Local), ("downloaded", FileOrigin::Downloaded)] {
        let dir = tempfile::tempdir().expect("a directory");
        symlink(outside.path(), dir.path().join(folder)).expect("linked");
        let error = open(dir.path(), Layout::Split, None).expect_err("a link").to_string();
        assert!(error.contains(Layout::Split.folder(origin)), "{error}");
    }
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("shared"), b"").expect("written");
    assert!(open(dir.path(), Layout::Split, None).is_err());
    let dir = tempfile::tempdir().expect("a directory");
    symlink(outside.path(), dir.path().join(".nearpeer")).expect("linked");
    let folders = open(dir.path(), Layout::Flat, None).expect("folders");
    assert!(folders.target(FileOrigin::Replicated).is_err());
    assert_eq!(fs::read_dir(outside.path()).expect("readable").count(), 0);
}

#[test]
fn downloads_in_a_separate_directory_are_shared_only_within_the_share() {
    let check = |layout: Layout, inside: Option<&str>, expected: Option<(FileOrigin, &str)>| {
        let (dir, other) = (tempfile::tempdir().expect("made"), tempfile::tempdir().expect("made"));
        let save_dir = inside.map_or(other.path().to_owned(), |inside| dir.path().join(inside));
        fs::create_dir_all(&save_dir).expect("made");
        let folders = open(dir.path(), layout, Some(&save_dir)).expect("folders");
        place(&folders, FileOrigin::Downloaded, "sub/d", b"downloaded");
        assert!(save_dir.join("sub/d").is_file() && !dir.path().join("sub").exists());
        let published = folders.published(FileOrigin::Downloaded, &name("sub/d"));
        let expected = expected.map(|(origin, file)| (origin, name(file)));
        assert_eq!(published, expected, "{layout} {inside:?}");
        if let Some((published, file)) = expected {
            assert_eq!(origin(&folders, file.as_str()), published);
        }
        // Replicas are not placed there.
        place(&folders, FileOrigin::Replicated, "r", b"replica");
        assert_eq!(origin(&folders, "r"), FileOrigin::Replicated);
        assert!(folders.saves_apart(FileOrigin::Downloaded) && !folders.saves_apart(FileOrigin::Replicated));
    };
    check(Layout::Flat, None, None);
    check(Layout::Flat, Some("in"), Some((FileOrigin::Downloaded, "in/sub/d")));
    check(Layout::Flat, Some(".in"), None);
    check(Layout::Split, None, None);
    check(Layout::Split, Some("in"), None);
    check(Layout::Split, Some("shared/in"), Some((FileOrigin::Local, "in/sub/d")));
    check(Layout::Split, Some("downloaded/in"), Some((FileOrigin::Downloaded, "in/sub/d")));
}

#[test]
fn the_directory_for_downloads_is_a_separate_one_or_the_usual_one() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = |sub: &str| dir.path().join(sub);
    drop(open(dir.path(), Layout::Split, None).expect("folders"));
    for (layout, same) in [(Layout::Flat, "."), (Layout::Split, "downloaded")] {
        let folders = open(dir.path(), layout, Some(&path(same))).expect("the usual folder");
        assert!(!folders.saves_apart(FileOrigin::Downloaded));
    }
    for other in [".", "shared", "replicated"] {
        let error = open(dir.path(), Layout::Split, Some(&path(other))).expect_err(other);
        assert!(matches!(error, ShareError::Io { .. }), "{error:?}");
    }
    let error = open(dir.path(), Layout::Flat, Some(&path("missing"))).expect_err("missing");
    assert!(matches!(error, ShareError::NoSuchDirectory { .. }), "{error:?}");
}
