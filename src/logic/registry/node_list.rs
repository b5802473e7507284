//! The list of nodes, for those who show it, and what has changed in it.

use std::net::SocketAddr;
use std::time::Instant;

use super::index::slot_u32;
use super::state::Registry;

use crate::types::{Liveness, NodeSummary};

impl Registry {
    /// All registrations by endpoint, without the first `skip`. Lazy.
    pub fn nodes(&self, skip: usize) -> impl Iterator<Item = NodeSummary> {
        self.nodes_heard(skip).map(|(summary, _)| summary)
    }

    /// [`Registry::nodes`] with when each was last heard.
    pub fn nodes_heard(&self, skip: usize) -> impl Iterator<Item = (NodeSummary, Instant)> {
        self.listed.values().skip(skip).map(|slot| self.summary(*slot))
    }

    /// The verified node at `endpoint`, and when it was last heard.
    pub fn node_at(&self, endpoint: SocketAddr) -> Option<(NodeSummary, Instant)> {
        self.verified_at(endpoint).map(|slot| self.summary(slot))
    }

    /// How each registration stands, in no order.
    pub fn liveness(&self) -> impl Iterator<Item = Liveness> {
        self.listed.values().map(|slot| self.node(*slot).heartbeats.liveness())
    }

    /// Entries in all catalogs.
    pub fn entries(&self) -> usize {
        self.files
    }

    /// What has become of nodes since this was last asked: where there are none any more, then those that are
    /// new or stand otherwise than they did. What came and went in between is not published. Looks at every
    /// node.
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
        (summary, node.heartbeats.heard())
    }
}
