//! The files of downloads in progress in the directory of the partial files: their names, and which are
//! there.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;

use rustix::fs::Dir;
use rustix::io::Errno;

use crate::store::disk::{At, Disk, Op};
use crate::types::{ContentId, ContentPrefix};

/// The files that may be there of a content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LeftoverPart {
    Part,
    /// The record of a download that a restarted node goes on with.
    Wanted,
    /// The record of one that waits until it is asked for again.
    SetAside,
    /// A record as it is being written.
    Temporary,
}

impl LeftoverPart {
    pub(super) const ALL: [LeftoverPart; 4] =
        [LeftoverPart::Part, LeftoverPart::Wanted, LeftoverPart::SetAside, LeftoverPart::Temporary];

    /// The file's name among the parts.
    pub(super) fn name(self, id: ContentId) -> String {
        match self {
            LeftoverPart::Part => format!("{id}.part"),
            LeftoverPart::Wanted => format!("{id}.resume"),
            LeftoverPart::SetAside => format!("{id}.kept"),
            LeftoverPart::Temporary => format!("{id}.tmp"),
        }
    }
}

/// Opens what is there of the content's part. What is no ordinary file of this one name is removed: it was
/// not made by a download, or the part was linked to its final name, and writing to it would change that
/// file.
pub(super) fn open_left_over(
    disk: &dyn Disk,
    dir: &OwnedFd,
    id: ContentId,
) -> Result<Option<File>, (Op, Errno)> {
    let name = LeftoverPart::Part.name(id);
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

/// What is there of each content. Files of other names are nobody's business here.
pub(super) fn left_overs(dir: &OwnedFd) -> BTreeMap<ContentId, Vec<LeftoverPart>> {
    let mut found: BTreeMap<_, Vec<_>> = BTreeMap::new();
    // What could not be listed is found at the next start.
    for entry in Dir::read_from(dir).into_iter().flatten().flatten() {
        if let Some((id, kind)) = entry.file_name().to_str().ok().and_then(parse) {
            found.entry(id).or_default().push(kind);
        }
    }
    found
}

/// Which content's and what kind of file a name is of.
fn parse(name: &str) -> Option<(ContentId, LeftoverPart)> {
    let (stem, _) = name.split_once('.')?;
    let id = ContentPrefix::from_hex(stem)?.first();
    LeftoverPart::ALL.into_iter().find(|kind| kind.name(id) == name).map(|kind| (id, kind))
}
