//! The latency file of a node: read at the start, and again before a command if it has changed.

use std::io::{self, ErrorKind, Read};
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::OFlags;

use crate::logic::latency::LatencyTable;
use crate::node::config::LatencySource;
use crate::types::{LatencyOrigin, Millis, path_text};

/// Longest latency file that is read.
const FILE_MAX_BYTES: u64 = 64 << 20;

/// Latencies from this node to others.
#[derive(Debug)]
pub(crate) struct Latencies {
    /// This node, as the table names it.
    own: SocketAddr,
    default: Millis,
    file: Option<LatencyFile>,
}

#[derive(Debug)]
struct LatencyFile {
    path: PathBuf,
    table: LatencyTable,
    stamp: Stamp,
}

/// What shows that a file has changed.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    len_bytes: u64,
    modified: SystemTime,
    inode: u64,
}

/// A latency file that cannot be used. Text: path and reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LatencyFileError {
    pub(crate) path: String,
    pub(crate) why: String,
}

impl Latencies {
    /// Reads the latency file, if `source` is one. `own` is the address of this node in it.
    pub(crate) fn new(
        own: SocketAddr,
        default: Millis,
        source: &LatencySource,
    ) -> Result<Latencies, LatencyFileError> {
        let file = match source {
            LatencySource::Measured => None,
            LatencySource::File(path) => Some(LatencyFile::read(path)?),
        };
        Ok(Latencies { own, default, file })
    }

    /// The latencies, read again; `None` if the file has not changed.
    pub(crate) fn refreshed(&self) -> Result<Option<Latencies>, LatencyFileError> {
        let Some(file) = &self.file else { return Ok(None) };
        if Stamp::of(&file.path)? == file.stamp {
            return Ok(None);
        }
        Ok(Some(Latencies {
            own: self.own,
            default: self.default,
            file: Some(LatencyFile::read(&file.path)?),
        }))
    }

    /// Latency to `peer` from the file, if there is one, else as `measured`.
    pub(crate) fn of(&self, peer: SocketAddr, measured: Duration) -> (Millis, LatencyOrigin) {
        match &self.file {
            None => (Millis::from(measured), LatencyOrigin::Measured),
            Some(file) => match file.table.lookup(self.own, peer) {
                Some(latency) => (latency, LatencyOrigin::Table),
                None => (self.default, LatencyOrigin::Default),
            },
        }
    }

    /// Latency to emulate for `peer`: that of the file, or none if there is no file.
    pub(crate) fn emulated(&self, peer: SocketAddr) -> Duration {
        match &self.file {
            None => Duration::ZERO,
            Some(_) => self.of(peer, Duration::ZERO).0.into(),
        }
    }
}

impl Stamp {
    fn of(path: &Path) -> Result<Stamp, LatencyFileError> {
        let stamp = std::fs::metadata(path).and_then(|metadata| {
            Ok(Stamp { len_bytes: metadata.len(), modified: metadata.modified()?, inode: metadata.ino() })
        });
        stamp.map_err(|error| fault(path, error.to_string()))
    }
}

impl LatencyFile {
    fn read(path: &Path) -> Result<LatencyFile, LatencyFileError> {
        // Taken before the text is read: a change in between is noticed the next time.
        let stamp = Stamp::of(path)?;
        if stamp.len_bytes > FILE_MAX_BYTES {
            return Err(fault(path, format!("has {} bytes, more than {FILE_MAX_BYTES}", stamp.len_bytes)));
        }
        let mut bytes = Vec::new();
        let read = open_latency_file(path).and_then(|file| file.take(FILE_MAX_BYTES).read_to_end(&mut bytes));
        read.map_err(|error| fault(path, error.to_string()))?;
        let text =
            String::from_utf8(bytes).map_err(|error| fault(path, format!("is not UTF-8 text: {error}")))?;
        let table = LatencyTable::parse(&text).map_err(|error| fault(path, error.to_string()))?;
        Ok(LatencyFile { path: path.to_owned(), table, stamp })
    }
}

/// Opens a latency file without waiting. Only a regular file is opened: a pipe could block or never end.
///
/// # Errors
/// Those of the system; `InvalidInput` if it is not a regular file.
pub fn open_latency_file(path: &Path) -> io::Result<std::fs::File> {
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let file = std::fs::File::options().read(true).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(ErrorKind::InvalidInput, "is not a regular file"));
    }
    Ok(file)
}

fn fault(path: &Path, why: String) -> LatencyFileError {
    LatencyFileError { path: path_text(path), why }
}
