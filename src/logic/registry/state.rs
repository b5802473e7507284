//! The registry: control connections and registrations, how they begin and end, and answers to finds.
//!
//! `staging`, `reachability`, `registration`, `replicas` and `node_list` add methods for their parts of the
//! state.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use slab::Slab;

use super::admission::{Limits, RegistryError};
use super::entry::{CallBack, Claim, Node, Origin, Reachability, Renewed, Session, SessionId};
use super::index::{Catalog, Index, slot_u32};
use super::liveness::{CallBackResult, Due, Heartbeats};
use super::replicas::Replication;
use super::staging::{Change, PageKind, Staged, Staging};
use crate::types::{FileName, Liveness, NodeId, NodeTraits, Nonce, Provider, Query, limits};

/// The state of a tracker; see the page of [`registry`](crate::logic::registry).
#[derive(Debug, Default)]
pub struct Registry {
    pub(super) limits: Limits,
    pub(super) sessions: HashMap<SessionId, Session>,
    pub(super) nodes: Slab<Node>,
    /// Slots of the unverified registrations.
    pub(super) unverified: HashMap<NodeId, u32>,
    /// All registrations in the order of the list of nodes. The verified one at an endpoint comes first
    /// there.
    pub(super) listed: BTreeMap<(SocketAddr, Reachability, NodeId), u32>,
    pub(super) index: Index,
    /// Number of hellos so far.
    hellos: u64,
    /// Number of registrations whose origin is not [`Origin::Direct`].
    pub(super) imported: usize,
    /// Entries in catalogs.
    pub(super) files: usize,
    /// Bytes of names in catalogs.
    pub(super) names_bytes: usize,
    /// Sum of all stagings.
    pub(super) staged: Staged,
    /// Number of staged pages so far.
    pub(super) stagings: u64,
    pub(super) replication: Replication,
    /// Endpoints of forgotten nodes whose end has not been published yet.
    pub(super) gone: Vec<SocketAddr>,
    /// Call-backs under way to claimed endpoints: for which address, and since when.
    pub(super) calls: HashMap<(SocketAddr, IpAddr), Instant>,
}

impl Registry {
    /// An empty registry with these limits.
    pub fn new(limits: Limits) -> Registry {
        let replication = Replication::new(limits.replicas);
        Registry { limits, replication, ..Registry::default() }
    }

    /// Makes `session` the control connection of `node`. The node says that it can be reached at `endpoint`
    /// and sends a heartbeat at each interval (`None`: never). A repeated hello starts again: it drops what
    /// was staged, and the session gives up a registration under another id or endpoint.
    ///
    /// # Errors
    /// [`RegistryError::Endpoint`] if no peer can connect there, [`RegistryError::Heartbeat`] outside the
    /// limits.
    pub fn hello(
        &mut self,
        session: SessionId,
        node: NodeId,
        endpoint: SocketAddr,
        heartbeat: Option<Duration>,
        nonce: Nonce,
        now: Instant,
    ) -> Result<(), RegistryError> {
        let endpoint = reachable(endpoint)?;
        let allowed = limits::ms(limits::HEARTBEAT_MIN_MS)..=limits::ms(limits::HEARTBEAT_MAX_MS);
        if let Some(interval) = heartbeat.filter(|interval| !allowed.contains(interval)) {
            return Err(RegistryError::Heartbeat(interval));
        }
        let is_same = |claim: &Claim| claim.node == node && claim.endpoint == endpoint;
        let kept = match self.sessions.get(&session) {
            Some(known) if is_same(&known.claim) => known.node,
            _ => None,
        };
        let called = self.sessions.get(&session).and_then(|known| known.called);
        match kept {
            Some(_) => self.unstage(session, Staging::Empty),
            None => self.disconnected(session, now),
        }
        self.hellos += 1;
        let claim = Claim { node, endpoint, nonce };
        let order = self.hellos;
        let (traits, staging) = (NodeTraits::default(), Staging::Empty);
        let known =
            Session { claim, heartbeat, traits, order, staging, called, is_verified: false, node: kept };
        self.sessions.insert(session, known);
        Ok(())
    }

