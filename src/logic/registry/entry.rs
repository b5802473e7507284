//! The records of the registry: sessions and registrations.
//!
//! Plain data, which [`Registry`](super::Registry) changes.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::admission::Limits;
use super::index::Catalog;
use super::liveness::{Heartbeats, Step};
use super::replicas::ReplicaCapacity;
use super::staging::Staging;
use crate::types::{Liveness, NodeId, NodeTraits, Nonce};

/// The number of a control connection. The caller never uses a number twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

/// Whether a call-back has verified the endpoint of a node: whether its listener showed the nonce of the
/// session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reachability {
    /// The listener at the claimed endpoint showed the nonce.
    Verified,
    /// The call-back failed. The tracker lists the node and never offers it.
    Unverified,
}

/// The origin of a registration.
///
/// Only a direct registration has a control connection here. So the tracker neither expects heartbeats of the
/// others nor calls them back: the part that imports them must also remove them. A find answers with direct
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

/// What a session says about its node. The tracker verifies it with a call-back to `endpoint`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// The node's id.
    pub node: NodeId,
    /// The endpoint of the node's listener.
    pub endpoint: SocketAddr,
    /// The nonce that the listener must show.
    pub nonce: Nonce,
}

/// A suspect that the tracker should call back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallBack {
    /// The id with which the node must answer.
    pub node: NodeId,
    /// The endpoint to connect to.
    pub endpoint: SocketAddr,
}

/// One control connection that has said hello.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) claim: Claim,
    /// Interval of heartbeats; `None`: the node sends no heartbeats.
    pub(super) heartbeat: Option<Duration>,
    pub(super) traits: NodeTraits,
    /// The number of its hello. Of two sessions that claim one endpoint, the later one has the larger number.
    pub(super) order: u64,
    pub(super) staging: Staging,
    /// When it last caused a call-back.
    pub(super) called_back_at: Option<Instant>,
    /// Whether that call-back verified this claim.
    pub(super) is_verified: bool,
    /// Slot of the registration that it has made.
    pub(super) node: Option<u32>,
}

/// One registration.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) id: NodeId,
    pub(super) endpoint: SocketAddr,
    pub(super) origin: Origin,
    pub(super) reachability: Reachability,
    /// The session that can change it; `None` once that connection has ended.
    pub(super) session: Option<SessionId>,
    /// The number of the hello of that session.
    pub(super) order: u64,
    pub(super) heartbeats: Heartbeats,
    pub(super) load: Option<u32>,
    pub(super) traits: NodeTraits,
    /// `None` until the node asks for replicas to keep.
    pub(super) capacity: Option<ReplicaCapacity>,
    pub(super) catalog: Catalog,
    /// Its liveness in the last result of [`Registry::take_changes`](super::Registry::take_changes).
    pub(super) published_liveness: Option<Liveness>,
}

/// The parts of a registration that a renewal keeps.
#[derive(Debug)]
pub(super) struct Renewal {
    pub(super) load: Option<u32>,
    pub(super) capacity: Option<ReplicaCapacity>,
    pub(super) catalog: Catalog,
}

impl Node {
    /// See [`Heartbeats::advance`]. A registration that is not direct needs no step: see [`Origin`].
    pub(super) fn advance(&mut self, limits: &Limits, now: Instant) -> Step {
        if self.origin == Origin::Direct { self.heartbeats.advance(limits, now) } else { Step::Nothing }
    }
}
