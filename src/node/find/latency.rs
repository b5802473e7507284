//! The latency file of a node: read at the start, and again before a probe if it has changed.

use std::io::{self, ErrorKind, Read};
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::OFlags;

use crate::logic::latency::LatencyTable;
use crate::node::config::LatencySource;
use crate::types::{LatencyOrigin, Millis, path_text};

/// A longer latency file is refused.
const FILE_MAX_BYTES: u64 = 64 << 20;

/// Latencies from this node to others.
#[derive(Debug)]
pub(crate) struct Latencies {
    /// The address of this node in the file.
    own: SocketAddr,
    /// For pairs of nodes that the file does not have.
    default: Millis,
    /// `None`: latencies are measured.
    file: Option<LatencyFile>,
}

#[derive(Debug)]
struct LatencyFile {
    path: PathBuf,
    table: LatencyTable,
    stamp: Stamp,
}

/// A file has changed when one of these values has.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    len_bytes: u64,
    modified: SystemTime,
    inode: u64,
}

/// Why a latency file cannot be used. Both fields are for the user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LatencyFileError {
    pub(crate) path: String,
    pub(crate) why: String,
}

impl Latencies {
    /// Reads the latency file, if `source` is one. `own` is the address of this node in it, `default` the
    /// latency of pairs that it does not have.
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

    /// Reads the file again; `None` if it has not changed, or if there is none.
    pub(crate) fn read_if_changed(&self) -> Result<Option<Latencies>, LatencyFileError> {
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

    /// Latency to `peer`: without a file `measured`, else that of the file or its default.
    pub(crate) fn of(&self, peer: SocketAddr, measured: Duration) -> (Millis, LatencyOrigin) {
        match &self.file {
            None => (Millis::from(measured), LatencyOrigin::Measured),
            Some(file) => match file.table.lookup(self.own, peer) {
                Some(latency) => (latency, LatencyOrigin::Table),
                None => (self.default, LatencyOrigin::Default),
            },
        }
    }

    /// Latency to emulate for `peer`: that of the file or its default; zero without a file.
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
        // The stamp is taken before the text is read. So the next probe notices a change in between.
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
