//! `walk`: finds the regular files of a share.
//!
//! Never follows a symbolic link, never opens a hidden entry, never waits for a FIFO. One directory is open
//! at a time, however deep the tree is. Entries that vanish during the walk are ignored.

use std::io;

use rustix::fs::{AtFlags, Dir, FileType};
use rustix::io::Errno;

use super::openat;
use super::share::{FileStamp, Share, open_regular};
use crate::rt::{Stop, stop};
use crate::types::{FileName, Printable};

/// A regular file of the share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundFile {
    /// Its path in the share.
    pub name: FileName,
    /// Its stamp when it was found.
    pub stamp: FileStamp,
}

/// An entry that the walk skips for a reason that the user should know.
#[derive(Debug)]
pub struct SkippedEntry {
    /// The reason, escaped.
    pub why: String,
    /// The entry, if it may be all right: the system could not read it now.
    pub unread: Option<Unread>,
}

/// An entry that the system could not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unread {
    /// A file.
    File(FileName),
    /// A directory and all that is in it.
    Dir(FileName),
}

impl SkippedEntry {
    fn for_good(why: String) -> SkippedEntry {
        SkippedEntry { why, unread: None }
    }
}

/// Calls `found` for each file of the share, in no order, and `skip` for each entry that it skips for a
/// reason that the user should know: its name, its permissions, or an error of the system. Hidden entries,
/// symbolic links, FIFOs, sockets and devices are skipped without a warning.
///
/// # Errors
/// When the share's root cannot be read, and `Interrupted` when `stop` was triggered. The files found are
/// incomplete then.
pub fn walk(
    share: &Share,
    stop: &Stop,
    found: &mut dyn FnMut(FoundFile),
    skip: &mut dyn FnMut(SkippedEntry),
) -> io::Result<()> {
    // Directories to read. The depth of a name is limited, so the walk ends even if mounts form a circle.
    let mut pending = Vec::new();
    read_dir(share, None, stop, &mut pending, found, skip)?;
    while let Some(dir) = pending.pop() {
        match read_dir(share, Some(&dir), stop, &mut pending, found, skip) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Err(error),
            Err(error) if has_vanished(&error) => {}
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                skip(SkippedEntry::for_good(format!("skipped directory `{dir}`: {error}")));
            }
            // One entry must not hide all others.
            Err(error) => {
                let why = format!("skipped directory `{dir}` in this scan: {error}");
                skip(SkippedEntry { why, unread: Some(Unread::Dir(dir)) });
            }
        }
    }
    Ok(())
}

/// Reads one directory (`None`: the root). Calls `found` for its files and adds its directories to `pending`.
fn read_dir(
    share: &Share,
    path: Option<&FileName>,
    stop: &Stop,
    pending: &mut Vec<FileName>,
    found: &mut dyn FnMut(FoundFile),
    skip: &mut dyn FnMut(SkippedEntry),
) -> io::Result<()> {
    let mut dir = Dir::new(openat::open_dir(share, path.map_or(".", FileName::as_str))?)?;
    while let Some(entry) = dir.read() {
        if stop.is_triggered() {
            return Err(stop::interrupted());
        }
        let entry = entry?;
        let raw = entry.file_name().to_bytes();
        if raw.starts_with(b".") {
            continue;
        }
        let kind = match entry.file_type() {
            // Some file systems do not store the type in the directory.
            FileType::Unknown => {
                match rustix::fs::statat(dir.fd()?, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW) {
                    Ok(stat) => FileType::from_raw_mode(stat.st_mode),
                    Err(Errno::NOENT) => continue,
                    Err(errno) => {
                        skip(SkippedEntry::for_good(format!(
                            "skipped `{}`: {errno}",
                            escaped_path(path, raw)
                        )));
                        continue;
                    }
                }
            }
            kind => kind,
        };
        if !matches!(kind, FileType::RegularFile | FileType::Directory) {
            continue;
        }
        let Ok(component) = std::str::from_utf8(raw) else {
            skip(SkippedEntry::for_good(format!(
                "skipped `{}`: its name is not UTF-8",
                escaped_path(path, raw)
            )));
            continue;
        };
        let text = path.map_or_else(|| component.to_owned(), |dir| format!("{}/{component}", dir.as_str()));
        let name = match FileName::new(&text) {
            Ok(name) => name,
            Err(error) => {
                skip(SkippedEntry::for_good(format!("skipped: {error}")));
                continue;
            }
        };
        if kind == FileType::Directory {
            pending.push(name);
            continue;
        }
        match open_regular(dir.fd()?, component) {
            Ok(open) => found(FoundFile { name, stamp: open.stamp }),
            // The file has vanished or was replaced by another kind of entry since the directory was read.
            Err(error) if has_vanished(&error) || error.kind() == io::ErrorKind::InvalidInput => {}
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                skip(SkippedEntry::for_good(format!("skipped `{name}`: {error}")));
            }
            Err(error) => {
                let why = format!("skipped `{name}` in this scan: {error}");
                skip(SkippedEntry { why, unread: Some(Unread::File(name)) });
            }
        }
    }
    Ok(())
}

