//! What the registry keeps of a control connection and of a registration.
//!
//! Plain data. [`Registry`](super::Registry) changes it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::admission::Limits;
use super::index::Catalog;
use super::liveness::{Due, Heartbeats};
use super::replicas::ReplicaCapacity;
use super::staging::Staging;
use crate::types::{Liveness, NodeId, NodeTraits, Nonce};

/// One control connection. The caller never uses a value twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

/// Whether a node's listener has shown its session's nonce when the tracker called it back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reachability {
    /// The nonce came back from the claimed endpoint.
    Verified,
    /// The call-back failed: the node is listed and never offered.
    Unverified,
}

/// Where the registry has a registration from.
///
/// Only a direct registration has a control connection here. The tracker therefore neither counts heartbeats
/// nor calls back for the others: whatever imports them also removes them. A find answers with direct
/// registrations first, because this tracker has verified their endpoints itself. A direct registration
/// replaces an imported one at its endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Origin {
    /// The node registered on a control connection of this tracker.
    #[default]
    Direct,
    /// The linked tracker with this number has the node.
    Linked(u64),
    /// A store that several trackers share has the node.
    Shared,
}

/// What a session says about itself. The tracker verifies it by a call-back to `endpoint` that must show
/// `nonce`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// The node's id.
    pub node: NodeId,
    /// Where the node says that its listener is.
    pub endpoint: SocketAddr,
    /// What the listener must show.
    pub nonce: Nonce,
}

/// A suspect that the tracker is to call back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallBack {
    /// The node that should answer.
    pub node: NodeId,
    /// Where it should answer.
    pub endpoint: SocketAddr,
}

/// One control connection that has said hello.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) claim: Claim,
    /// Announced interval; `None`: the node sends no heartbeats.
    pub(super) heartbeat: Option<Duration>,
    pub(super) traits: NodeTraits,
    /// Its place in the order of hellos. It shows which messages belong to a former session.
    pub(super) order: u64,
    pub(super) staging: Staging,
    /// When it last caused a call-back.
    pub(super) called: Option<Instant>,
    /// Whether that call-back verified this claim.
    pub(super) is_verified: bool,
    /// Slot of the registration that it speaks for.
    pub(super) node: Option<u32>,
}

/// One registration.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) id: NodeId,
    pub(super) endpoint: SocketAddr,
    pub(super) origin: Origin,
    pub(super) reachability: Reachability,
    /// The session that speaks for it; `None` once that connection has ended.
    pub(super) session: Option<SessionId>,
    /// The order of that session's hello.
    pub(super) order: u64,
    pub(super) heartbeats: Heartbeats,
    pub(super) load: Option<u32>,
    pub(super) traits: NodeTraits,
    /// `None` until the node asks for replicas to keep.
    pub(super) capacity: Option<ReplicaCapacity>,
    pub(super) catalog: Catalog,
    /// Its liveness in the last event about it.
    pub(super) published: Option<Liveness>,
}

/// What survives when a node registers again.
#[derive(Debug)]
pub(super) struct Renewed {
    pub(super) load: Option<u32>,
    pub(super) capacity: Option<ReplicaCapacity>,
    pub(super) catalog: Catalog,
}

impl Node {
    /// What is due at `now`. Nothing for a registration that is not direct: see [`Origin`].
    pub(super) fn due(&mut self, limits: &Limits, now: Instant) -> Due {
        if self.origin == Origin::Direct { self.heartbeats.due(limits, now) } else { Due::Nothing }
    }
}
