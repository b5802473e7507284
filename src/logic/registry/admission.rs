//! Limits of the registry, and why it does not carry a message out.

use std::net::SocketAddr;
use std::time::Duration;

use thiserror::Error;

use crate::types::{ContentId, FileName, limits};

/// The limits of a registry. The defaults are those of [`limits`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Most registrations.
    pub nodes_max: usize,
    /// Most entries of all nodes, staged ones included.
    pub files_max: usize,
    /// Most entries of one node.
    pub files_per_node_max: usize,
    /// Most bytes of the names of all nodes, staged ones included.
    pub names_max_bytes: usize,
    /// Most bytes of the names of one node.
    pub names_per_node_max_bytes: usize,
    /// Most lines of all staged pages, removals included.
    pub staged_max: usize,
    /// Most bytes of the names in all staged pages.
    pub staged_names_max_bytes: usize,
    /// Heartbeats that a node may miss before it is suspect.
    pub heartbeats_missed_max: u32,
    /// How often a suspect is called back.
    pub suspect_call_back: Duration,
    /// How long a suspect may be silent before it is forgotten.
    pub suspect_expiry: Duration,
    /// Live copies that every content is to have; 0: no policy.
    pub replicas: u32,
    /// How long a node has to come back before other nodes take its place.
    pub replica_grace: Duration,
    /// Most contents with a replication request of their own.
    pub replica_requests_max: usize,
    /// Most lost copies that are remembered one by one.
    pub replica_losses_max: usize,
}

/// Why the registry did not carry a message out. The cause is always the sender. The registry is unchanged,
/// but what the session had staged is dropped.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RegistryError {
    /// The node should say hello and register (again).
    #[error("this connection has no registration (any more): say hello and register")]
    NotRegistered,
    /// No peer can connect to this endpoint.
    #[error("endpoint {0} cannot be a node's: give an address and port that others can connect to")]
    Endpoint(SocketAddr),
    /// The interval is outside the limits.
    #[error("heartbeat interval of {} ms: give {min} to {max} ms, or none", .0.as_millis(),
        min = limits::HEARTBEAT_MIN_MS, max = limits::HEARTBEAT_MAX_MS)]
    Heartbeat(Duration),
    /// There are too many nodes.
    #[error("this tracker keeps at most {max} nodes: use another one")]
    Nodes {
        /// The limit.
        max: usize,
    },
    /// All catalogs together have too many files.
    #[error("this tracker keeps at most {max} files: share fewer, or use another one")]
    Files {
        /// The limit.
        max: usize,
    },
    /// The catalog has too many files.
    #[error("a node may publish at most {max} files: share fewer")]
    FilesOfNode {
        /// The limit.
        max: usize,
    },
    /// All catalogs together have too many bytes of names.
    #[error("this tracker keeps at most {max} bytes of file names: share fewer, or use another one")]
    Names {
        /// The limit.
        max: usize,
    },
    /// The catalog has too many bytes of names.
    #[error("a node may publish at most {max} bytes of file names: share fewer, or shorten them")]
    NamesOfNode {
        /// The limit.
        max: usize,
    },
    /// All nodes together have staged more than the tracker keeps, and this session has the oldest staging.
    #[error("too much is being registered at once: say hello and start again later")]
    Crowded,
    /// The tracker calls an endpoint back only so often.
    #[error(
        "endpoint {endpoint} was called back just now: wait {wait_ms} ms, then say hello and start again"
    )]
    CallBack {
        /// The claimed endpoint.
        endpoint: SocketAddr,
        /// Time until it may be called back again, in milliseconds.
        wait_ms: u128,
    },
    /// The find skips too many rows.
    #[error("{skip} rows to skip: at most {max} are allowed, ask for something narrower",
        max = limits::FIND_SKIP_MAX)]
    Skip {
        /// The rows that it skips.
        skip: usize,
    },
    /// An update removes more names than the catalog has.
    #[error("more names are removed than the {max} that are there: register again")]
    Removals {
        /// Names in the catalog and in earlier pages.
        max: usize,
    },
    /// The entry has too many attributes, or too long ones.
    #[error("`{0}`: more attributes, or longer ones, than are allowed")]
    Attributes(FileName),
    /// A partial holder must have fewer pieces than the whole file.
    #[error("`{name}` of {size_bytes} bytes: {pieces} pieces are not fewer than all")]
    Pieces {
        /// Name of the entry.
        name: FileName,
        /// Its size.
        size_bytes: u64,
        /// The number of pieces that it claims.
        pieces: u32,
    },
    /// The request asks for too many copies.
    #[error("{copies} copies: at most {max} can be requested", max = limits::REPLICA_COPIES_MAX)]
    Copies {
        /// The requested number.
        copies: u32,
    },
    /// No live node can give the content to others.
    #[error("no live node has all of the content {0}")]
    NoCopy(ContentId),
    /// There are too many replication requests.
    #[error(
        "this tracker keeps replication requests for at most {max} contents: take one back with 0 copies"
    )]
    Requests {
        /// The limit.
        max: usize,
    },
    /// An earlier page was refused, dropped to make room, or never sent, so that the rest is not the whole.
    #[error("an earlier page is missing: say hello and start again")]
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
            replica_requests_max: limits::REPLICA_REQUESTS_MAX,
            replica_losses_max: limits::REPLICA_LOSSES_MAX,
        }
    }
}
