//! Digests of the share's files.
//!
//! One pass over a file in memory of one piece. Digests are given out only for a file that stood still meanwhile.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use md5::{Digest, Md5};
use thiserror::Error;

use super::share::{FileStamp, OpenFile, Share};
use super::stopped;
use crate::rt::{Stop, clock};
use crate::types::{FileName, Geometry, Manifest, Md5Digest, PieceDigests};

/// How often a file that changes under the hashing is begun anew before it is left for the next scan.
const ATTEMPTS: u32 = 3;
/// Grain of the coarsest file times in use (FAT: 2 s).
const RACY_NS: u64 = 2_000_000_000;
const READ_BYTES: usize = 256 << 10;

/// The digests of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hashed {
    pub manifest: Manifest,
    pub md5: Md5Digest,
    /// Of the file that was hashed, unchanged while it was.
    pub stamp: FileStamp,
    /// The file was changed within 2 s of the hashing: an equal stamp later does not prove that it is unchanged.
    pub racy: bool,
}

/// Why a file was not hashed. Our side's fault, or its owner's.
#[derive(Debug, Error)]
pub enum HashError {
    #[error("cannot read it: {0}")]
    Io(#[from] io::Error),
    #[error("it keeps changing: it is published when it stands still")]
    Changing,
    #[error("its size of {0} bytes is above what can be shared")]
    TooLarge(u64),
    #[error("stopped")]
    Stopped,
}

/// Hashes a file. `buffer` is kept by the caller from file to file and grows to one piece (at most 4 MiB).
///
/// # Errors
/// [`HashError`]; `stop` is looked at once a piece.
pub fn hash_file(
    share: &Share,
    name: &FileName,
    stop: &Stop,
    buffer: &mut Vec<u8>,
) -> Result<Hashed, HashError> {
    for _ in 0..ATTEMPTS {
        // Opened anew each time: a program that replaces the file leaves the old one to those who have it open.
        let OpenFile { file, stamp } = share.open_file(name)?;
        let began_ns = clock::wall_ns();
        let hashed = hash_pieces(&file, stamp.size_bytes, stop, buffer)?;
        if let Some((manifest, md5)) = hashed
            && FileStamp::of(&file)? == stamp
        {
            let racy = [stamp.mtime_ns, stamp.ctime_ns].iter().any(|ns| ns.abs_diff(began_ns) < RACY_NS);
            return Ok(Hashed { manifest, md5, stamp, racy });
        }
    }
    Err(HashError::Changing)
}

/// The digests of an open file of that size; `None` if it turns out to be shorter.
fn hash_pieces(
    file: &File,
    size_bytes: u64,
    stop: &Stop,
    buffer: &mut Vec<u8>,
) -> Result<Option<(Manifest, Md5Digest)>, HashError> {
    let geometry = Geometry::of(size_bytes);
    let count = geometry.count().ok_or(HashError::TooLarge(size_bytes))?;
    let mut pieces = Vec::new();
    let mut whole = Md5::new();
    for index in 0..count {
        if stop.is_triggered() {
            return Err(HashError::Stopped);
        }
        let range = geometry.range(index).expect("index is below the count");
        let len = (range.end - range.start) as usize;
        if buffer.len() < len {
            buffer.resize(len, 0);
        }
        let piece = &mut buffer[..len];
        match file.read_exact_at(piece, range.start) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        pieces.push(PieceDigests::of(&geometry, index, piece));
        if count > 1 {
            whole.update(piece);
        }
    }
    let md5 = match pieces.as_slice() {
        [only] => only.md5,
        _ => Md5Digest(whole.finalize().into()),
    };
    Ok(Some((Manifest::of_hashed(size_bytes, pieces), md5)))
}

/// MD5 of the first `size_bytes` of a file, which is all of a file that was placed.
///
/// # Errors
/// What the system says; `UnexpectedEof` if the file is shorter; `Interrupted` when `stop` was triggered.
pub fn whole_md5(file: &File, size_bytes: u64, stop: &Stop) -> io::Result<Md5Digest> {
    let mut buffer = vec![0; READ_BYTES];
    let mut whole = Md5::new();
    let mut offset = 0;
    while offset < size_bytes {
        if stop.is_triggered() {
            return Err(stopped());
        }
        let part = &mut buffer[..(size_bytes - offset).min(READ_BYTES as u64) as usize];
        file.read_exact_at(part, offset)?;
        whole.update(&*part);
        offset += part.len() as u64;
    }
    Ok(Md5Digest(whole.finalize().into()))
}
