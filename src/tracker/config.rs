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
    /// Maximum number of connections of one front with an incomplete request.
    pub incomplete_max: usize,
    /// Maximum number of these connections from one address.
    pub incomplete_per_address_max: usize,
    /// How long a connection may keep a front waiting.
    pub deadlines: Deadlines,
    /// Interval at which the thread `expiry` looks for missed heartbeats, due call-backs and missing copies.
    pub sweep: Duration,
    /// Number of live copies that every content shall have on nodes that keep replicas; 0: only contents for
    /// which a user requests copies.
    pub replicas: u32,
    /// How long a lost node has to come back before other nodes take its place. For the same time after its
    /// start the tracker makes only the copies that users request.
    pub replica_grace: Duration,
    /// Where the tracker publishes its events: nodes that come, become suspect, and go.
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
    /// The system has no thread or descriptor left.
    #[error("the system gives no more threads or descriptors: {0}")]
    System(#[from] std::io::Error),
}
