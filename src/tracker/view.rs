//! `View`: read access to the state of a running tracker, for threads that are not its own.
//!
//! Each method takes the registry's lock once. The rows and names that it returns or skips are bounded by an
//! argument or a limit. The only change is that a find is counted.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;

use super::shared::Shared;
use super::stats::{Finds, RecordedFind, TrackerStats, Via};
use crate::logic::registry::RegistryError;
use crate::rt::{EventBroadcast, clock};
use crate::types::{Epoch, FileName, Liveness, NodeSummary, Provider, Query, limits};

/// Read access to a tracker's state. Cheap to clone. It outlives the tracker and then shows its last state.
#[derive(Debug, Clone)]
pub struct View(Arc<Shared>);

/// A holder and its node.
#[derive(Debug, Clone)]
pub struct HolderRow {
    /// As a find returns it.
    pub provider: Provider,
    /// The row of its node in the list of nodes. `None` if no node is listed at its address.
    pub node: Option<NodeSummary>,
}

/// A registration.
#[derive(Debug, Clone)]
pub struct KnownNode {
    /// Its row in the list of nodes.
    pub summary: NodeSummary,
    /// Time since the node's last message.
    pub silent_for: Duration,
}

/// Numbers of nodes, files and replicas.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Live nodes.
    pub live: usize,
    /// Suspect nodes.
    pub suspect: usize,
    /// Nodes whose endpoint is not verified.
    pub unproved: usize,
    /// Entries in all catalogs: a file that two nodes have counts twice.
    pub files: usize,
    /// Contents with a replication request of their own.
    pub replica_requests: usize,
    /// Copies that nodes are making.
    pub replica_tasks: usize,
}

impl View {
    pub(super) fn new(shared: Arc<Shared>) -> View {
        View(shared)
    }

    /// Where the tracker listens.
    pub fn addr(&self) -> SocketAddr {
        self.0.addr
    }

    /// The tracker's epoch.
    pub fn epoch(&self) -> Epoch {
        self.0.epoch
    }

    /// Time since the tracker's start.
    pub fn uptime(&self) -> Duration {
        clock::now().saturating_duration_since(self.0.started)
    }

    /// The first `max` holders that a find returns, and whether there are more. Counts as a find of
    /// `requester` by the protocol `via`.
    ///
    /// # Errors
    /// [`RegistryError`] if the registry refuses the query.
    pub fn find(
        &self,
        query: &Query,
        max: usize,
        requester: IpAddr,
        via: Via,
    ) -> Result<(Vec<HolderRow>, bool), RegistryError> {
        let began = clock::now();
        let mut providers: Vec<Provider> = Vec::new();
        let nodes: Vec<Option<NodeSummary>> = {
            let registry = self.0.registry.read();
            providers.extend(registry.find(query, 0)?.take(max.saturating_add(1)));
            providers.iter().map(|one| Some(registry.node_at(one.endpoint)?.0)).collect()
        };
        let more = providers.len() > max;
        providers.truncate(max);
        self.0.record_find(RecordedFind { query, requester, via }, &providers, more, began);
        let holders = providers.into_iter().zip(nodes).map(|(provider, node)| HolderRow { provider, node });
        Ok((holders.collect(), more))
    }

    /// The first `max` registrations by endpoint after `skip`, and whether there are more.
    pub fn nodes(&self, skip: usize, max: usize) -> (Vec<KnownNode>, bool) {
        let now = clock::now();
        let known = |(summary, last_message): (NodeSummary, Instant)| KnownNode {
            summary,
            silent_for: now.saturating_duration_since(last_message),
        };
        let mut nodes: Vec<KnownNode> = self
            .0
            .registry
            .read()
            .nodes_with_last_message(skip)
            .take(max.saturating_add(1))
            .map(known)
            .collect();
        let more = nodes.len() > max;
        nodes.truncate(max);
        (nodes, more)
    }

    /// The first `max` names with a live holder that begin with `prefix` and come after `after`, in order,
    /// and whether there are more.
    pub fn names(&self, prefix: &str, after: Option<&FileName>, max: usize) -> (Vec<FileName>, bool) {
        // The registry lists the names after a name. A prefix such as `dir/` is not a name itself, but `dir`
        // is, and comes before all names with the prefix.
        let first = match prefix.strip_suffix('/').unwrap_or(prefix) {
            "" if prefix.is_empty() => None,
            text => match FileName::new(text) {
                Ok(name) => Some(name),
                // No name begins with it.
                Err(_) => return (Vec::new(), false),
            },
        };
        let start = after.cloned().or(first);
        let mut names = Vec::new();
        let registry = self.0.registry.read();
        // The prefix can be the whole name of a file, which is not after itself.
        let exact = start.clone().filter(|name| after.is_none() && name.as_str() == prefix);
        let exact = exact.filter(|name| {
            registry.find(&Query::Name(name.clone()), 0).is_ok_and(|mut found| found.next().is_some())
        });
        let later = registry.files_after(start.as_ref()).take(limits::PASSED_OVER_MAX);
        // Names between `dir` and `dir/`, such as `dir-2`.
        let later = later.skip_while(|name| name.as_str() < prefix);
        let with_prefix = later.take_while(|name| name.as_str().starts_with(prefix));
        names.extend(exact.into_iter().chain(with_prefix).take(max.saturating_add(1)));
        drop(registry);
        let more = names.len() > max;
        names.truncate(max);
        (names, more)
    }

    /// Counts nodes, files and replicas.
    pub fn counts(&self) -> Counts {
        let registry = self.0.registry.read();
        let mut counts = Counts { files: registry.entries(), ..Counts::default() };
        (counts.replica_requests, counts.replica_tasks) = registry.replication_counts();
        for liveness in registry.liveness() {
            match liveness {
                Liveness::Live => counts.live += 1,
                Liveness::Suspect => counts.suspect += 1,
                Liveness::Unproved => counts.unproved += 1,
            }
        }
        counts
    }

    /// A copy of the counters and of the last finds.
    pub fn stats(&self) -> TrackerStats {
        self.0.stats.lock().clone()
    }

    /// Number of finds so far.
    pub fn finds(&self) -> Finds {
        self.0.stats.lock().finds
    }

    /// The events of the tracker.
    pub fn events(&self) -> &EventBroadcast {
        &self.0.events
    }

    /// Delivers one item after any number of changes. A reader that takes it out sees the state after them.
    pub fn changes(&self) -> Receiver<()> {
        self.0.changed.1.clone()
    }
}
