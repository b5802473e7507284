//! How a tracker runs, and why it cannot start.

use std::net::SocketAddr;
use std::time::Duration;

use thiserror::Error;

use crate::net::Deadlines;
use crate::rt::EventBroadcast;
use crate::types::limits;

/// How a tracker runs.
#[derive(Debug, Clone)]
pub struct TrackerConfig {
    /// Port 0: any.
    pub listen: SocketAddr,
    /// Number of front threads; at least 1.
    pub fronts: usize,
    /// Most incomplete requests of one front.
    pub incomplete_max: usize,
    /// Most incomplete requests of one front and one address.
    pub incomplete_per_address_max: usize,
    /// How long a connection may keep a front waiting.
    pub deadlines: Deadlines,
    /// How often the sweep looks for missed heartbeats and suspects to call back.
    pub sweep: Duration,
    /// Live copies that every content is to have on nodes that keep replicas; 0: nothing is copied unless
    /// somebody wishes for it.
    pub replicas: u32,
    /// How long nobody takes the place of a node that has gone; and nothing is copied unasked for as long
    /// after the start.
    pub replica_grace: Duration,
    /// Where the tracker tells what happens: nodes that come, are suspected, and go.
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
pub enum StartError {
    #[error("cannot listen on {addr}: {why}")]
    AddressInUse { addr: SocketAddr, why: String },
    #[error("cannot listen on {addr}: {why}")]
    Listen { addr: SocketAddr, why: String },
    #[error("the system gives no more threads or descriptors: {0}")]
    System(#[from] std::io::Error),
}
