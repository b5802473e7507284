//! Messages of a node to a tracker and the replies: each request has exactly one reply, in order.
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
    /// A page of the whole catalog. The tracker stages pages: it keeps them without effect until the last
    /// one. Then the new catalog replaces at once all that this node or this endpoint had.
    Register {
        /// Entries of the catalog.
        entries: Vec<FileEntry>,
        /// Whether this is the last page.
        last: bool,
    },
    /// A page of changes to a registered catalog. The tracker stages these pages too.
    Update {
        /// Names that are no longer in the catalog.
        removed: Vec<FileName>,
        /// Entries to add. Each replaces an entry of the same name.
        added: Vec<FileEntry>,
        /// Whether this is the last page.
        last: bool,
    },
    /// Says that the node is alive, and its load.
    Heartbeat {
        /// The node's load: transfers that it takes part in.
        load: u32,
    },
    /// Ends the registration.
    Leave,
    /// Asks for the live holders of a content, whole or in part.
    Find {
        /// What they must have.
        query: Query,
        /// Rows to skip: those of earlier pages.
        skip: u32,
    },
    /// Asks for the list of all nodes.
    ListNodes {
        /// Rows to skip: those of earlier pages.
        skip: u32,
    },
    /// Asks for the names with at least one live holder, in order.
    ListFiles {
        /// The last name of the page before.
        after: Option<FileName>,
    },
    /// Replaces all attributes that the node gave before.
    Describe {
        /// The node's attributes.
        attributes: Vec<Attribute>,
    },
    /// Requests that a number of live nodes have a content.
    Replicate {
        /// The content.
        content: ContentKey,
        /// The name that copies get.
        name: FileName,
        /// Number of copies; 0 withdraws an earlier request.
        copies: u32,
        /// True if the node repeats a request, to a tracker that was restarted.
        again: bool,
    },
    /// Asks for replicas to fetch.
    TakeTasks {
        /// Space for further replicas: what is free when those in `running` are complete.
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
    /// Address of the node's listener. The tracker offers the node's files after a call-back has verified
    /// that the node listens there.
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
        /// The nonce that the listener must return when the tracker calls it back.
        nonce: Nonce,
    },
    /// To a page that is not the last.
    Staged,
    /// To the last page of `Register`: the registration is in effect.
    Registered {
        /// Why the endpoint is not verified, so that the tracker does not offer the node's files; `None`: it
        /// is verified.
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
    /// The bytes are not a request of this protocol version. The tracker closes the connection.
    Malformed(String),
    /// The request needs a registration that this connection does not have, or not any more.
    NotRegistered,
    /// The request exceeds a limit of the tracker; the text names it.
    Limit(String),
    /// The tracker is overloaded. A later attempt may succeed.
    Busy,
}