    /// Stores what the node of `session` says about itself, in place of what it said before. A hello clears
    /// it. Answers contain it from the next registration on, or at once if there is a registration.
    ///
    /// # Errors
    /// [`RegistryError::NotRegistered`] before a hello.
    pub fn describe(&mut self, session: SessionId, traits: NodeTraits) -> Result<(), RegistryError> {
        let known = self.sessions.get_mut(&session).ok_or(RegistryError::NotRegistered)?;
        known.traits = traits;
        if let Some(slot) = known.node {
            self.node_mut(slot).traits = traits;
            self.check_consent(slot);
        }
        Ok(())
    }

    /// The last claim of `session`; `None` before its hello.
    #[cfg(test)]
    pub(super) fn claim(&self, session: SessionId) -> Option<Claim> {
        self.sessions.get(&session).map(|known| known.claim)
    }

    /// Puts the staged catalog in effect, after the caller has called the claimed endpoint back.
    ///
    /// A verified node is live and replaces every other registration at its endpoint. A verified node of the
    /// same id at another endpoint stays: otherwise any node that answers with its id could remove it from
    /// the answers. An unverified node is listed and never offered. It replaces only the registration of its
    /// own session and an earlier unverified one of its id, for the same reason.
    ///
    /// # Errors
    /// [`RegistryError::NotRegistered`] if a session with a later hello has verified this endpoint (for an
    /// unverified claim also if it has an unverified registration of this node id); [`RegistryError::Nodes`]
    /// if there are too many nodes; [`RegistryError::Incomplete`].
    pub fn commit_register(
        &mut self,
        session: SessionId,
        reachability: Reachability,
        now: Instant,
    ) -> Result<(), RegistryError> {
        let known = self.sessions.get(&session).ok_or(RegistryError::NotRegistered)?;
        let (claim, heartbeat, order, own) = (known.claim, known.heartbeat, known.order, known.node);
        let traits = known.traits;
        let (at_endpoint, unverified) =
            (self.verified_at(claim.endpoint), self.unverified.get(&claim.node).copied());
        // Only a later verified claim makes a verified one late: any node can make an unverified claim.
        let is_later = |slot: &u32| {
            let rival = self.node(*slot);
            rival.order > order && rival.reachability <= reachability
        };
        if at_endpoint.iter().chain(&unverified).any(is_later) {
            self.unstage(session, Staging::Empty);
            return Err(RegistryError::NotRegistered);
        }
        // The registration that continues under the new claim keeps its slot, so that an unchanged catalog
        // costs little. The others are displaced.
        let home = match reachability {
            Reachability::Verified => {
                at_endpoint.filter(|slot| self.node(*slot).id == claim.node).or(unverified)
            }
            Reachability::Unverified => own.or(unverified),
        };
        let displaced: Vec<u32> = match reachability {
            Reachability::Verified => at_endpoint.into_iter().chain(unverified).collect(),
            Reachability::Unverified => unverified.into_iter().collect(),
        };
        if home.is_none() && displaced.is_empty() && self.nodes.len() >= self.limits.nodes_max {
            self.unstage(session, Staging::Empty);
            return Err(RegistryError::Nodes { max: self.limits.nodes_max });
        }
        let changes = self.take_pages(session, PageKind::Register)?;

        for slot in displaced.into_iter().filter(|slot| Some(*slot) != home) {
            self.forget(slot);
        }
        let heartbeats = match reachability {
            Reachability::Verified => Heartbeats::live(heartbeat, now),
            Reachability::Unverified => Heartbeats::unverified(heartbeat, now),
        };
        let published = home.and_then(|slot| self.node(slot).published);
        let Renewed { load, capacity, catalog } = match home {
            Some(slot) => self.unlist(slot),
            None => Renewed { load: None, capacity: None, catalog: Catalog::with_capacity(changes.len()) },
        };
        let node = Node {
            id: claim.node,
            endpoint: claim.endpoint,
            origin: Origin::Direct,
            reachability,
            session: Some(session),
            order,
            heartbeats,
            load,
            traits,
            capacity,
            catalog,
            published,
        };
        let slot = self.list(home, node);
        self.session_mut(session).node = Some(slot);
        self.check_consent(slot);
        self.record_reachability(session, reachability);
        self.replace_catalog(slot, changes);
        Ok(())
    }

