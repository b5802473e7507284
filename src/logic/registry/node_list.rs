//! The list of nodes, and what has changed in it.

use std::net::SocketAddr;
use std::time::Instant;

use super::index::slot_u32;
use super::state::Registry;

use crate::types::{Liveness, NodeSummary};

impl Registry {
    /// All registrations by endpoint, without the first `skip`. Lazy.
    pub fn nodes(&self, skip: usize) -> impl Iterator<Item = NodeSummary> {
        self.nodes_with_last_message(skip).map(|(summary, _)| summary)
    }

    /// [`Registry::nodes`] with the time of the last message of each.
    pub fn nodes_with_last_message(&self, skip: usize) -> impl Iterator<Item = (NodeSummary, Instant)> {
        self.listed.values().skip(skip).map(|slot| self.summary(*slot))
    }

    /// The verified node at `endpoint`, and the time of its last message.
    pub fn node_at(&self, endpoint: SocketAddr) -> Option<(NodeSummary, Instant)> {
        self.verified_at(endpoint).map(|slot| self.summary(slot))
    }

    /// The liveness of each registration, in no order.
    pub fn liveness(&self) -> impl Iterator<Item = Liveness> {
        self.listed.values().map(|slot| self.node(*slot).heartbeats.liveness())
    }

    /// Number of entries in all catalogs.
    pub fn entries(&self) -> usize {
        self.files
    }

    /// What has changed since the last call: endpoints of forgotten nodes, then nodes that are new or have
    /// another liveness. A node that came and went between two calls is not in it. Looks at every node.
    pub fn take_changes(&mut self) -> (Vec<SocketAddr>, Vec<NodeSummary>) {
        let mut changed = Vec::new();
        for (slot, node) in &mut self.nodes {
            let now = Some(node.heartbeats.liveness());
            if std::mem::replace(&mut node.published, now) != now {
                changed.push(slot_u32(slot));
            }
        }
        let summaries = changed.into_iter().map(|slot| self.summary(slot).0).collect();
        (std::mem::take(&mut self.gone), summaries)
    }

    fn summary(&self, slot: u32) -> (NodeSummary, Instant) {
        let node = self.node(slot);
        let summary = NodeSummary {
            node: node.id,
            endpoint: node.endpoint,
            liveness: node.heartbeats.liveness(),
            files: slot_u32(node.catalog.files()),
            load: node.load,
            attributes: node.traits.to_attributes(),
        };
        (summary, node.heartbeats.last_message())
    }
}
