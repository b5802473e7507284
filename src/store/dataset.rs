//! Writes a generated data set into an empty share: pseudo-random files that every user can make again from
//! the same seed and names.
//!
//! A file is written under a hidden name and renamed when it is whole and synced. So an incomplete file is
//! never shared, whatever ends the program. While a data set is not complete, there is a mark in
//! `.nearpeer/`; the next call completes the data set. An entry that exists at a name is never replaced.
//! Memory does not grow with the files.
//!
//! The bytes of a file are the extendable output of BLAKE3, keyed for this use, over the seed (8 bytes,
//! little endian) and the name: <https://github.com/BLAKE3-team/BLAKE3-specs>, sections 2.3 and 2.6.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::{Errno, retry_on_intr};
use thiserror::Error;

use super::disk::{At, Op};
use super::names::PARTIALS_DIR;
use super::openat;
use super::partial::write_all;
use super::scan::walk;
use super::share::{PathEntry, Share};
use super::share_folders::ShareFolders;
use crate::rt::Stop;
use crate::types::{DatasetSpec, FileName, FileOrigin, Printable};

const CONTEXT: &str = "nearpeer 2026 generated data set";
/// The mark: an empty file in the directory of the partial files, whose names begin with a content id.
const MARK: &str = "dataset";
/// The file that is being written, in the same directory.
const TEMPORARY: &str = "dataset.tmp";
const CHUNK_BYTES: usize = 1 << 20;

/// A data set to generate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dataset {
    /// Number and sizes of the files.
    pub spec: DatasetSpec,
    /// How the names of the files begin: [`DatasetSpec::files`].
    pub prefix: String,
    /// Equal seeds and names make equal files.
    pub seed: u64,
}

/// The files that one call has written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Generated {
    /// Number of files.
    pub files: usize,
    /// The sum of their sizes.
    pub bytes: u64,
}

/// Why a data set is not written, or not complete. The fault is this node's or its user's.
#[derive(Debug, Error)]
pub enum DatasetError {
    /// No file name can begin with this prefix.
    #[error("`{0}` cannot begin the name of a file: give another one")]
    Prefix(String),
    /// The disk is too full.
    #[error("the data set needs {needed_bytes} bytes and {free_bytes} are free: free some, or generate less")]
    NoSpace {
        /// Size of the data set.
        needed_bytes: u64,
        /// Free space.
        free_bytes: u64,
    },
    /// The share cannot be read, or its folder of local files cannot be created.
    #[error("the share cannot be read: {0}")]
    Look(std::io::Error),
    /// A file cannot be written.
    #[error("the data set cannot be written: cannot {op}: {errno}")]
    Disk {
        /// The disk operation that failed.
        op: Op,
        /// The error of the system.
        errno: Errno,
    },
    /// The stop was triggered.
    #[error("stopped")]
    Stopped,
}

/// Writes the data set among the local files if no folder of the node has a visible file, or if an earlier
/// call has begun a data set. Otherwise returns `None` and writes nothing.
///
/// # Errors
/// [`DatasetError`]. The free space is checked before a file is written. Files that are written before the
/// error stay, and are whole.
pub fn generate(
    folders: &ShareFolders,
    dataset: &Dataset,
    stop: &Stop,
) -> Result<Option<Generated>, DatasetError> {
    let files = dataset.spec.files(&dataset.prefix);
    let files = files.ok_or_else(|| DatasetError::Prefix(Printable(&dataset.prefix).to_string()))?;
    let share = folders
        .target(FileOrigin::Local)
        .map_err(|error| DatasetError::Look(std::io::Error::other(error)))?;
    let is_begun = openat::look(&*share, &format!("{PARTIALS_DIR}/{MARK}")).is_ok();
    if !is_begun && has_files(folders, stop)? {
        return Ok(None);
    }
    let mut missing = Vec::new();
    for (name, size_bytes) in files {
        if share.path_entry(&name).map_err(DatasetError::Look)? == PathEntry::Nothing {
            missing.push((name, size_bytes));
        }
    }
    let needed_bytes = missing.iter().map(|(_, size_bytes)| size_bytes).sum();
    let free_bytes = share.disk().free_bytes(share.as_fd()).map_err(failed(Op::FreeBytes))?;
    if needed_bytes > free_bytes {
        return Err(DatasetError::NoSpace { needed_bytes, free_bytes });
    }
    let writer = Writer::new(&share)?;
    let mut generated = Generated::default();
    for (name, size_bytes) in missing {
        writer.write(&name, size_bytes, dataset.seed, stop)?;
        generated.files += 1;
        generated.bytes += size_bytes;
    }
    writer.finish()?;
    Ok(Some(generated))
}