    /// Puts the staged changes in effect.
    ///
    /// # Errors
    /// [`RegistryError::NotRegistered`], [`RegistryError::Incomplete`], and [`RegistryError::FilesOfNode`] or
    /// [`RegistryError::NamesOfNode`] if the catalog would become too large.
    pub fn commit_update(&mut self, session: SessionId, now: Instant) -> Result<(), RegistryError> {
        let slot = self.registered(session)?;
        let changes = self.take_pages(session, PageKind::Update)?;
        let catalog = &self.node(slot).catalog;
        let (mut len, mut names_bytes) = (catalog.len(), catalog.names_bytes());
        for change in &changes {
            match (change, self.index.slot_of(slot, change.name())) {
                (Change::Remove(name), Some(_)) => {
                    len -= 1;
                    names_bytes -= name.as_str().len();
                }
                (Change::Put(entry), None) => {
                    len += 1;
                    names_bytes += entry.name.as_str().len();
                }
                _ => {}
            }
        }
        if len > self.limits.files_per_node_max {
            return Err(RegistryError::FilesOfNode { max: self.limits.files_per_node_max });
        }
        if names_bytes > self.limits.names_per_node_max_bytes {
            return Err(RegistryError::NamesOfNode { max: self.limits.names_per_node_max_bytes });
        }
        self.node_mut(slot).heartbeats.observe(now);
        self.change_catalog(slot, changes);
        Ok(())
    }

    /// Records a heartbeat of the node, which takes part in `load` transfers.
    ///
    /// # Errors
    /// [`RegistryError::NotRegistered`].
    pub fn heartbeat(&mut self, session: SessionId, load: u32, now: Instant) -> Result<(), RegistryError> {
        let slot = self.registered(session)?;
        let node = self.node_mut(slot);
        node.load = Some(load);
        node.heartbeats.observe(now);
        Ok(())
    }

    /// Forgets the node of `session`.
    ///
    /// # Errors
    /// [`RegistryError::NotRegistered`].
    pub fn leave(&mut self, session: SessionId) -> Result<(), RegistryError> {
        let slot = self.registered(session)?;
        self.unstage(session, Staging::Empty);
        self.forget(slot);
        Ok(())
    }

    /// Records the end of a control connection: what it staged is dropped and its node becomes suspect. An
    /// unverified node is forgotten, because only this connection spoke for it. Does nothing for a session
    /// without a hello.
    pub fn disconnected(&mut self, session: SessionId, now: Instant) {
        self.unstage(session, Staging::Empty);
        let Some(slot) = self.sessions.remove(&session).and_then(|known| known.node) else {
            return;
        };
        let node = self.node_mut(slot);
        node.session = None;
        node.heartbeats.suspect(now);
        if node.reachability == Reachability::Unverified {
            self.forget(slot);
        }
    }

    /// Lets time pass. Nodes that missed their heartbeats become suspect (unverified ones are forgotten),
    /// suspects that were silent for too long are forgotten, and the suspects to call back now are returned.
    /// Looks at every node once. The caller calls it several times per heartbeat interval.
    pub fn due(&mut self, now: Instant) -> Vec<CallBack> {
        let mut call_backs = Vec::new();
        let mut gone = Vec::new();
        for (slot, node) in &mut self.nodes {
            match node.due(&self.limits, now) {
                Due::Nothing => {}
                Due::CallBack => call_backs.push(CallBack { node: node.id, endpoint: node.endpoint }),
                Due::Forget => gone.push(slot_u32(slot)),
            }
        }
        for slot in gone {
            self.forget(slot);
        }
        call_backs
    }