/// Returns true if and only if the error says that an entry has vanished or was replaced.
fn has_vanished(error: &io::Error) -> bool {
    [Errno::NOENT, Errno::NOTDIR, Errno::LOOP]
        .map(|errno| Some(errno.raw_os_error()))
        .contains(&error.raw_os_error())
}

/// The escaped path of an entry whose name may be any bytes.
fn escaped_path(path: Option<&FileName>, raw: &[u8]) -> String {
    let component = String::from_utf8_lossy(raw);
    let component = Printable(&component);
    path.map_or_else(|| component.to_string(), |dir| format!("{dir}/{component}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::fixture;
    use crate::types::limits;
    use rustix::fs::{CWD, Mode, mknodat};
    use std::ffi::OsStr;
    use std::fs;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::os::unix::net::UnixListener;

    /// Names found and warnings, sorted.
    fn walked(share: &Share) -> (Vec<String>, Vec<String>) {
        let (mut names, mut warnings) = (Vec::new(), Vec::new());
        let stop = Stop::new().expect("a descriptor");
        let mut found = |file: FoundFile| {
            assert_eq!(share.open_file(&file.name).expect("opened").stamp, file.stamp);
            names.push(file.name.as_str().to_owned());
        };
        walk(share, &stop, &mut found, &mut |skipped| warnings.push(skipped.why)).expect("walked");
        names.sort();
        warnings.sort();
        (names, warnings)
    }

    #[test]
    fn only_regular_files_are_found() {
        let outside = tempfile::tempdir().expect("a directory");
        fs::write(outside.path().join("secret"), b"secret").expect("written");
        let (dir, share) = fixture::share();
        let path = |name: &str| dir.path().join(name);
        let longest = "x".repeat(255);
        for sub in ["a/b/c", "empty", ".git", ".nearpeer", "a/.hidden"] {
            fs::create_dir_all(path(sub)).expect("made");
        }
        for file in ["top", "a/one", "a/b/c/two", "with space", "größe", &longest] {
            fs::write(path(file), file).expect("written");
        }
        for file in
            [".profile", ".git/config", ".nearpeer/00.part", "a/.hidden/f", "new\nline", "esc\u{1b}[2J"]
        {
            fs::write(path(file), b"").expect("written");
        }
        fs::write(dir.path().join(OsStr::from_bytes(b"latin\xe9")), b"").expect("written");
        fs::create_dir(dir.path().join(OsStr::from_bytes(b"a/dir\xff"))).expect("made");
        fs::write(dir.path().join(OsStr::from_bytes(b"a/dir\xff/f")), b"").expect("written");
        symlink(outside.path().join("secret"), path("to-outside")).expect("linked");
        symlink(outside.path(), path("to-outside-dir")).expect("linked");
        symlink("top", path("to-inside")).expect("linked");
        symlink("a", path("to-inside-dir")).expect("linked");
        symlink(".", path("a/to-itself")).expect("linked");
        symlink("nowhere", path("dangling")).expect("linked");
        mknodat(CWD, path("fifo"), FileType::Fifo, Mode::RWXU, 0).expect("made");
        let _listener = UnixListener::bind(path("socket")).expect("bound");

        let (names, warnings) = walked(&share);
        assert_eq!(names, ["a/b/c/two", "a/one", "größe", "top", "with space", &longest]);
        assert_eq!(
            warnings,
            [
                "skipped `a/dir\u{fffd}`: its name is not UTF-8",
                "skipped `latin\u{fffd}`: its name is not UTF-8",
                "skipped: file name `esc\\u{1b}[2J` contains a control character",
                "skipped: file name `new\\u{a}line` contains a control character",
            ]
        );
    }

    #[test]
    fn entries_deeper_than_a_name_may_be_are_skipped_with_a_warning() {
        let (dir, share) = fixture::share();
        let deepest = vec!["d"; limits::NAME_MAX_DEPTH - 1].join("/");
        fs::create_dir_all(dir.path().join(&deepest).join("d/d/d")).expect("made");
        fs::write(dir.path().join(&deepest).join("f"), b"").expect("written");
        fs::write(dir.path().join(&deepest).join("d/f"), b"").expect("written");
        let (names, warnings) = walked(&share);
        assert_eq!(names, [format!("{deepest}/f")]);
        assert_eq!(warnings.len(), 2, "the file and the directory below the limit: {warnings:?}");
    }

    #[test]
    fn entries_without_permission_are_skipped_with_a_warning() {
        if rustix::process::geteuid().is_root() {
            return; // Root may read everything.
        }
        let (dir, share) = fixture::share();
        fs::create_dir(dir.path().join("closed")).expect("made");
        for (name, mode) in [("closed", 0o000), ("secret", 0o000), ("open", 0o644)] {
            let path = dir.path().join(name);
            if !path.is_dir() {
                fs::write(&path, b"").expect("written");
            }
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("permissions");
        }
        let (names, warnings) = walked(&share);
        fs::set_permissions(dir.path().join("closed"), fs::Permissions::from_mode(0o755))
            .expect("permissions");
        assert_eq!(names, ["open"]);
        assert_eq!(warnings.len(), 2, "{warnings:?}");
    }

    #[test]
    fn entries_that_vanish_during_the_walk_are_ignored() {
        let (dir, share) = fixture::share();
        for name in ["x", "y", "z"] {
            fs::create_dir(dir.path().join(name)).expect("made");
            fs::write(dir.path().join(name).join("in"), b"").expect("written");
            fs::write(dir.path().join(format!("{name}-file")), b"").expect("written");
        }
        let (mut found, mut warnings) = (Vec::new(), Vec::new());
        let mut remove_all_others = |file: FoundFile| {
            for name in ["x", "y", "z"] {
                fs::remove_dir_all(dir.path().join(name)).ok();
                fs::remove_file(dir.path().join(format!("{name}-file"))).ok();
            }
            found.push(file);
        };
        let stop = Stop::new().expect("a descriptor");
        walk(&share, &stop, &mut remove_all_others, &mut |skipped| warnings.push(skipped.why))
            .expect("walked");
        assert_eq!((found.len(), warnings.len()), (1, 0), "{found:?} {warnings:?}");
    }

    #[test]
    fn a_stopped_walk_reports_that_it_is_incomplete() {
        let (dir, share) = fixture::share();
        fs::create_dir(dir.path().join("sub")).expect("made");
        fs::write(dir.path().join("sub/one"), b"").expect("written");
        fs::write(dir.path().join("sub/two"), b"").expect("written");
        let stop = Stop::new().expect("a descriptor");
        let mut count = 0;
        let mut stop_at_first = |_| {
            count += 1;
            stop.trigger();
        };
        let error = walk(&share, &stop, &mut stop_at_first, &mut |_| ()).expect_err("stopped");
        assert_eq!(error.kind(), io::ErrorKind::Interrupted);
        assert_eq!(count, 1);
    }
}
