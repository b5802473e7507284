//! The registry: how sessions and registrations begin and end, and answers to finds.
//!
//! `staging`, `reachability`, `registration`, `replicas` and `node_list` add methods for their parts of the
//! state.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use slab::Slab;

use super::admission::{Limits, RegistryError};
use super::entry::{CallBack, Claim, Node, Origin, Reachability, Renewal, Session, SessionId};
use super::index::{Catalog, Index, slot_u32};
use super::liveness::{CallBackResult, Heartbeats, Step};
use super::replicas::Replication;
use super::staging::{Change, PageKind, StagedSize, Staging};
use crate::types::{FileName, Liveness, NodeId, NodeTraits, Nonce, Provider, Query, limits};

/// The state of a tracker; see the module [`registry`](crate::logic::registry).
#[derive(Debug, Default)]
pub struct Registry {
    pub(super) limits: Limits,
    pub(super) sessions: HashMap<SessionId, Session>,
    pub(super) nodes: Slab<Node>,
    /// Slots of the unverified registrations.
    pub(super) unverified: HashMap<NodeId, u32>,
    /// Slots of all registrations, in the order of the list of nodes. At each endpoint the verified one comes
    /// first.
    pub(super) listed: BTreeMap<(SocketAddr, Reachability, NodeId), u32>,
    pub(super) index: Index,
    /// Number of hellos so far.
    hellos: u64,
    /// Number of registrations whose origin is not [`Origin::Direct`].
    pub(super) imported: usize,
    /// Number of entries in all catalogs.
    pub(super) files: usize,
    /// Bytes of the names in all catalogs.
    pub(super) names_bytes: usize,
    /// Size of all staged pages.
    pub(super) staged: StagedSize,
    /// Number of staged pages so far.
    pub(super) pages_staged: u64,
    pub(super) replication: Replication,
    /// Endpoints of forgotten nodes, for the next [`Registry::take_changes`].
    pub(super) gone: Vec<SocketAddr>,
    /// Call-backs under way to claimed endpoints: the endpoint, the address that caused the call-back, and
    /// when it began.
    pub(super) calls: HashMap<(SocketAddr, IpAddr), Instant>,
}

impl Registry {
    /// An empty registry with these limits.
    pub fn new(limits: Limits) -> Registry {
        let replication = Replication::new(limits.replicas);
        Registry { limits, replication, ..Registry::default() }
    }

