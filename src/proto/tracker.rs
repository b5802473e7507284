//! The conversation between a node and a tracker: each request has exactly one reply, in order.
//!
//! `Hello` makes a connection the node's control connection; `Register`, `Update`, `Heartbeat`, `Leave`,
//! `Describe` and `TakeTasks` are taken on such a connection alone and speak for that node alone. `Find`,
//! `ListNodes`, `ListFiles` and `Replicate` are answered on any connection.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::types::{
    Attribute, ContentKey, Epoch, FileEntry, FileName, NodeId, NodeSummary, Nonce, Provider, Query,
    ReplicaTask, ReplicationStatus,
};

/// What a node asks a tracker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum TrackerRequest {
    Hello(Hello),
    /// A page of the whole catalog. Pages are staged; the last one replaces, at once, whatever this node or
    /// this endpoint had.
    Register {
        entries: Vec<FileEntry>,
        last: bool,
    },
    /// A page of changes to a registered catalog, staged likewise. An entry in `added` replaces one of the
    /// same name.
    Update {
        removed: Vec<FileName>,
        added: Vec<FileEntry>,
        last: bool,
    },
    Heartbeat {
        load: u32,
    },
    Leave,
    /// Live full or partial holders, skipping the first `skip`.
    Find {
        query: Query,
        skip: u32,
    },
    /// All nodes, skipping the first `skip`.
    ListNodes {
        skip: u32,
    },
    /// Names with at least one live holder, in order, those after `after`.
    ListFiles {
        after: Option<FileName>,
    },
    /// What the node says about itself, in place of all it has said before.
    Describe {
        attributes: Vec<Attribute>,
    },
    /// Wishes for so many live copies of a content, to be kept under that name; 0 takes the wish back.
    /// `again`: said before, to a tracker that has forgotten it.
    Replicate {
        content: ContentKey,
        name: FileName,
        copies: u32,
        again: bool,
    },
    /// Asks for replicas to fetch. `room_bytes` are left for more, beyond those that are being fetched, which
    /// are `running`.
    TakeTasks {
        room_bytes: u64,
        running: Vec<ContentKey>,
    },
}

/// Opens a control connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    pub node: NodeId,
    /// Where the node's listener can be reached; listed once a call-back has proved it.
    pub endpoint: SocketAddr,
    /// Interval of the heartbeats that will follow, in milliseconds; 0: none will.
    pub heartbeat_ms: u32,
    pub attributes: Vec<Attribute>,
}

/// A tracker's reply, with the epoch it was given in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrackerReply {
    pub epoch: Epoch,
    pub body: ReplyBody,
}

/// What a tracker answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReplyBody {
    /// To `Hello`: the listener must show this nonce when it is called back.
    Welcome { nonce: Nonce },
    /// To a page that is not the last.
    Staged,
    /// To the last page of `Register`: in effect. `unproved` says why the endpoint is not offered, if it is
    /// not.
    Registered { unproved: Option<String> },
    /// To the last page of `Update`: in effect.
    Updated,
    /// To `Heartbeat`.
    Alive,
    /// To `Leave`: forgotten.
    Left,
    /// To `Find`: a page; `more` if another one follows.
    Providers { providers: Vec<Provider>, more: bool },
    /// To `ListNodes`: a page; `more` if another one follows.
    Nodes { nodes: Vec<NodeSummary>, more: bool },
    /// To `ListFiles`: a page; `more` if another one follows.
    Files { names: Vec<FileName>, more: bool },
    /// The request was not carried out.
    Refused(TrackerRefusal),
    /// To `Describe`.
    Described,
    /// To `Replicate`.
    Replication(ReplicationStatus),
    /// To `TakeTasks`: tasks that this node was not told before.
    Tasks { tasks: Vec<ReplicaTask> },
}

/// Why a tracker does not carry a request out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum TrackerRefusal {
    /// The bytes were no request of this protocol version; the connection is closed.
    Malformed(String),
    /// The request needs a registration that this connection does not have (any more).
    NotRegistered,
    /// A limit of the tracker would be passed; the text names it.
    Limit(String),
    /// The tracker has more to do than it can; ask again later.
    Busy,
}
