//! Tests of partial files: the final name and the files after each fault, crash and damage.

mod faults;
mod kept;
mod placing;

use super::error::PartialError;
use super::file::{Opened, Partial};
use super::io::allocated_bytes;
use super::leftover::LeftoverPart;
use super::place::{Placed, take_over};
use super::record::Record;
use super::sweep::{SweepReport, quarantine, remove_all, resumable, resumable_record, sweep};
use crate::rt::Stop;
use crate::store::disk::Op;
use crate::store::names::PARTIALS_DIR;
use crate::store::share::{FileStamp, Share};
use crate::store::{FaultyDisk, RealDisk, fixture};
use crate::types::{ContentId, ContentKey, FileName, Geometry, Manifest, PieceDigests};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::fs;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;
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

/// A partial file with all its bytes.
fn written(share: &Arc<Share>) -> Result<Partial, PartialError> {
    let partial = Partial::open(share, key())?.partial;
    partial.write_piece(3, &BYTES[3..])?;
    partial.write_piece(0, &BYTES[..3])?;
    Ok(partial)
}

/// A whole download; a file that cannot be placed is discarded.
fn download(share: &Arc<Share>, target: &str, force: bool) -> Result<Placed, PartialError> {
    written(share)?.place(&name(target), force).map_err(|(partial, error)| {
        partial.discard().expect("removed");
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

/// Opens the partial file of the large content, writes its record and these pieces.
fn begun(share: &Arc<Share>, target: &str, pieces: &[u32]) -> Partial {
    let partial = Partial::open(share, large_key()).expect("opened").partial;
    partial.write_record(&record(target)).expect("written");
    for index in pieces {
        partial.write_piece(range(*index).start as u64, piece(*index)).expect("written");
    }
    partial
}

/// Downloads like a node: verifies the marked pieces, fetches the others, and places the file; quarantines it
/// after a failure. Returns the number of pieces fetched.
fn resume(share: &Arc<Share>, target: &str, force: bool) -> Result<usize, PartialError> {
    let Opened { partial, marked, .. } = Partial::open(share, large_key())?;
    let is_right = |index: &u32| {
        let mut bytes = vec![0; range(*index).len()];
        partial.read_piece(range(*index).start as u64, &mut bytes).is_ok()
            && MANIFEST.check(*index, &bytes).is_ok()
    };
    let right: Vec<u32> = marked.into_iter().filter(is_right).collect();
    let missing: Vec<u32> = (0..3).filter(|index| !right.contains(index)).collect();
    let fetched = partial.write_record(&Record { force, ..record(target) }).and_then(|()| {
        missing.iter().try_for_each(|index| partial.write_piece(range(*index).start as u64, piece(*index)))
    });
    if let Err(error) = fetched {
        partial.quarantine();
        return Err(error);
    }
    let placed = partial.place(&name(target), force).map_err(|(partial, error)| {
        partial.quarantine();
        error
    });
    placed.map(|_| missing.len())
}

fn reopened(dir: &TempDir) -> Arc<Share> {
    Arc::new(Share::open(dir.path(), Arc::new(RealDisk)).expect("free again"))
}

/// The records of all resumable downloads, in their order.
fn resumable_records(share: &Share) -> Vec<Record> {
    let record = |(name, key)| {
        let record = resumable_record(share, key).expect("listed");
        assert_eq!((&record.name, record.key), (&name, key));
        record
    };
    resumable(share).into_iter().map(record).collect()
}

/// Names in the directory of the partial files, without the id.
fn left(dir: &TempDir) -> Vec<String> {
    let entries = fs::read_dir(dir.path().join(PARTIALS_DIR)).into_iter().flatten();
    let mut names: Vec<_> =
        entries.map(|entry| entry.expect("read").file_name().into_string().expect("text")).collect();
    names.iter_mut().for_each(|name| *name = name.replace(&large_key().id.to_string(), ""));
    names.sort();
    names
}

fn left_path(dir: &TempDir, kind: LeftoverPart) -> std::path::PathBuf {
    dir.path().join(PARTIALS_DIR).join(kind.name(large_key().id))
}

/// All entries below a directory except the directory of the partial files itself: path, and content or kind.
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
            } else if shown != PARTIALS_DIR {
                found.insert(shown, format!("{kind:?}"));
            }
            if kind.is_dir() {
                pending.push(path);
            }
        }
    }
    found
}
