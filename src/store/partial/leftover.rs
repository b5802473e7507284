//! The files that downloads leave in the directory of the partial files: their names, and which exist.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;

use rustix::fs::Dir;
use rustix::io::Errno;

use crate::store::disk::{At, Disk, Op};
use crate::types::{ContentId, ContentPrefix};

/// The kinds of files that may exist for a content in the directory of the partial files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LeftoverPart {
    /// `.part`: the partial file.
    Partial,
    /// `.resume`: the record of a download that a restarted node resumes.
    Resumable,
    /// `.kept`: the record of a download that only a new request for its content resumes, not a restarted
    /// node.
    Quarantined,
    /// `.tmp`: a record that is being written.
    Temporary,
}

impl LeftoverPart {
    pub(super) const ALL: [LeftoverPart; 4] =
        [LeftoverPart::Partial, LeftoverPart::Resumable, LeftoverPart::Quarantined, LeftoverPart::Temporary];

    /// Name of the file.
    pub(super) fn name(self, id: ContentId) -> String {
        match self {
            LeftoverPart::Partial => format!("{id}.part"),
            LeftoverPart::Resumable => format!("{id}.resume"),
            LeftoverPart::Quarantined => format!("{id}.kept"),
            LeftoverPart::Temporary => format!("{id}.tmp"),
        }
    }
}

/// Opens the partial file of a content, if it exists. Removes an entry that is not an ordinary file with one
/// name: either no download has made it, or it was linked to its final name, and a write would change the
/// file there.
pub(super) fn open_left_over(
    disk: &dyn Disk,
    dir: &OwnedFd,
    id: ContentId,
) -> Result<Option<File>, (Op, Errno)> {
    let name = LeftoverPart::Partial.name(id);
    let at = At { dir: dir.as_fd(), name: &name };
    match disk.open(at) {
        Ok(file) if file.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.nlink() == 1) => {
            return Ok(Some(file));
        }
        Ok(_) | Err(Errno::LOOP | Errno::NXIO | Errno::ISDIR) => {}
        Err(Errno::NOENT) => return Ok(None),
        Err(errno) => return Err((Op::Open, errno)),
    }
    disk.unlink(at).map_err(|errno| (Op::Unlink, errno))?;
    Ok(None)
}

/// The files that exist for each content. Files with other names are ignored.
pub(super) fn left_overs(dir: &OwnedFd) -> BTreeMap<ContentId, Vec<LeftoverPart>> {
    let mut found: BTreeMap<_, Vec<_>> = BTreeMap::new();
    // Entries that cannot be listed now are found at the next start of a node.
    for entry in Dir::read_from(dir).into_iter().flatten().flatten() {
        if let Some((id, kind)) = entry.file_name().to_str().ok().and_then(parse) {
            found.entry(id).or_default().push(kind);
        }
    }
    found
}

/// The content and kind of a file with this name.
fn parse(name: &str) -> Option<(ContentId, LeftoverPart)> {
    let (stem, _) = name.split_once('.')?;
    let id = ContentPrefix::from_hex(stem)?.first();
    LeftoverPart::ALL.into_iter().find(|kind| kind.name(id) == name).map(|kind| (id, kind))
}