    /// Applies the outcome of a call-back. A suspect that answers with its id is offered until it falls
    /// silent. A suspect that refuses or answers with another id is forgotten. An outcome that comes too
    /// late, for a node that is not suspect or not known any more, changes nothing.
    pub fn called_back(&mut self, call_back: CallBack, outcome: CallBackResult, now: Instant) {
        let Some(&slot) = self.listed.get(&(call_back.endpoint, Reachability::Verified, call_back.node))
        else {
            return;
        };
        if self.node_mut(slot).heartbeats.called_back(call_back.node, outcome, now) == Due::Forget {
            self.forget(slot);
        }
    }

    /// Offered holders of what `query` names, without the first `skip`. Holders with a direct registration
    /// come first; within each part the order is by content id for a content, otherwise by node. The order
    /// stays the same while nothing changes. One node has at most [`limits::NAMES_PER_CONTENT_MAX`] names for
    /// each content or MD5. Lazy: stop when the page is full.
    ///
    /// # Errors
    /// [`RegistryError::Skip`], because rows are skipped one by one.
    pub fn find(&self, query: &Query, skip: usize) -> Result<impl Iterator<Item = Provider>, RegistryError> {
        if skip > limits::FIND_SKIP_MAX {
            return Err(RegistryError::Skip { skip });
        }
        let is_direct = |slot: u32| self.node(slot).origin == Origin::Direct;
        let direct = self.index.holders(query, move |slot| self.is_offered(slot) && is_direct(slot));
        let imported = (self.imported > 0)
            .then(|| self.index.holders(query, move |slot| self.is_offered(slot) && !is_direct(slot)));
        let offered = direct.chain(imported.into_iter().flatten());
        Ok(offered.skip(skip).map(|(slot, entry)| {
            let node = self.node(slot);
            Provider {
                node: node.id,
                endpoint: node.endpoint,
                entry: node.catalog.entry(entry),
                attributes: node.traits.to_attributes(),
            }
        }))
    }

    /// Names with an offered holder, in order, those after `after`. Lazy.
    pub fn files_after(&self, after: Option<&FileName>) -> impl Iterator<Item = FileName> {
        self.index.names_after(after, |slot| self.is_offered(slot))
    }

    pub(super) fn is_offered(&self, slot: u32) -> bool {
        self.node(slot).heartbeats.liveness() == Liveness::Live
    }

    pub(super) fn node(&self, slot: u32) -> &Node {
        &self.nodes[slot as usize]
    }

    pub(super) fn node_mut(&mut self, slot: u32) -> &mut Node {
        &mut self.nodes[slot as usize]
    }

    pub(super) fn session_mut(&mut self, session: SessionId) -> &mut Session {
        self.sessions.get_mut(&session).expect("the caller has looked this session up")
    }

    /// Slot of the registration that `session` speaks for.
    pub(super) fn registered(&self, session: SessionId) -> Result<u32, RegistryError> {
        self.sessions.get(&session).and_then(|known| known.node).ok_or(RegistryError::NotRegistered)
    }

    /// Slot of the verified registration at `endpoint`.
    pub(super) fn verified_at(&self, endpoint: SocketAddr) -> Option<u32> {
        let range = (endpoint, Reachability::Verified, NodeId(0))
            ..=(endpoint, Reachability::Verified, NodeId(u128::MAX));
        self.listed.range(range).next().map(|(_, slot)| *slot)
    }
}

/// `endpoint` in its canonical form (IPv4 as such), if a peer can connect to such an address at all.
fn reachable(endpoint: SocketAddr) -> Result<SocketAddr, RegistryError> {
    let ip = endpoint.ip().to_canonical();
    let is_broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
    if endpoint.port() == 0 || ip.is_unspecified() || ip.is_multicast() || is_broadcast {
        return Err(RegistryError::Endpoint(endpoint));
    }
    Ok(SocketAddr::new(ip, endpoint.port()))
}
