//! A tracker as a node sees it: settings, events, and the requests that only a tracker answers.

use std::fmt::Debug;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use crate::discovery::error::DiscoveryError;
use crate::rt::Stop;
use crate::types::{ContentKey, FileName, NodeId, NodeSummary, ReplicaTask, ReplicationStatus};

/// Some names in order, and whether more names follow.
pub type NamePage = (Vec<FileName>, bool);

/// The settings of a connection to a tracker.
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
    /// The endpoint to register instead of the address of the connection and `port`.
    pub advertise: Option<SocketAddr>,
    /// Interval of heartbeats; `None`: the node sends no heartbeats, and connects only for requests.
    pub heartbeat: Option<Duration>,
    /// False: the node only sends requests. It neither registers nor publishes; `heartbeat` must be `None`.
    pub registers: bool,
}

/// A report of the announce thread to its node. No request precedes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TrackerEvent {
    /// The tracker was restarted, and this node is registered with it again.
    Restarted,
    /// The tracker could not call the endpoint back and does not offer it.
    Unverified {
        /// The endpoint that the node registered.
        endpoint: SocketAddr,
        /// The tracker's reason.
        why: String,
    },
    /// The tracker offers the endpoint again, after [`TrackerEvent::Unverified`].
    Verified {
        /// The endpoint that the node registered.
        endpoint: SocketAddr,
    },
    /// The control connection was lost.
    Lost {
        /// The failure, for the user.
        why: String,
    },
    /// The tracker asks this node to keep these replicas, at least one.
    Tasks(Vec<ReplicaTask>),
}

/// A request for live copies of a content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicationRequest {
    /// The content.
    pub content: ContentKey,
    /// The name of the copies.
    pub name: FileName,
    /// How many live copies there should be. 0 takes back an earlier request.
    pub copies: u32,
}

/// The requests that only a tracker can serve.
pub trait TrackerSession: Debug + Send + Sync {
    /// Whether the tracker offers this node to others, as far as the node knows: it is registered, its
    /// endpoint is verified, and the control connection is open.
    fn is_registered(&self) -> bool;

    /// Publishes the catalog as it is now and waits for the tracker's reply, at most until `deadline`.
    ///
    /// # Errors
    /// [`DiscoveryError`] if the tracker has not confirmed the catalog by then.
    fn publish_now(&self, deadline: Instant, cancel: &Stop) -> Result<(), DiscoveryError>;

    /// All nodes that the tracker knows.
    ///
    /// # Errors
    /// [`DiscoveryError`] if there is no answer.
    fn nodes(&self, cancel: &Stop) -> Result<Vec<NodeSummary>, DiscoveryError>;

    /// The first names after `after` that can be downloaded, in order; `None`: from the start.
    ///
    /// # Errors
    /// [`DiscoveryError`] if there is no answer.
    fn names(&self, after: Option<FileName>, cancel: &Stop) -> Result<NamePage, DiscoveryError>;

    /// Requests copies of a content. This node repeats the request to a restarted tracker, unless it has
    /// requested copies of too many contents already.
    ///
    /// # Errors
    /// [`DiscoveryError`] if there is no answer, or the tracker does not keep the request.
    fn replicate(
        &self,
        request: ReplicationRequest,
        cancel: &Stop,
    ) -> Result<ReplicationStatus, DiscoveryError>;

    /// Asks the tracker which replicas to keep. The answer comes as [`TrackerEvent::Tasks`]. Does not wait.
    fn request_tasks(&self);

    /// Waits until the announce thread, after its stop, has left the tracker; at most until `deadline`.
    fn wait_until_left(&self, deadline: Instant);
}