    /// Makes `session` the control connection of `node`, which claims `endpoint` and announces its interval
    /// of heartbeats (`None`: it sends none). A repeated hello starts again: it drops the staged pages, and
    /// the session loses a registration with another id or endpoint.
    ///
    /// # Errors
    /// [`RegistryError::Endpoint`] if no peer can connect there, [`RegistryError::Heartbeat`] for an interval
    /// outside the limits.
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
        let kept_slot = match self.sessions.get(&session) {
            Some(known) if is_same(&known.claim) => known.node,
            _ => None,
        };
        let called_back_at = self.sessions.get(&session).and_then(|known| known.called_back_at);
        match kept_slot {
            Some(_) => self.unstage(session, Staging::Empty),
            None => self.disconnected(session, now),
        }
        self.hellos += 1;
        let claim = Claim { node, endpoint, nonce };
        let order = self.hellos;
        let (traits, staging) = (NodeTraits::default(), Staging::Empty);
        self.sessions.insert(
            session,
            Session {
                claim,
                heartbeat,
                traits,
                order,
                staging,
                called_back_at,
                is_verified: false,
                node: kept_slot,
            },
        );
        Ok(())
    }

    /// Stores the traits of the node of `session`, in place of earlier ones. A hello clears them. Answers
    /// contain them from the next registration on, or at once if there is a registration.
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

    /// Commits the staged catalog, after the caller has called the claimed endpoint back.
    ///
    /// A verified node is live and replaces every other verified registration at its endpoint. A verified
    /// node of the same id at another endpoint stays: otherwise any node that answers with its id could
    /// remove it from the answers. An unverified node is listed and never offered. It replaces only the
    /// registration of its own session and an earlier unverified one of its id, for the same reason. A
    /// verified one replaces the latter too.
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
        let (claim, heartbeat, order, own_slot) = (known.claim, known.heartbeat, known.order, known.node);
        let traits = known.traits;
        let (at_endpoint, unverified) =
            (self.verified_at(claim.endpoint), self.unverified.get(&claim.node).copied());
        // An unverified claim never stops a verified one: any node can make an unverified claim.
        let is_later = |slot: &u32| {
            let rival = self.node(*slot);
            rival.order > order && rival.reachability <= reachability
        };
        if at_endpoint.iter().chain(&unverified).any(is_later) {
            self.unstage(session, Staging::Empty);
            return Err(RegistryError::NotRegistered);
        }
        // The registration that the new one renews keeps its slot, so that an unchanged catalog costs little.
        // The others are displaced.
        let renewed_slot = match reachability {
            Reachability::Verified => {
                at_endpoint.filter(|slot| self.node(*slot).id == claim.node).or(unverified)
            }
            Reachability::Unverified => own_slot.or(unverified),
        };
        let displaced: Vec<u32> = match reachability {
            Reachability::Verified => at_endpoint.into_iter().chain(unverified).collect(),
            Reachability::Unverified => unverified.into_iter().collect(),
        };
        if renewed_slot.is_none() && displaced.is_empty() && self.nodes.len() >= self.limits.nodes_max {
            self.unstage(session, Staging::Empty);
            return Err(RegistryError::Nodes { max: self.limits.nodes_max });
        }
        let changes = self.take_pages(session, PageKind::Register)?;

        for slot in displaced.into_iter().filter(|slot| Some(*slot) != renewed_slot) {
            self.forget(slot);
        }
        let heartbeats = match reachability {
            Reachability::Verified => Heartbeats::live(heartbeat, now),
            Reachability::Unverified => Heartbeats::unverified(heartbeat, now),
        };
        let published_liveness = renewed_slot.and_then(|slot| self.node(slot).published_liveness);
        let Renewal { load, capacity, catalog } = match renewed_slot {
            Some(slot) => self.unlist(slot),
            None => Renewal { load: None, capacity: None, catalog: Catalog::with_capacity(changes.len()) },
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
            published_liveness,
        };
        let slot = self.list(renewed_slot, node);
        self.session_mut(session).node = Some(slot);
        self.check_consent(slot);
        self.record_reachability(session, reachability);
        self.replace_catalog(slot, changes);
        Ok(())
    }

    /// Commits the staged changes.
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
                // A removal of an unknown name, or an entry in place of an earlier one of that name.
                (Change::Remove(_), None) | (Change::Put(_), Some(_)) => {}
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

    /// Records the end of a control connection: its staged pages are dropped and its node becomes a suspect.
    /// An unverified node is forgotten, because it is never called back. Does nothing for a session without a
    /// hello.
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

    /// Applies the time `now`: nodes that missed their heartbeats become suspects (unverified ones are
    /// forgotten), and suspects that were silent for too long are forgotten. Returns the suspects to call
    /// back now. Looks at every node once. To be called several times per heartbeat interval.
    pub fn advance(&mut self, now: Instant) -> Vec<CallBack> {
        let mut call_backs = Vec::new();
        let mut gone = Vec::new();
        for (slot, node) in &mut self.nodes {
            match node.advance(&self.limits, now) {
                Step::Nothing => {}
                Step::CallBack => call_backs.push(CallBack { node: node.id, endpoint: node.endpoint }),
                Step::Forget => gone.push(slot_u32(slot)),
            }
        }
        for slot in gone {
            self.forget(slot);
        }
        call_backs
    }

    /// Applies the outcome of a call-back to a suspect. A suspect that answers with its id is offered until
    /// it does not answer. A suspect that refuses the connection, or answers with another id, is forgotten.
    /// Changes nothing if the node is not a suspect, or not known, any more.
    pub fn apply_call_back(&mut self, call_back: CallBack, outcome: CallBackResult, now: Instant) {
        let Some(&slot) = self.listed.get(&(call_back.endpoint, Reachability::Verified, call_back.node))
        else {
            return;
        };
        if self.node_mut(slot).heartbeats.apply_call_back(call_back.node, outcome, now) == Step::Forget {
            self.forget(slot);
        }
    }

    /// The offered holders of what `query` names, without the first `skip`. Holders with a direct
    /// registration come first. Of each kind the order is by content id for a content, otherwise by node; it
    /// stays the same while nothing changes. One node has at most [`limits::NAMES_PER_CONTENT_MAX`] names for
    /// each content or MD5. Lazy.
    ///
    /// # Errors
    /// [`RegistryError::Skip`] if `skip` is too large: rows are skipped one by one.
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

    /// Names after `after` (all, if `None`) with an offered holder, in order. Lazy.
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

    /// Slot of the registration that `session` has made.
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
