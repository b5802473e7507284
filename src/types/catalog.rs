//! What nodes publish and what they get back: catalog entries, providers, queries, the list of nodes.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::attributes::NodeTraits;
use super::content::{Checksum, ContentPrefix};
use super::digest::{ContentId, ContentKey, Md5Digest};
use super::ids::NodeId;
use super::limits;
use super::name::FileName;

/// A tagged value of a later version; unknown tags are skipped. At most [`super::limits::ATTRIBUTES_MAX`] an
/// owner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attribute {
    pub tag: u16,
    pub value: Vec<u8>,
}

impl Attribute {
    /// Returns true if and only if an owner may carry these: not too many, none too long.
    pub fn are_bounded(attributes: &[Attribute]) -> bool {
        attributes.len() <= limits::ATTRIBUTES_MAX
            && attributes.iter().all(|attribute| attribute.value.len() <= limits::ATTRIBUTE_MAX_BYTES)
    }
}

/// Where a published whole-file MD5 comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Md5Origin {
    /// The publisher has hashed its copy.
    Computed,
    /// Taken over from another publisher and not yet computed here.
    Claimed,
}

/// How much of a file its publisher has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Holding {
    Full,
    /// So many verified pieces; fewer than all.
    Pieces(u32),
}

/// One file in a node's catalog.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    pub name: FileName,
    pub size_bytes: u64,
    /// Modification time, nanoseconds since 1970.
    pub mtime_ns: i64,
    pub content: ContentId,
    pub md5: Md5Digest,
    pub md5_origin: Md5Origin,
    pub holding: Holding,
    pub attributes: Vec<Attribute>,
}

impl FileEntry {
    pub fn key(&self) -> ContentKey {
        ContentKey { size_bytes: self.size_bytes, id: self.content }
    }
}

/// A live node that holds a file, as discovery returns it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provider {
    pub node: NodeId,
    pub endpoint: SocketAddr,
    pub entry: FileEntry,
    /// The node's, as far as its tracker knows them.
    pub attributes: Vec<Attribute>,
}

impl Provider {
    /// What the node says about itself.
    pub fn traits(&self) -> NodeTraits {
        NodeTraits::of(&self.attributes)
    }
}

/// What a `find` looks for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Query {
    Name(FileName),
    Md5(Md5Digest),
    Content(ContentPrefix),
}

/// As it is typed: a name as it is, `md5=` or `b3=` and a digest.
impl std::fmt::Display for Query {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Query::Name(name) => f.write_str(name.as_str()),
            Query::Md5(md5) => Checksum::Md5(*md5).fmt(f),
            Query::Content(prefix) => Checksum::Content(*prefix).fmt(f),
        }
    }
}

/// What a tracker thinks of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Liveness {
    /// Its files are offered.
    Live,
    /// Its control connection ended or its heartbeats stopped; not offered.
    Suspect,
    /// Its endpoint could not be called back; never offered.
    Unproved,
}

/// One row of the list of nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeSummary {
    pub node: NodeId,
    pub endpoint: SocketAddr,
    pub liveness: Liveness,
    /// Whole ones.
    pub files: u32,
    /// As its last heartbeat told.
    pub load: Option<u32>,
    /// The node's, as far as its tracker knows them.
    pub attributes: Vec<Attribute>,
}

impl NodeSummary {
    /// What the node says about itself.
    pub fn traits(&self) -> NodeTraits {
        NodeTraits::of(&self.attributes)
    }
}

impl std::fmt::Display for Liveness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Liveness::Live => "live",
            Liveness::Suspect => "suspect",
            Liveness::Unproved => "unproved",
        })
    }
}
