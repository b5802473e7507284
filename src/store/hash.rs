//! Hashes the files of a share.
//!
//! Reads a file once, with a few pieces in memory. Returns digests only of a file that did not change while
//! it was read.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use md5::{Digest, Md5};
use rustix::io::Errno;
use thiserror::Error;

use super::share::{FileStamp, OpenFile, Share};
use super::verify::piece_digests;
use super::xattr;
use crate::rt::{Stop, clock, stop};
use crate::types::{ContentId, FileName, Geometry, Manifest, Md5Digest};

/// Number of attempts to hash a file that changes while it is read. After them the next scan tries again.
const ATTEMPTS: u32 = 3;
/// The coarsest resolution of file times in use (FAT: 2 s). A file that is this new can change again without
/// a change of its times.
const RACY_NS: u64 = 2_000_000_000;
const READ_BYTES: usize = 256 << 10;
/// Maximum size of the pieces that are hashed together: 8 pieces of a file of up to 4 GiB, fewer of a larger
/// one. Each worker needs this memory.
const BATCH_MAX_BYTES: u64 = 8 << 20;
const _: () =
    assert!(BATCH_MAX_BYTES.is_multiple_of(Geometry::LARGEST_PIECE_BYTES), "a batch is whole pieces");

/// The digests of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hashed {
    /// Digests of its pieces.
    pub manifest: Manifest,
    /// MD5 of all its bytes.
    pub md5: Md5Digest,
    /// Stamp of the file, which was the same before and after the hashing.
    pub stamp: FileStamp,
    /// The last change of the file was less than 2 s before the hashing: an equal stamp later does not prove
    /// that it is unchanged.
    pub racy: bool,
    /// The content that the file was downloaded as; it may have changed since.
    pub mark: Option<ContentId>,
}

/// Why a file was not hashed. The fault is this node's or its user's.
#[derive(Debug, Error)]
pub enum HashError {
    /// It cannot be read.
    #[error("cannot read it: {0}")]
    Io(#[from] io::Error),
    /// It changed during every attempt.
    #[error("it keeps changing: it is published when it does not change any more")]
    Changing,
    /// It would have too many pieces.
    #[error("its size of {0} bytes is above what can be shared")]
    TooLarge(u64),
    /// It is a replica whose content has changed.
    #[error("this copy, kept for other nodes, has changed: remove it, then it can be fetched again")]
    Spoiled,
    /// A stop has ended the hashing.
    #[error("stopped")]
    Stopped,
}

impl HashError {
    /// Returns true if and only if this process lacks a descriptor or memory: then the file may be all right.
    pub fn is_shortage(&self) -> bool {
        matches!(self, HashError::Io(error) if is_shortage(error))
    }

    /// Returns true if and only if the reason can pass while the user changes nothing: another program writes
    /// or locks the file, or the system fails.
    pub fn can_pass(&self) -> bool {
        match self {
            HashError::Io(error) => !self.is_absence() && error.kind() != io::ErrorKind::PermissionDenied,
            HashError::Changing => true,
            HashError::TooLarge(_) | HashError::Spoiled | HashError::Stopped => false,
        }
    }

    /// Returns true if and only if there is no file to share at the name, or the hashing was stopped: then
    /// the user needs no notice.
    pub fn is_absence(&self) -> bool {
        match self {
            HashError::Io(error) => {
                // `InvalidInput`: the entry is not a regular file.
                matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidInput)
            }
            HashError::Stopped => true,
            HashError::Changing | HashError::TooLarge(_) | HashError::Spoiled => false,
        }
    }
}

/// Returns true if and only if the process or the system lacks a descriptor or memory.
pub fn is_shortage(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM))
}

/// Hashes a file. The buffer takes 8 MiB, or the size of a smaller file.
///
/// # Errors
/// [`HashError`]; `stop` is checked once for each piece.
pub fn hash_file(share: &Share, name: &FileName, stop: &Stop) -> Result<Hashed, HashError> {
    hash_opened(|| share.open_file(name), stop)
}

