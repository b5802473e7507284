//! How a tracker runs, and why it cannot start.

use std::net::SocketAddr;
use std::time::Duration;

use thiserror::Error;

use crate::net::Deadlines;
use crate::rt::EventBroadcast;
use crate::types::limits;

/// Settings of a tracker.
#[derive(Debug, Clone)]
pub struct TrackerConfig {
    /// Address to listen on; port 0: any free port.
    pub listen: SocketAddr,
    /// Number of front threads; at least 1.
    pub fronts: usize,
    /// Most incomplete requests of one front.
    pub incomplete_max: usize,
    /// Most incomplete requests of one front and one address.
    pub incomplete_per_address_max: usize,
    /// How long a connection may keep a front waiting.
    pub deadlines: Deadlines,
    /// Interval of the sweep, which looks for missed heartbeats and calls suspects back.
    pub sweep: Duration,
    /// Live copies that every content is to have on nodes that keep replicas; 0: the tracker copies only what
    /// a user requests.
    pub replicas: u32,
    /// How long a node has to come back before other nodes take its place. For as long after the start the
    /// tracker copies only what a user requests.
    pub replica_grace: Duration,
    /// Receives what happens: nodes that come, become suspect, and go.
    pub events: EventBroadcast,
}

impl Default for TrackerConfig {
    fn default() -> TrackerConfig {
        TrackerConfig {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            fronts: 2,
            incomplete_max: limits::INCOMPLETE_MAX,
            incomplete_per_address_max: limits::INCOMPLETE_PER_ADDRESS_MAX,
            deadlines: Deadlines::default(),
            sweep: Duration::from_millis(100),
            replicas: 0,
            replica_grace: limits::ms(limits::REPLICA_GRACE_MS),
            events: EventBroadcast::default(),
        }
    }
}

/// Why a tracker cannot start.
#[derive(Debug, Error)]
pub enum TrackerStartError {
    /// Another program listens on the address.
    #[error("cannot listen on {addr}: {why}")]
    AddressInUse {
        /// The address.
        addr: SocketAddr,
        /// What the user can do.
        why: String,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {addr}: {why}")]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// The error of the system.
        why: String,
    },
    /// The system refuses a thread or a descriptor.
    #[error("the system gives no more threads or descriptors: {0}")]
    System(#[from] std::io::Error),
}
