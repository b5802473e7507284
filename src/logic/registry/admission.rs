//! What bounds the registry, and why it does not carry a message out.

use std::net::SocketAddr;
use std::time::Duration;

use thiserror::Error;

use crate::types::{ContentId, FileName, limits};

/// What bounds the registry; the defaults are those of [`limits`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    pub nodes_max: usize,
    /// Entries of all nodes, staged ones included.
    pub files_max: usize,
    pub files_per_node_max: usize,
    /// Bytes of the names of all nodes, staged ones included.
    pub names_max_bytes: usize,
    pub names_per_node_max_bytes: usize,
    /// Lines of all staged pages, removals included.
    pub staged_max: usize,
    /// Bytes of the names in all staged pages.
    pub staged_names_max_bytes: usize,
    pub heartbeats_missed_max: u32,
    pub suspect_call_back: Duration,
    pub suspect_expiry: Duration,
    /// Live copies that every content is to have; 0: as many as there happen to be.
    pub replicas: u32,
    pub replica_grace: Duration,
    pub replica_wishes_max: usize,
    pub replica_losses_max: usize,
}

/// Why a node's message was not carried out. Always the sender's affair; the registry is as it was, but what
/// the session had staged is dropped.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RegistryError {
    /// The node should say hello and register (again).
    #[error("this connection has no registration (any more): say hello and register")]
    NotRegistered,
    #[error("endpoint {0} cannot be a node's: give an address and port that others can connect to")]
    Endpoint(SocketAddr),
    #[error("heartbeat interval of {} ms: give {min} to {max} ms, or none", .0.as_millis(),
        min = limits::HEARTBEAT_MIN_MS, max = limits::HEARTBEAT_MAX_MS)]
    Heartbeat(Duration),
    #[error("this tracker keeps at most {max} nodes: use another one")]
    Nodes { max: usize },
    #[error("this tracker keeps at most {max} files: share fewer, or use another one")]
    Files { max: usize },
    #[error("a node may publish at most {max} files: share fewer")]
    FilesOfNode { max: usize },
    #[error("this tracker keeps at most {max} bytes of file names: share fewer, or use another one")]
    Names { max: usize },
    #[error("a node may publish at most {max} bytes of file names: share fewer, or shorten them")]
    NamesOfNode { max: usize },
    /// More is staged by all nodes together than the tracker keeps, and this session's staging was the next
    /// to make room.
    #[error("too much is being registered at once: say hello and begin anew later")]
    Crowded,
    #[error("endpoint {endpoint} was called back just now: wait {wait_ms} ms, then say hello and begin anew")]
    CallBack { endpoint: SocketAddr, wait_ms: u128 },
    #[error("{skip} rows to skip: at most {max} are allowed, ask for something narrower",
        max = limits::FIND_SKIP_MAX)]
    Skip { skip: usize },
    #[error("more names are removed than the {max} that are there: register anew")]
    Removals { max: usize },
    #[error("`{0}`: more attributes, or longer ones, than are allowed")]
    Attributes(FileName),
    #[error("`{name}` of {size_bytes} bytes: {pieces} pieces are not fewer than all")]
    Pieces { name: FileName, size_bytes: u64, pieces: u32 },
    #[error("{copies} copies: at most {max} can be wished for", max = limits::REPLICA_COPIES_MAX)]
    Copies { copies: u32 },
    #[error("no live node has all of the content {0}")]
    NoCopy(ContentId),
    #[error("this tracker keeps wishes for at most {max} contents: take one back with 0 copies")]
    Wishes { max: usize },
    /// An earlier page was refused, dropped to make room, or never came, so that what is left is not the
    /// whole.
    #[error("an earlier page is missing: say hello and begin anew")]
    Incomplete,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            nodes_max: limits::NODES_MAX,
            files_max: limits::FILES_MAX,
            files_per_node_max: limits::FILES_PER_NODE_MAX,
            names_max_bytes: limits::NAMES_MAX_BYTES,
            names_per_node_max_bytes: limits::NAMES_PER_NODE_MAX_BYTES,
            staged_max: limits::STAGED_MAX,
            staged_names_max_bytes: limits::STAGED_NAMES_MAX_BYTES,
            heartbeats_missed_max: limits::HEARTBEATS_MISSED_MAX,
            suspect_call_back: limits::ms(limits::SUSPECT_CALL_BACK_MS),
            suspect_expiry: limits::ms(limits::SUSPECT_EXPIRY_MS),
            replicas: 0,
            replica_grace: limits::ms(limits::REPLICA_GRACE_MS),
            replica_wishes_max: limits::REPLICA_WISHES_MAX,
            replica_losses_max: limits::REPLICA_LOSSES_MAX,
        }
    }
}
