//! The record beside a partial file: the request of the download, and the manifest of its content.
//!
//! A record is input that must be checked. A record is ignored if it is incomplete, damaged, of another
//! version or of another content, or if its manifest does not match the content id: it never stops a
//! download. A record is written under a temporary name, synced, and renamed, so that a name holds a whole
//! record or none.
//!
//! ```text
//! magic 16 | size 8 | content id 32 | n 4 | request n | pieces: MD5 16, BLAKE3 subtree 32 each | BLAKE3 32
//! ```
//! Lengths are in bytes, numbers little endian. The size gives the number of pieces. The last field is the
//! digest of all bytes before it.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::io::{read_exact, write_all};
use super::leftover::LeftoverPart;
use crate::proto::codec;
use crate::store::disk::{At, Disk, Op};
use crate::types::{
    Checksum, ContentId, ContentKey, FileName, Geometry, Manifest, Md5Digest, PieceDigests, limits,
};

/// The last byte is the version.
const MAGIC: &[u8; 16] = b"nearpeer resume\x01";
const PREFIX_BYTES: usize = 16 + 8 + 32 + 4;
const PIECE_BYTES: usize = 48;
const DIGEST_BYTES: usize = 32;
/// Maximum size of the request: the name, its length, a checksum as text, the flags.
const REQUEST_MAX_BYTES: u32 = limits::NAME_MAX_BYTES as u32 + 128;

/// What a node needs to resume a download: its request, and the manifest of its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The final name.
    pub name: FileName,
    /// The content.
    pub key: ContentKey,
    /// The checksum that the user gave.
    pub checksum: Option<Checksum>,
    /// Whether the whole file is read back and verified before it is placed.
    pub verify_whole: bool,
    /// Whether a file at the name is replaced.
    pub force: bool,
    /// The manifest of `key`.
    pub manifest: Arc<Manifest>,
}

/// The encoded form of the request.
#[derive(Serialize, Deserialize)]
struct Request {
    name: FileName,
    /// In the form that a user types.
    checksum: Option<String>,
    verify_whole: bool,
    force: bool,
}

/// The beginning of a record, which gives its length.
struct Prefix {
    key: ContentKey,
    request_bytes: u32,
}

impl Prefix {
    fn encode(&self) -> [u8; PREFIX_BYTES] {
        let mut bytes = [0; PREFIX_BYTES];
        bytes[..16].copy_from_slice(MAGIC);
        bytes[16..24].copy_from_slice(&self.key.size_bytes.to_le_bytes());
        bytes[24..56].copy_from_slice(&self.key.id.0);
        bytes[56..].copy_from_slice(&self.request_bytes.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8; PREFIX_BYTES]) -> Option<Prefix> {
        let rest = bytes.strip_prefix(MAGIC)?;
        let (size_bytes, rest) = rest.split_first_chunk()?;
        let (id, rest) = rest.split_first_chunk()?;
        let prefix = Prefix {
            key: ContentKey { size_bytes: u64::from_le_bytes(*size_bytes), id: ContentId(*id) },
            request_bytes: u32::from_le_bytes(*rest.first_chunk()?),
        };
        (prefix.request_bytes <= REQUEST_MAX_BYTES).then_some(prefix)
    }

    /// Length of the whole record; `None` if its content is too large to be cut into pieces.
    fn record_bytes(&self) -> Option<usize> {
        let pieces = Geometry::of(self.key.size_bytes).count()? as usize;
        let fixed = PREFIX_BYTES + self.request_bytes as usize + DIGEST_BYTES;
        pieces.checked_mul(PIECE_BYTES)?.checked_add(fixed)
    }
}

fn encode(record: &Record) -> Vec<u8> {
    let request = Request {
        name: record.name.clone(),
        checksum: record.checksum.map(|checksum| checksum.to_string()),
        verify_whole: record.verify_whole,
        force: record.force,
    };
    let request = codec::encode(&request).expect("a name is far shorter than a frame");
    let prefix = Prefix { key: record.key, request_bytes: request.len() as u32 };
    let mut bytes = Vec::with_capacity(prefix.record_bytes().expect("a manifest has a count"));
    bytes.extend(prefix.encode());
    bytes.extend(request);
    for piece in record.manifest.pieces() {
        bytes.extend(piece.md5.0);
        bytes.extend(piece.subtree);
    }
    bytes.extend(blake3::hash(&bytes).as_bytes());
    bytes
}

