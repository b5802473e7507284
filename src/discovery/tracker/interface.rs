//! What a node sees of its tracker: settings, events, and the requests that only a tracker answers.

use std::fmt::Debug;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use crate::discovery::error::DiscoveryError;
use crate::rt::Stop;
use crate::types::{ContentKey, FileName, NodeId, NodeSummary, ReplicaTask, ReplicationStatus};

/// A page of names, and whether there are more.
pub type NamePage = (Vec<FileName>, bool);

/// How a node speaks to its tracker.
#[derive(Debug, Clone)]
pub struct TrackerClientConfig {
    /// Where the tracker listens.
    pub tracker: SocketAddr,
    /// This node's id.
    pub node: NodeId,
    /// Address that outgoing connections are bound to, unless it is unspecified.
    pub ip: IpAddr,
    /// Port of the node's listener.
    pub port: u16,
    /// The endpoint to register, if it is not the node's own address and port.
    pub advertise: Option<SocketAddr>,
    /// Interval of heartbeats; `None`: the node sends none.
    pub heartbeat: Option<Duration>,
    /// False: the node only sends requests; it neither registers nor publishes. It sends no heartbeats then.
    pub registers: bool,
}

/// What the announce thread reports to its node without a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TrackerEvent {
    /// The tracker was restarted, and this node is registered with it again.
    Restarted,
    /// The tracker could not call the endpoint back and does not offer it.
    Unverified {
        /// What the node registered.
        endpoint: SocketAddr,
        /// The tracker's reason.
        why: String,
    },
    /// The tracker offers the endpoint now, after it did not.
    Verified {
        /// What the node registered.
        endpoint: SocketAddr,
    },
    /// The control connection was lost.
    Lost {
        /// The failure, for the user.
        why: String,
    },
    /// The tracker asks this node to keep these replicas. Never empty.
    Tasks(Vec<ReplicaTask>),
}

/// A number of live copies that a content is to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicationRequest {
    /// The content.
    pub content: ContentKey,
    /// The name that copies get.
    pub name: FileName,
    /// 0 takes an earlier request back.
    pub copies: u32,
}

/// What only a tracker can do for a node.
pub trait TrackerSession: Debug + Send + Sync {
    /// Whether the tracker offers this node to others, as far as the node knows: it is registered, its
    /// endpoint is verified, and the control connection is open.
    fn is_registered(&self) -> bool;

    /// Publishes the catalog as it is now and waits for the tracker's reply, at most until `deadline`.
    ///
    /// # Errors
    /// [`DiscoveryError`] if the tracker has not confirmed it by then.
    fn publish_now(&self, deadline: Instant, cancel: &Stop) -> Result<(), DiscoveryError>;

    /// All nodes that the tracker knows.
    ///
    /// # Errors
    /// [`DiscoveryError`] if there is no answer.
    fn nodes(&self, cancel: &Stop) -> Result<Vec<NodeSummary>, DiscoveryError>;

    /// A page of the names that can be downloaded, in order, those after `after`.
    ///
    /// # Errors
    /// [`DiscoveryError`] if there is no answer.
    fn names(&self, after: Option<FileName>, cancel: &Stop) -> Result<NamePage, DiscoveryError>;

    /// Requests copies of a content. As long as this node runs, it repeats the request to a restarted
    /// tracker.
    ///
    /// # Errors
    /// [`DiscoveryError`] if there is no answer, or the tracker does not keep the request.
    fn replicate(
        &self,
        request: ReplicationRequest,
        cancel: &Stop,
    ) -> Result<ReplicationStatus, DiscoveryError>;

    /// Asks which replicas to keep; they come as [`TrackerEvent::Tasks`]. Does not wait.
    fn request_tasks(&self);

    /// Waits until the announce thread, after its stop, has left the tracker; at most until `deadline`.
    fn wait_until_left(&self, deadline: Instant);
}
