//! The limits of the registry, and its refusals.

use std::net::SocketAddr;
use std::time::Duration;

use thiserror::Error;

use crate::types::{ContentId, FileName, limits};

/// The limits of a registry. [`Limits::default`] has the values of [`limits`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Maximum number of registrations.
    pub nodes_max: usize,
    /// Maximum number of entries of all nodes, staged ones included.
    pub files_max: usize,
    /// Maximum number of entries of one node.
    pub files_per_node_max: usize,
    /// Maximum number of bytes of the names of all nodes, staged ones included.
    pub names_max_bytes: usize,
    /// Maximum number of bytes of the names of one node.
    pub names_per_node_max_bytes: usize,
    /// Maximum number of changes in all staged pages.
    pub staged_max: usize,
    /// Maximum number of bytes of the names in all staged pages.
    pub staged_names_max_bytes: usize,
    /// Number of heartbeats that a node may miss before it is a suspect.
    pub heartbeats_missed_max: u32,
    /// Time between two call-backs to a suspect.
    pub suspect_call_back: Duration,
    /// A suspect that is silent for this time is forgotten.
    pub suspect_expiry: Duration,
    /// The replica policy: number of live copies that every content should have; 0: no policy.
    pub replicas: u32,
    /// A node that has gone has this time to come back, before other nodes get its copies.
    pub replica_grace: Duration,
    /// Maximum number of contents with a replication request of their own.
    pub replica_requests_max: usize,
    /// Maximum number of lost copies that are remembered.
    pub replica_losses_max: usize,
}

/// Why the registry refused a message. The registry does not change, except that a refused page also drops
/// the pages that its session has staged.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RegistryError {
    /// The session has said no hello, or has no registration (any more).
    #[error("this connection has no registration (any more): say hello and register")]
    NotRegistered,
    /// No peer can connect to such an endpoint.
    #[error("endpoint {0} cannot be a node's: give an address and port that others can connect to")]
    Endpoint(SocketAddr),
    /// The heartbeat interval is outside the limits.
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
    /// The catalog of the node has too many files.
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
    /// The catalog of the node has too many bytes of names.
    #[error("a node may publish at most {max} bytes of file names: share fewer, or shorten them")]
    NamesOfNode {
        /// The limit.
        max: usize,
    },
    /// All sessions together have staged too much, and the pages of this session are the next to be dropped.
    #[error("too much is being registered at once: say hello and start again later")]
    Crowded,
    /// The tracker has called this endpoint back, or the endpoint of this session, too short a time ago.
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
    /// An update removes more names than the catalog and its earlier pages have.
    #[error("more names are removed than the {max} that are there: register again")]
    Removals {
        /// Names in the catalog and in earlier pages.
        max: usize,
    },
    /// The entry has too many attributes, or too long ones.
    #[error("`{0}`: more attributes, or longer ones, than are allowed")]
    Attributes(FileName),
    /// The entry claims as many pieces as the content has, or more: a partial holder has fewer.
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
    /// No live node has the whole content, so that no other node can fetch it.
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
    /// An earlier page was refused, dropped to make room, or never sent, so that the catalog would be
    /// incomplete.
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
