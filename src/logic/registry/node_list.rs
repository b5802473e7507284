//! The list of nodes, and its changes.

use std::net::SocketAddr;
use std::time::Instant;

use super::index::slot_u32;
use super::state::Registry;

use crate::types::{Liveness, NodeSummary};

impl Registry {
    /// All registrations in the order of their endpoints, without the first `skip`. Lazy.
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

    /// The liveness of each registration.
    pub fn liveness(&self) -> impl Iterator<Item = Liveness> {
        self.listed.values().map(|slot| self.node(*slot).heartbeats.liveness())
    }

    /// Number of entries in all catalogs.
    pub fn entries(&self) -> usize {
        self.files
    }

    /// The changes since the last call: the endpoints of nodes that were forgotten, and the nodes that are
    /// new or have another liveness. A node that came and went between two calls is in neither. Looks at
    /// every node.
    pub fn take_changes(&mut self) -> (Vec<SocketAddr>, Vec<NodeSummary>) {
        let mut changed = Vec::new();
        for (slot, node) in &mut self.nodes {
            let current = Some(node.heartbeats.liveness());
            if std::mem::replace(&mut node.published_liveness, current) != current {
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
            files: slot_u32(node.catalog.whole_files()),
            load: node.load,
            attributes: node.traits.to_attributes(),
        };
        (summary, node.heartbeats.last_message())
    }
}