/// Returns true if and only if a folder has a visible file.
fn has_files(folders: &ShareFolders, stop: &Stop) -> Result<bool, DatasetError> {
    for (_, folder) in folders.shared() {
        let mut files = 0;
        walk(&folder, stop, &mut |_| files += 1, &mut |_| ()).map_err(|error| match error.kind() {
            std::io::ErrorKind::Interrupted => DatasetError::Stopped,
            _ => DatasetError::Look(error),
        })?;
        if files > 0 {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Makes an error of the system in operation `op` a [`DatasetError`].
fn failed(op: Op) -> impl Fn(Errno) -> DatasetError {
    move |errno| DatasetError::Disk { op, errno }
}

/// Writes the files of a data set into a share that has the mark.
struct Writer<'a> {
    share: &'a Share,
    partials_dir: OwnedFd,
}

impl<'a> Writer<'a> {
    fn new(share: &'a Share) -> Result<Writer<'a>, DatasetError> {
        let partials_dir =
            super::partial::open_partials_dir(share).map_err(|(op, errno)| failed(op)(errno))?;
        let writer = Writer { share, partials_dir };
        writer.remove(TEMPORARY)?;
        match share.disk().create(writer.partials_dir.as_fd(), MARK) {
            Ok(_) => writer.sync_dir(&writer.partials_dir)?,
            Err(Errno::EXIST) => {}
            Err(errno) => return Err(failed(Op::Create)(errno)),
        }
        Ok(writer)
    }

    fn write(&self, name: &FileName, size_bytes: u64, seed: u64, stop: &Stop) -> Result<(), DatasetError> {
        let disk = self.share.disk();
        let file = disk.create(self.partials_dir.as_fd(), TEMPORARY).map_err(failed(Op::Create))?;
        let from = At { dir: self.partials_dir.as_fd(), name: TEMPORARY };
        let to = At { dir: self.share.as_fd(), name: name.as_str() };
        let written = self.fill(&file, name, size_bytes, seed, stop).and_then(|()| {
            retry_on_intr(|| disk.sync_file(&file)).map_err(failed(Op::SyncFile))?;
            disk.rename_no_replace(from, to).map_err(failed(Op::RenameNoReplace))
        });
        if written.is_err() {
            // If this fails too, the file is hidden, and the next call removes it.
            self.remove(TEMPORARY).ok();
        }
        written
    }

    fn fill(
        &self,
        file: &File,
        name: &FileName,
        size_bytes: u64,
        seed: u64,
        stop: &Stop,
    ) -> Result<(), DatasetError> {
        let mut bytes = blake3::Hasher::new_derive_key(CONTEXT)
            .update(&seed.to_le_bytes())
            .update(name.as_str().as_bytes())
            .finalize_xof();
        let mut chunk = vec![0; size_bytes.min(CHUNK_BYTES as u64) as usize];
        for offset in (0..size_bytes).step_by(CHUNK_BYTES) {
            if stop.is_triggered() {
                return Err(DatasetError::Stopped);
            }
            let chunk = &mut chunk[..(size_bytes - offset).min(CHUNK_BYTES as u64) as usize];
            bytes.fill(chunk);
            write_all(self.share.disk(), file, offset, chunk).map_err(failed(Op::Write))?;
        }
        Ok(())
    }

    /// Removes the mark. First it makes the names of the files durable.
    fn finish(&self) -> Result<(), DatasetError> {
        retry_on_intr(|| self.share.disk().sync_dir(self.share.as_fd())).map_err(failed(Op::SyncDir))?;
        self.remove(MARK)?;
        self.sync_dir(&self.partials_dir)
    }

    fn remove(&self, name: &str) -> Result<(), DatasetError> {
        match self.share.disk().unlink(At { dir: self.partials_dir.as_fd(), name }) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(failed(Op::Unlink)(errno)),
        }
    }

    fn sync_dir(&self, dir: &OwnedFd) -> Result<(), DatasetError> {
        retry_on_intr(|| self.share.disk().sync_dir(dir.as_fd())).map_err(failed(Op::SyncDir))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Disk, FaultyDisk, RealDisk};
    use crate::types::Layout;
    use std::collections::BTreeMap;
    use std::fs;
    use std::path::Path;
    use std::sync::Arc;

    fn dataset(spec: &str, seed: u64) -> Dataset {
        Dataset { spec: spec.parse().expect(spec), prefix: "p".into(), seed }
    }

    fn generate_on(
        dir: &Path,
        layout: Layout,
        dataset: &Dataset,
        disk: Arc<dyn Disk>,
    ) -> Result<Option<Generated>, DatasetError> {
        let folders = ShareFolders::open(dir, layout, None, disk).expect("folders");
        generate(&folders, dataset, &Stop::new().expect("a descriptor"))
    }

    fn generated(dir: &Path, layout: Layout, dataset: &Dataset) -> Option<Generated> {
        generate_on(dir, layout, dataset, Arc::new(RealDisk)).expect("generated")
    }

    /// The visible files, and the number of hidden ones.
    fn left(dir: &Path) -> (BTreeMap<String, Vec<u8>>, usize) {
        let name = |entry: &fs::DirEntry| entry.file_name().into_string().expect("UTF-8");
        let entries = fs::read_dir(dir).expect("readable").map(|entry| entry.expect("an entry"));
        let files = entries.filter(|entry| entry.path().is_file());
        let files = files.map(|entry| (name(&entry), fs::read(entry.path()).expect("readable"))).collect();
        (files, fs::read_dir(dir.join(".nearpeer")).map_or(0, Iterator::count))
    }

    #[test]
    fn equal_seeds_make_equal_files_and_another_seed_makes_other_files() {
        let [one, same, other] = [1, 1, 2].map(|seed| {
            let dir = tempfile::tempdir().expect("a directory");
            let done = generated(dir.path(), Layout::Flat, &dataset("3x1KiB,1x2MiB,1x1", seed));
            assert_eq!(done, Some(Generated { files: 5, bytes: (3 << 10) + (2 << 20) + 1 }));
            let (files, hidden) = left(dir.path());
            assert_eq!(hidden, 0);
            files
        });
        assert_eq!(one.len(), 5);
        assert!(one == same, "reproducible");
        assert!(one.keys().eq(other.keys()) && one != other);
        assert_ne!(one["p_1KiB_0001.bin"], one["p_1KiB_0002.bin"]);
        // The bytes of a name and a seed must never change: data sets are compared between machines.
        let known = blake3::Hasher::new_derive_key("nearpeer 2026 generated data set")
            .update(&1u64.to_le_bytes())
            .update(b"p_1KiB_0003.bin")
            .finalize();
        assert_eq!(one["p_1KiB_0003.bin"][..32], *known.as_bytes());
    }

    #[test]
    fn a_data_set_is_written_only_into_a_share_without_visible_files_in_each_layout() {
        for layout in [Layout::Flat, Layout::Split] {
            for origin in FileOrigin::ALL {
                let dir = tempfile::tempdir().expect("a directory");
                let folder = dir.path().join(layout.folder(origin));
                fs::create_dir_all(folder.join("sub")).expect("made");
                fs::write(folder.join(".hidden"), b"hidden").expect("written");
                fs::write(folder.join("sub/f"), b"there").expect("written");
                let dataset = dataset("2x1KiB", 1);
                assert_eq!(generated(dir.path(), layout, &dataset), None, "{layout} {origin}");
                fs::remove_file(folder.join("sub/f")).expect("removed");
                assert_eq!(generated(dir.path(), layout, &dataset).map(|done| done.files), Some(2));
                assert!(dir.path().join(layout.folder(FileOrigin::Local)).join("p_1KiB_0002.bin").is_file());
                assert_eq!(generated(dir.path(), layout, &dataset), None, "it is full");
            }
        }
    }

    #[test]
    fn after_a_failure_at_any_disk_call_only_whole_files_exist_and_the_next_call_writes_the_others() {
        let dataset = dataset("2x1KiB,1x2MiB", 1);
        let whole = tempfile::tempdir().expect("a directory");
        let recorded = Arc::new(FaultyDisk::new());
        let done = generate_on(whole.path(), Layout::Flat, &dataset, Arc::clone(&recorded) as Arc<dyn Disk>);
        assert!(done.is_ok_and(|done| done.is_some()));
        let (whole, _) = left(whole.path());
        let calls = recorded.calls().len();
        let mut incomplete = 0;
        for nth in 1..=calls {
            for disk in [
                FaultyDisk::new().fail_everything_from(nth, Errno::IO),
                FaultyDisk::new().fail(recorded.calls()[nth - 1], 1, Errno::IO),
            ] {
                let dir = tempfile::tempdir().expect("a directory");
                let done = generate_on(dir.path(), Layout::Flat, &dataset, Arc::new(disk));
                assert!(matches!(done, Err(DatasetError::Disk { errno: Errno::IO, .. })), "{nth}: {done:?}");
                let (files, _) = left(dir.path());
                assert!(files.iter().all(|(name, bytes)| whole[name] == *bytes), "{nth}: half a file");
                incomplete += usize::from(!files.is_empty() && files.len() < whole.len());
                generated(dir.path(), Layout::Flat, &dataset);
                let (files, hidden) = left(dir.path());
                assert!(files == whole && hidden == 0, "{nth}: {:?}, {hidden} hidden", files.keys());
            }
        }
        assert!(calls > 15 && incomplete > 5, "{calls} calls, {incomplete} left it incomplete");
    }

    #[test]
    fn without_enough_space_or_with_a_bad_prefix_nothing_is_written() {
        let dir = tempfile::tempdir().expect("a directory");
        let disk = Arc::new(FaultyDisk::new().claim_free_bytes(3000));
        let done = generate_on(dir.path(), Layout::Flat, &dataset("3x1KiB", 1), disk);
        assert!(
            matches!(done, Err(DatasetError::NoSpace { needed_bytes: 3072, free_bytes: 3000 })),
            "{done:?}"
        );
        assert_eq!(fs::read_dir(dir.path()).expect("readable").count(), 0);
        assert!(
            generate_on(
                dir.path(),
                Layout::Flat,
                &Dataset { prefix: ".p".into(), ..dataset("1x1", 1) },
                Arc::new(RealDisk)
            )
            .is_err()
        );
    }

    #[test]
    fn a_stop_ends_the_writing_and_leaves_no_incomplete_file() {
        let dir = tempfile::tempdir().expect("a directory");
        let folders =
            ShareFolders::open(dir.path(), Layout::Flat, None, Arc::new(RealDisk)).expect("folders");
        let stop = Stop::new().expect("a descriptor");
        stop.trigger();
        let done = generate(&folders, &dataset("1x8MiB", 1), &stop);
        assert!(matches!(done, Err(DatasetError::Stopped)), "{done:?}");
        assert!(left(dir.path()).0.is_empty());
    }
}
