//! A temporary directory that is removed with the files in it.

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rand::rngs::SmallRng;
use rand::{RngCore, SeedableRng};

/// A directory. Dropping this value removes it with the files in it.
#[derive(Debug)]
pub struct TemporaryDir(
    /// Empty once the directory is removed.
    PathBuf,
);

impl TemporaryDir {
    /// Creates a directory that only this user can use. Its name begins with `stem`.
    ///
    /// # Errors
    /// When it cannot be created.
    pub fn create(stem: &str) -> io::Result<TemporaryDir> {
        let name = format!("{stem}-{:016x}", SmallRng::from_os_rng().next_u64());
        let path = std::env::temp_dir().join(name);
        std::fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(TemporaryDir(path))
    }

    /// The path of the directory.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Removes the directory now.
    ///
    /// # Errors
    /// When a file in it cannot be removed.
    pub fn remove(mut self) -> io::Result<()> {
        std::fs::remove_dir_all(std::mem::take(&mut self.0))
    }
}

impl Drop for TemporaryDir {
    fn drop(&mut self) {
        if !self.0.as_os_str().is_empty() {
            std::fs::remove_dir_all(&self.0).ok();
        }
    }
}
