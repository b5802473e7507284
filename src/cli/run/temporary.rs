//! A directory for a while: removed with all that is in it, however the program goes on.

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rand::rngs::SmallRng;
use rand::{RngCore, SeedableRng};

/// A directory that is removed with all that is in it when this is dropped.
#[derive(Debug)]
pub struct TemporaryDir(PathBuf);

impl TemporaryDir {
    /// A new one whose name begins with `stem`, for this user alone.
    ///
    /// # Errors
    /// When there is no place for it.
    pub fn create(stem: &str) -> io::Result<TemporaryDir> {
        let name = format!("{stem}-{:016x}", SmallRng::from_os_rng().next_u64());
        let path = std::env::temp_dir().join(name);
        std::fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(TemporaryDir(path))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Removes it now.
    ///
    /// # Errors
    /// When something in it cannot be removed.
    pub fn remove(mut self) -> io::Result<()> {
        std::fs::remove_dir_all(std::mem::take(&mut self.0))
    }
}

impl Drop for TemporaryDir {
    fn drop(&mut self) {
        if !self.0.as_os_str().is_empty() {
            let _nothing_more_can_be_done = std::fs::remove_dir_all(&self.0);
        }
    }
}