/// Hashes the file that `open` opens. Each attempt opens it again: a program that replaces a file does not
/// change the old file, which may still be open.
fn hash_opened(mut open: impl FnMut() -> io::Result<OpenFile>, stop: &Stop) -> Result<Hashed, HashError> {
    for _ in 0..ATTEMPTS {
        let OpenFile { file, stamp } = open()?;
        let began_ns = clock::wall_ns();
        let hashed = hash_pieces(&file, stamp.size_bytes, stop)?;
        if let Some((manifest, md5)) = hashed
            && FileStamp::of(&file)? == stamp
        {
            let mark = xattr::of(&file);
            return Ok(Hashed { manifest, md5, stamp, racy: is_racy(&stamp, began_ns), mark });
        }
    }
    Err(HashError::Changing)
}

/// Returns true if and only if a time of the file is so near to `now_ns` that a later change might get the
/// same times.
fn is_racy(stamp: &FileStamp, now_ns: i64) -> bool {
    [stamp.mtime_ns, stamp.ctime_ns].iter().any(|ns| ns.abs_diff(now_ns) < RACY_NS)
}

/// The digests of an open file of this size; `None` if it is shorter.
fn hash_pieces(
    file: &File,
    size_bytes: u64,
    stop: &Stop,
) -> Result<Option<(Manifest, Md5Digest)>, HashError> {
    let geometry = Geometry::of(size_bytes);
    let count = geometry.count().ok_or(HashError::TooLarge(size_bytes))?;
    let piece_len = geometry.piece_len_bytes();
    let mut buffer = vec![0; size_bytes.min(BATCH_MAX_BYTES) as usize];
    let mut pieces = Vec::new();
    let mut whole = Md5::new();
    for first in (0..count).step_by((BATCH_MAX_BYTES / piece_len) as usize) {
        let begin = u64::from(first) * piece_len;
        let batch = &mut buffer[..(size_bytes - begin).min(BATCH_MAX_BYTES) as usize];
        let mut offset = begin;
        for piece in batch.chunks_mut(piece_len as usize) {
            if stop.is_triggered() {
                return Err(HashError::Stopped);
            }
            match file.read_exact_at(piece, offset) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
                Err(error) => return Err(error.into()),
            }
            // The MD5 of a single piece is that of the file: it is computed once.
            if count > 1 {
                whole.update(&*piece);
            }
            offset += piece.len() as u64;
        }
        let batch: Vec<&[u8]> = batch.chunks(piece_len as usize).collect();
        pieces.extend(piece_digests(&geometry, first, &batch));
    }
    let md5 = match pieces.as_slice() {
        [only] => only.md5,
        _ => Md5Digest(whole.finalize().into()),
    };
    Ok(Some((Manifest::of_hashed(size_bytes, pieces), md5)))
}

/// MD5 of the first `size_bytes` bytes of a file.
///
/// # Errors
/// The error of the system; `UnexpectedEof` if the file is shorter; `Interrupted` when `stop` was triggered.
pub fn whole_md5(file: &File, size_bytes: u64, stop: &Stop) -> io::Result<Md5Digest> {
    md5_of_reads(size_bytes, stop, |offset, out| file.read_exact_at(out, offset))
}