/// `None` for bytes that are not exactly a record of this version.
fn decode(bytes: &[u8]) -> Option<Record> {
    let (body, digest) = bytes.split_last_chunk::<DIGEST_BYTES>()?;
    if blake3::hash(body) != *digest {
        return None;
    }
    let (prefix, rest) = body.split_first_chunk()?;
    let prefix = Prefix::decode(prefix)?;
    if prefix.record_bytes()? != bytes.len() {
        return None;
    }
    let (request, pieces) = rest.split_at_checked(prefix.request_bytes as usize)?;
    let request: Request = codec::decode(request).ok()?;
    let checksum = request.checksum.map(|text| text.parse()).transpose().ok()?;
    let (pieces, []) = pieces.as_chunks::<PIECE_BYTES>() else { return None };
    let pieces = pieces.iter().map(piece).collect::<Option<_>>()?;
    Some(Record {
        name: request.name,
        key: prefix.key,
        checksum,
        verify_whole: request.verify_whole,
        force: request.force,
        manifest: Arc::new(Manifest::accept(prefix.key, pieces).ok()?),
    })
}

fn piece(bytes: &[u8; PIECE_BYTES]) -> Option<PieceDigests> {
    let (md5, subtree) = bytes.split_first_chunk()?;
    Some(PieceDigests { md5: Md5Digest(*md5), subtree: *subtree.first_chunk()? })
}

/// Writes the resumable record of a content durably. An earlier record stays in place until then.
pub(super) fn write(disk: &dyn Disk, dir: &OwnedFd, record: &Record) -> Result<(), (Op, Errno)> {
    let failed = |op| move |errno| (op, errno);
    let temporary = LeftoverPart::Temporary.name(record.key.id);
    let temporary = At { dir: dir.as_fd(), name: &temporary };
    let file = match disk.create(temporary.dir, temporary.name) {
        Err(Errno::EXIST) => {
            disk.unlink(temporary).map_err(failed(Op::Unlink))?;
            disk.create(temporary.dir, temporary.name)
        }
        created => created,
    };
    let file = file.map_err(failed(Op::Create))?;
    let resumable = LeftoverPart::Resumable.name(record.key.id);
    let written = write_all(disk, &file, 0, &encode(record))
        .map_err(failed(Op::Write))
        .and_then(|()| disk.sync_file(&file).map_err(failed(Op::SyncFile)))
        .and_then(|()| {
            disk.rename(temporary, At { dir: dir.as_fd(), name: &resumable }).map_err(failed(Op::Rename))
        });
    if let Err(error) = written {
        // If it stays, the next start of a node removes it.
        disk.unlink(temporary).ok();
        return Err(error);
    }
    // An older record. If it stays, the new one counts all the same.
    disk.unlink(At { dir: dir.as_fd(), name: &LeftoverPart::Quarantined.name(record.key.id) }).ok();
    disk.sync_dir(dir.as_fd()).map_err(failed(Op::SyncDir))
}

/// The record of a content: the resumable one, else the quarantined one.
///
/// # Errors
/// When a file of one of these names exists and cannot be read.
pub(super) fn read(disk: &dyn Disk, dir: &OwnedFd, id: ContentId) -> io::Result<Option<Record>> {
    match read_one(disk, dir, id, LeftoverPart::Resumable)? {
        Some(record) => Ok(Some(record)),
        None => read_one(disk, dir, id, LeftoverPart::Quarantined),
    }
}

/// The record of a content and of this kind. `None` if there is none, or the file is not such a record.
pub(super) fn read_one(
    disk: &dyn Disk,
    dir: &OwnedFd,
    id: ContentId,
    kind: LeftoverPart,
) -> io::Result<Option<Record>> {
    let file = match disk.open(At { dir: dir.as_fd(), name: &kind.name(id) }) {
        Ok(file) => file,
        Err(Errno::NOENT | Errno::LOOP | Errno::NXIO | Errno::ISDIR) => return Ok(None),
        Err(errno) => return Err(errno.into()),
    };
    let bytes = match read_bytes(disk, &file) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => None,
        Err(error) => return Err(error),
    };
    Ok(bytes.and_then(|bytes| decode(&bytes)).filter(|record| record.key.id == id))
}

