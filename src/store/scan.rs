//! The walk of a share: which regular files it has.
//!
//! Never follows a symbolic link, never opens anything hidden, never waits for a FIFO. One directory is open at a time, however deep the
//! tree; what vanishes meanwhile was never there.

use std::io;

use rustix::fs::{AtFlags, Dir, FileType};
use rustix::io::Errno;

use super::share::{FileStamp, Share, open_regular};
use super::{beneath, stopped};
use crate::rt::Stop;
use crate::types::{FileName, Printable};

/// A regular file that the walk came by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundFile {
    pub name: FileName,
    pub stamp: FileStamp,
}

/// Hands each file of the share to `found`, in no order, and what was left out for a reason that its owner should know to `warn` (escaped
/// text). Hidden entries, symbolic links, FIFOs, sockets and devices are passed over in silence.
///
/// # Errors
/// When the share's root cannot be read, and `Interrupted` when `stop` was triggered: the files found are then not all there are.
pub fn walk(
    share: &Share,
    stop: &Stop,
    found: &mut dyn FnMut(FoundFile),
    warn: &mut dyn FnMut(String),
) -> io::Result<()> {
    // Directories still to be read. Each is a valid name, whose depth is limited, so that this ends even where mounts make a circle.
    let mut pending = Vec::new();
    read_dir(share, None, stop, &mut pending, found, warn)?;
    while let Some(dir) = pending.pop() {
        match read_dir(share, Some(&dir), stop, &mut pending, found, warn) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Err(error),
            Err(error) if vanished(&error) => {}
            Err(error) => warn(format!("skipped directory `{dir}`: {error}")),
        }
    }
    Ok(())
}

/// Reads one directory (`None`: the root): its files go to `found`, its directories to `pending`.
fn read_dir(
    share: &Share,
    path: Option<&FileName>,
    stop: &Stop,
    pending: &mut Vec<FileName>,
    found: &mut dyn FnMut(FoundFile),
    warn: &mut dyn FnMut(String),
) -> io::Result<()> {
    let mut dir = Dir::new(beneath::open_dir(share, path.map_or(".", FileName::as_str))?)?;
    while let Some(entry) = dir.read() {
        if stop.is_triggered() {
            return Err(stopped());
        }
        let entry = entry?;
        let raw = entry.file_name().to_bytes();
        if raw.starts_with(b".") {
            continue;
        }
        let kind = match entry.file_type() {
            FileType::Unknown => {
                match rustix::fs::statat(dir.fd()?, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW) {
                    Ok(stat) => FileType::from_raw_mode(stat.st_mode),
                    Err(Errno::NOENT) => continue,
                    Err(errno) => {
                        warn(format!("skipped `{}`: {errno}", shown(path, raw)));
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
            warn(format!("skipped `{}`: its name is not UTF-8", shown(path, raw)));
            continue;
        };
        let text = path.map_or_else(|| component.to_owned(), |dir| format!("{}/{component}", dir.as_str()));
        let name = match FileName::new(&text) {
            Ok(name) => name,
            Err(error) => {
                warn(format!("skipped: {error}"));
                continue;
            }
        };
        if kind == FileType::Directory {
            pending.push(name);
            continue;
        }
        match open_regular(dir.fd()?, component) {
            Ok(open) => found(FoundFile { name, stamp: open.stamp }),
            // Vanished, or something else has taken its place since the directory was read.
            Err(error) if vanished(&error) || error.kind() == io::ErrorKind::InvalidInput => {}
            Err(error) => warn(format!("skipped `{name}`: {error}")),
        }
    }
    Ok(())
}

/// Returns true if and only if what was to be opened is no longer there as it was.
fn vanished(error: &io::Error) -> bool {
    [Errno::NOENT, Errno::NOTDIR, Errno::LOOP]
        .map(|errno| Some(errno.raw_os_error()))
        .contains(&error.raw_os_error())
}

/// Escaped form of an entry whose name may be any bytes.
fn shown(path: Option<&FileName>, raw: &[u8]) -> String {
    let component = String::from_utf8_lossy(raw);
    let component = Printable(&component);
    path.map_or_else(|| component.to_string(), |dir| format!("{dir}/{component}"))
}