/// [`whole_md5`] of the bytes that `read` gives: it fills its buffer from the given offset.
pub(super) fn md5_of_reads(
    size_bytes: u64,
    stop: &Stop,
    mut read: impl FnMut(u64, &mut [u8]) -> io::Result<()>,
) -> io::Result<Md5Digest> {
    let mut buffer = vec![0; READ_BYTES];
    let mut whole = Md5::new();
    let mut offset = 0;
    while offset < size_bytes {
        if stop.is_triggered() {
            return Err(stop::interrupted());
        }
        let chunk = &mut buffer[..(size_bytes - offset).min(READ_BYTES as u64) as usize];
        read(offset, chunk)?;
        whole.update(&*chunk);
        offset += chunk.len() as u64;
    }
    Ok(Md5Digest(whole.finalize().into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::fixture;
    use std::fs;

    const MIB: usize = 1 << 20;

    fn content(len: usize) -> Vec<u8> {
        (0..len).map(|i| (i * 31 % 251) as u8).collect()
    }

    fn md5_of(bytes: &[u8]) -> Md5Digest {
        Md5Digest(Md5::digest(bytes).into())
    }

    #[test]
    fn the_digests_of_files_of_each_kind_of_size_are_right() {
        let (dir, share) = fixture::share();
        let stop = Stop::new().expect("a descriptor");
        let name = FileName::new("f").expect("a name");
        for len in [9 * MIB + 7919, 0, 1, MIB - 1, MIB, MIB + 1, 2 * MIB, 8 * MIB, 8 * MIB + 1, 16 * MIB, 77]
        {
            let bytes = content(len);
            fs::write(dir.path().join("f"), &bytes).expect("written");
            let hashed = hash_file(&share, &name, &stop).expect("hashed");
            assert_eq!(hashed.manifest.key().id.0, *blake3::hash(&bytes).as_bytes(), "length {len}");
            assert_eq!(hashed.manifest.key().size_bytes, len as u64);
            assert_eq!(hashed.md5, md5_of(&bytes), "length {len}");
            let piece_md5s: Vec<_> = hashed.manifest.pieces().iter().map(|piece| piece.md5).collect();
            assert_eq!(piece_md5s, bytes.chunks(MIB).map(md5_of).collect::<Vec<_>>(), "length {len}");
            let open = share.open_file(&name).expect("opened");
            assert_eq!(hashed.stamp, open.stamp);
            assert!(hashed.racy, "it was written just now");
            assert_eq!(whole_md5(&open.file, len as u64, &stop).expect("hashed"), md5_of(&bytes));
        }
    }

    /// Hashes a file of `MIB + 5` bytes. Changes it by `change` after each of the first `times` openings.
    fn hash_changed(times: u32, change: fn(&File)) -> Result<Hashed, HashError> {
        let (dir, share) = fixture::share();
        let path = dir.path().join("f");
        fs::write(&path, content(MIB + 5)).expect("written");
        let mut opened = 0;
        let open = || {
            let open = share.open_file(&FileName::new("f").expect("a name"))?;
            opened += 1;
            if opened <= times {
                change(&File::options().write(true).open(&path)?);
            }
            Ok(open)
        };
        hash_opened(open, &Stop::new().expect("a descriptor"))
    }

    #[test]
    fn a_file_that_changes_is_hashed_again_and_refused_after_the_last_attempt() {
        let shrink: fn(&File) = |file| {
            let len = file.metadata().expect("its length").len();
            file.set_len(len - 1).expect("shortened");
        };
        let grow: fn(&File) = |file| {
            let len = file.metadata().expect("its length").len();
            file.set_len(len + 1).expect("lengthened");
        };
        // Same size, other bytes. The time is set because the clock's grain may be coarser than this test.
        let overwrite: fn(&File) = |file| {
            let modified = file.metadata().and_then(|metadata| metadata.modified()).expect("its time");
            file.write_all_at(b"other", 3).expect("written");
            file.set_modified(modified + std::time::Duration::from_secs(1)).expect("time set");
        };
        for change in [shrink, grow, overwrite] {
            let hashed = hash_changed(ATTEMPTS - 1, change).expect("stood still at the last attempt");
            assert_ne!(hashed.manifest.key().id.0, *blake3::hash(&content(MIB + 5)).as_bytes());
            assert!(matches!(hash_changed(ATTEMPTS, change), Err(HashError::Changing)));
        }
    }

    #[test]
    fn a_stop_ends_the_hashing_and_a_missing_file_is_an_error() {
        let (dir, share) = fixture::share();
        fs::write(dir.path().join("f"), b"bytes").expect("written");
        let stop = Stop::new().expect("a descriptor");
        let hash = |name| hash_file(&share, &FileName::new(name).expect("a name"), &stop);
        let missing = hash("missing");
        assert!(matches!(missing, Err(HashError::Io(error)) if error.kind() == io::ErrorKind::NotFound));
        stop.trigger();
        assert!(matches!(hash("f"), Err(HashError::Stopped)));
        let file = File::open(dir.path().join("f")).expect("opened");
        assert_eq!(whole_md5(&file, 5, &stop).expect_err("stopped").kind(), io::ErrorKind::Interrupted);
    }

    #[test]
    fn a_file_with_a_time_within_two_seconds_is_racy() {
        for (mtime_ns, ctime_ns, now_ns, racy) in [
            (0, 0, 1_999_999_999, true),
            (0, 0, 2_000_000_000, false),
            (0, 5_000_000_000, 6_000_000_000, true),
            (5_000_000_000, 0, 6_000_000_000, true),
            (6_000_000_000, 6_000_000_000, 5_000_000_000, true),
            (i64::MAX, i64::MIN, 0, false),
        ] {
            let stamp = FileStamp { dev: 1, ino: 1, size_bytes: 1, mtime_ns, ctime_ns };
            assert_eq!(is_racy(&stamp, now_ns), racy, "{mtime_ns} {ctime_ns} {now_ns}");
        }
    }
}