/// All bytes of a file. `None` if it does not have the length that its beginning gives.
fn read_bytes(disk: &dyn Disk, file: &File) -> io::Result<Option<Vec<u8>>> {
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Ok(None);
    }
    let mut prefix = [0; PREFIX_BYTES];
    read_exact(disk, file, 0, &mut prefix)?;
    let len_bytes = Prefix::decode(&prefix).and_then(|prefix| prefix.record_bytes());
    let Some(len_bytes) = len_bytes.filter(|len_bytes| *len_bytes as u64 == metadata.len()) else {
        return Ok(None);
    };
    let mut bytes = vec![0; len_bytes];
    read_exact(disk, file, 0, &mut bytes)?;
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A record of an invented content of two pieces.
    fn record(name: &str, checksum: Option<&str>, flags: (bool, bool)) -> Record {
        let piece = |byte| PieceDigests { md5: Md5Digest([byte; 16]), subtree: [byte; 32] };
        let manifest = Manifest::of_hashed((1 << 20) + 1, vec![piece(1), piece(2)]);
        Record {
            name: FileName::new(name).expect("a name"),
            key: manifest.key(),
            checksum: checksum.map(|text| text.parse().expect("a checksum")),
            verify_whole: flags.0,
            force: flags.1,
            manifest: Arc::new(manifest),
        }
    }

    fn sealed(body: &[u8]) -> Vec<u8> {
        [body, blake3::hash(body).as_bytes()].concat()
    }

    #[test]
    fn an_encoded_record_is_decoded_to_itself() {
        let longest = format!("{}/b", "x".repeat(limits::NAME_COMPONENT_MAX_BYTES));
        let longest_of_all = vec!["x".repeat(254); 16].join("/") + "/" + &"x".repeat(16);
        assert_eq!(longest_of_all.len(), limits::NAME_MAX_BYTES);
        for name in ["f", "a/b/größe", &longest, &longest_of_all] {
            for checksum in [
                None,
                Some("md5=d41d8cd98f00b204e9800998ecf8427e"),
                Some("b3=af1349b9f5f9a1a6a"),
                Some("b3=af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"),
            ] {
                for flags in [(false, false), (false, true), (true, false), (true, true)] {
                    let record = record(name, checksum, flags);
                    assert_eq!(decode(&encode(&record)), Some(record));
                }
            }
        }
    }

    #[test]
    fn a_record_has_the_documented_layout() {
        let bytes = encode(&record("f", None, (true, false)));
        let id = record("f", None, (true, false)).key.id.0;
        let request: &[u8] = &[1, 0, 0, 0, 0, 0, 0, 0, b'f', 0, 1, 0];
        let piece = |byte| [byte; 48];
        let body = [
            &b"nearpeer resume\x01"[..],
            &[1, 0, 16, 0, 0, 0, 0, 0],
            &id,
            &[request.len() as u8, 0, 0, 0],
            request,
            &piece(1),
            &piece(2),
        ];
        assert_eq!(bytes, sealed(&body.concat()));
    }

    #[test]
    fn a_record_that_is_cut_or_has_a_flipped_bit_is_refused() {
        let whole = encode(&record("a/b", Some("md5=d41d8cd98f00b204e9800998ecf8427e"), (false, true)));
        for len in 0..whole.len() {
            assert_eq!(decode(&whole[..len]), None, "the first {len} bytes");
        }
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&flipped), None, "bit {bit}");
        }
    }

    #[test]
    fn a_wrong_record_with_a_right_digest_is_refused() {
        let whole = encode(&record("a/b", Some("b3=af1349b9f5f9a1a6a"), (false, true)));
        let body = &whole[..whole.len() - DIGEST_BYTES];
        for len in 0..body.len() {
            assert_eq!(decode(&sealed(&body[..len])), None, "the first {len} bytes");
        }
        let subtrees = body.len() - 2 * PIECE_BYTES;
        let has_to_stay = |byte: usize| {
            byte < PREFIX_BYTES && !(16..19).contains(&byte)
                || byte >= subtrees && (byte - subtrees) % PIECE_BYTES >= 16
        };
        for bit in 0..body.len() * 8 {
            let mut flipped = body.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let read = decode(&sealed(&flipped));
            assert!(read.is_none() || !has_to_stay(bit / 8), "bit {bit}: {read:?}");
            assert!(read.is_none_or(|read| read.manifest.key() == read.key));
        }
        // Impossible lengths allocate no memory.
        for (at, len) in [(16, 8), (56, 4)] {
            let mut huge = body.to_vec();
            huge[at..at + len].fill(0xff);
            assert_eq!(decode(&sealed(&huge)), None);
            assert!(
                Prefix::decode(huge[..].first_chunk().expect("a prefix"))
                    .is_none_or(|prefix| { prefix.record_bytes().is_none() })
            );
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_refused_or_give_a_consistent_record(
            body in proptest::collection::vec(any::<u8>(), 0..300),
            kept in 0..60usize,
        ) {
            let whole = encode(&record("f", None, (false, false)));
            prop_assert_eq!(decode(&body), None);
            let begun_well = [&whole[..kept], &body].concat();
            if let Some(read) = decode(&sealed(&begun_well)) {
                prop_assert_eq!(read.manifest.key(), read.key);
            }
        }
    }
}
