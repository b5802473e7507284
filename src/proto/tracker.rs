//! The conversation between a node and a tracker: each request has exactly one reply, in order.
//!
//! `Hello` makes a connection the node's control connection. `Register`, `Update`, `Heartbeat`, `Leave`,
//! `Describe` and `TakeTasks` are accepted only on such a connection and speak for its node. `Find`,
//! `ListNodes`, `ListFiles` and `Replicate` are answered on any connection.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::types::{
    Attribute, ContentKey, Epoch, FileEntry, FileName, NodeId, NodeSummary, Nonce, Provider, Query,
    ReplicaTask, ReplicationStatus,
};

/// A request of a node to a tracker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum TrackerRequest {
    /// Makes the connection a control connection.
    Hello(Hello),
    /// A page of the whole catalog. Pages are staged. The last one replaces at once everything that this node
    /// or this endpoint had.
    Register {
        /// Entries of the catalog.
        entries: Vec<FileEntry>,
        /// Whether this is the last page.
        last: bool,
    },
    /// A page of changes to a registered catalog; pages are staged too.
    Update {
        /// Names that are no longer in the catalog.
        removed: Vec<FileName>,
        /// Entries to add. Each replaces an entry of the same name.
        added: Vec<FileEntry>,
        /// Whether this is the last page.
        last: bool,
    },
    /// A sign of life.
    Heartbeat {
        /// The node's load: transfers that it takes part in.
        load: u32,
    },
    /// Ends the registration.
    Leave,
    /// Live full or partial holders.
    Find {
        /// What they must have.
        query: Query,
        /// Rows to skip: those of earlier pages.
        skip: u32,
    },
    /// All nodes.
    ListNodes {
        /// Rows to skip: those of earlier pages.
        skip: u32,
    },
    /// Names with at least one live holder, in order.
    ListFiles {
        /// The last name of the page before.
        after: Option<FileName>,
    },
    /// What the node says about itself, in place of everything that it said before.
    Describe {
        /// The node's attributes.
        attributes: Vec<Attribute>,
    },
    /// Requests live copies of a content.
    Replicate {
        /// The content.
        content: ContentKey,
        /// The name that copies get.
        name: FileName,
        /// Number of copies; 0 takes an earlier request back.
        copies: u32,
        /// Whether the node repeats a request to a tracker that was restarted.
        again: bool,
    },
    /// Asks for replicas to fetch.
    TakeTasks {
        /// Bytes that are free beyond `running`.
        room_bytes: u64,
        /// Replicas that the node is fetching.
        running: Vec<ContentKey>,
    },
}

/// Opens a control connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The node's id.
    pub node: NodeId,
    /// Address of the node's listener. It is listed as live once a call-back has verified it.
    pub endpoint: SocketAddr,
    /// Interval of the heartbeats that follow, in milliseconds; 0: the node sends none.
    pub heartbeat_ms: u32,
    /// What the node says about itself.
    pub attributes: Vec<Attribute>,
}

/// A tracker's reply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrackerReply {
    /// The epoch of the tracker that replies.
    pub epoch: Epoch,
    /// The reply itself.
    pub body: ReplyBody,
}

/// The content of a tracker's reply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReplyBody {
    /// To `Hello`.
    Welcome {
        /// What the listener must show when the tracker calls it back.
        nonce: Nonce,
    },
    /// To a page that is not the last.
    Staged,
    /// To the last page of `Register`: the registration is in effect.
    Registered {
        /// Why the endpoint is not offered; `None`: it is.
        unproved: Option<String>,
    },
    /// To the last page of `Update`: the update is in effect.
    Updated,
    /// To `Heartbeat`.
    Alive,
    /// To `Leave`: the node is forgotten.
    Left,
    /// To `Find`.
    Providers {
        /// One page of rows.
        providers: Vec<Provider>,
        /// Whether another page follows.
        more: bool,
    },
    /// To `ListNodes`.
    Nodes {
        /// One page of rows.
        nodes: Vec<NodeSummary>,
        /// Whether another page follows.
        more: bool,
    },
    /// To `ListFiles`.
    Files {
        /// One page of names.
        names: Vec<FileName>,
        /// Whether another page follows.
        more: bool,
    },
    /// The request was not carried out.
    Refused(TrackerRefusal),
    /// To `Describe`.
    Described,
    /// To `Replicate`.
    Replication(ReplicationStatus),
    /// To `TakeTasks`.
    Tasks {
        /// Tasks that this node did not have before.
        tasks: Vec<ReplicaTask>,
    },
}

/// Why a tracker does not carry a request out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum TrackerRefusal {
    /// The bytes are no request of this protocol version. The tracker closes the connection.
    Malformed(String),
    /// The request needs a registration that this connection does not have (any more).
    NotRegistered,
    /// The request exceeds a limit of the tracker; the text names it.
    Limit(String),
    /// The tracker is overloaded. A later attempt may succeed.
    Busy,
}
