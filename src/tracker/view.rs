//! Reading what a running tracker knows, from other threads than its fronts.
//!
//! Each answer takes the registry's lock once, for one look-up of bounded size. Nothing is changed through
//! here but the count of finds.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;

use super::shared::Shared;
use super::stats::{Finds, TrackerStats, Via};
use crate::logic::registry::RegistryError;
use crate::rt::{EventBroadcast, clock};
use crate::types::{Epoch, FileName, Liveness, NodeSummary, Provider, Query, limits};

/// Cheap to clone; outlives the tracker, and then tells its last state.
#[derive(Debug, Clone)]
pub struct View(Arc<Shared>);

/// A source, and what the tracker was told by it.
#[derive(Debug, Clone)]
pub struct HolderRow {
    pub provider: Provider,
    /// `None` if it has gone meanwhile.
    pub node: Option<NodeSummary>,
}

/// A registration.
#[derive(Debug, Clone)]
pub struct KnownNode {
    pub summary: NodeSummary,
    /// Since its last message or heartbeat.
    pub silent_for: Duration,
}

/// How much there is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub live: usize,
    pub suspect: usize,
    pub unproved: usize,
    /// Entries in all catalogs: a file that two nodes have counts twice.
    pub files: usize,
    /// Contents with a wish for copies of their own.
    pub replica_wishes: usize,
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

    pub fn epoch(&self) -> Epoch {
        self.0.epoch
    }

    pub fn uptime(&self) -> Duration {
        clock::now().saturating_duration_since(self.0.started)
    }

    /// The first `max` holders that a find would give, and whether there are more. Counts as a find of
    /// `asker`, who comes by HTTP.
    ///
    /// # Errors
    /// [`RegistryError`], if the registry refuses the query.
    pub fn find(
        &self,
        query: &Query,
        max: usize,
        asker: IpAddr,
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
        self.0.record_find((query, asker, Via::Http), (&providers, more), began);
        let holders = providers.into_iter().zip(nodes).map(|(provider, node)| HolderRow { provider, node });
        Ok((holders.collect(), more))
    }

    /// The first `max` registrations by endpoint after `skip`, and whether there are more.
    pub fn nodes(&self, skip: usize, max: usize) -> (Vec<KnownNode>, bool) {
        let now = clock::now();
        let known = |(summary, heard): (NodeSummary, Instant)| KnownNode {
            summary,
            silent_for: now.saturating_duration_since(heard),
        };
        let mut nodes: Vec<KnownNode> =
            self.0.registry.read().nodes_heard(skip).take(max.saturating_add(1)).map(known).collect();
        let more = nodes.len() > max;
        nodes.truncate(max);
        (nodes, more)
    }

    /// The first `max` names with a live holder that begin with `prefix` and come after `after`, in order,
    /// and whether there are more.
    pub fn names(&self, prefix: &str, after: Option<&FileName>, max: usize) -> (Vec<FileName>, bool) {
        // The last name that may come before all that begin with the prefix.
        let first = match prefix.strip_suffix('/').unwrap_or(prefix) {
            "" if prefix.is_empty() => None,
            text => match FileName::new(text) {
                Ok(name) => Some(name),
                // No name begins so: none is looked for.
                Err(_) => return (Vec::new(), false),
            },
        };
        let start = after.cloned().or(first);
        let mut names = Vec::new();
        let registry = self.0.registry.read();
        let exact = start.clone().filter(|name| after.is_none() && name.as_str() == prefix);
        let exact = exact.filter(|name| {
            registry.find(&Query::Name(name.clone()), 0).is_ok_and(|mut found| found.next().is_some())
        });
        let later = registry.files_after(start.as_ref()).take(limits::PASSED_OVER_MAX);
        let later = later.skip_while(|name| name.as_str() < prefix);
        let with_prefix = later.take_while(|name| name.as_str().starts_with(prefix));
        names.extend(exact.into_iter().chain(with_prefix).take(max.saturating_add(1)));
        drop(registry);
        let more = names.len() > max;
        names.truncate(max);
        (names, more)
    }

    pub fn counts(&self) -> Counts {
        let registry = self.0.registry.read();
        let mut counts = Counts { files: registry.entries(), ..Counts::default() };
        (counts.replica_wishes, counts.replica_tasks) = registry.replication_counts();
        for liveness in registry.liveness() {
            match liveness {
                Liveness::Live => counts.live += 1,
                Liveness::Suspect => counts.suspect += 1,
                Liveness::Unproved => counts.unproved += 1,
            }
        }
        counts
    }

    /// What was asked so far.
    pub fn tally(&self) -> TrackerStats {
        self.0.tally.lock().clone()
    }

    /// How many finds there were.
    pub fn tally_totals(&self) -> Finds {
        self.0.tally.lock().finds
    }

    /// What happens at the tracker.
    pub fn events(&self) -> &EventBroadcast {
        &self.0.events
    }

    /// Delivers one item after something has changed, however much it was; whoever takes it out sees the
    /// state after.
    pub fn changes(&self) -> Receiver<()> {
        self.0.changed.1.clone()
    }
}
