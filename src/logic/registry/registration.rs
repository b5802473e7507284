//! Registrations coming and going: the maps that a node is found by, its catalog, and what has to be undone
//! when it is gone.
//!
//! Carries out what has been decided, and refuses nothing. Invariant: a node is in `listed`, in `unproved` if
//! it is, and its entries in the index, or it is nowhere.

use super::index::{Catalog, slot_u32};
use super::replicas::ReplicaCapacity;
use super::staging::Change;
use super::{Node, Reachability, Registry};
use crate::types::{ContentKey, FileName};

impl Registry {
    /// Makes the catalog of a node what `changes`, sorted by name and without removals, say.
    pub(super) fn replace_catalog(&mut self, slot: u32, mut changes: Vec<Change>) {
        let is_kept = |name: &FileName| changes.binary_search_by(|change| change.name().cmp(name)).is_ok();
        let names = self.node(slot).catalog.names();
        let removed: Vec<_> = names.filter(|name| !is_kept(name)).cloned().map(Change::Remove).collect();
        changes.splice(0..0, removed);
        self.change_catalog(slot, changes);
    }

    pub(super) fn change_catalog(&mut self, slot: u32, changes: Vec<Change>) {
        let at_stake = self.whole_before(slot, &changes);
        let catalog = &mut self.nodes[slot as usize].catalog;
        let (files, names_bytes) = (catalog.len(), catalog.names_bytes());
        for change in changes {
            match change {
                Change::Remove(name) => self.index.remove(slot, catalog, &name),
                Change::Put(entry) => self.index.put(slot, catalog, entry),
            }
        }
        self.files = self.files - files + catalog.len();
        self.names_bytes = self.names_bytes - names_bytes + catalog.names_bytes();
        let lost: Vec<_> = at_stake.into_iter().filter(|content| !self.has_all(slot, *content)).collect();
        self.replication.lose(lost.into_iter());
    }

    /// The contents that a proved node has whole now, under names that are about to lead to something else.
    /// None while nobody counts copies.
    fn whole_before(&self, slot: u32, changes: &[Change]) -> Vec<ContentKey> {
        let node = self.node(slot);
        if node.proof != Reachability::Proved || !self.replication.is_on() {
            return Vec::new();
        }
        let whole = |change: &Change| {
            let before = node.catalog.whole_content(self.index.slot_of(slot, change.name())?)?;
            let is_kept = matches!(change, Change::Put(entry) if entry.key() == before);
            (!is_kept).then_some(before)
        };
        changes.iter().filter_map(whole).collect()
    }

    /// Enters `node` in the maps, in its former slot if it has one.
    pub(super) fn list(&mut self, home: Option<u32>, node: Node) -> u32 {
        let (id, endpoint, proof) = (node.id, node.endpoint, node.proof);
        let slot = match home {
            Some(slot) => {
                *self.node_mut(slot) = node;
                slot
            }
            None => slot_u32(self.nodes.insert(node)),
        };
        if proof == Reachability::Unproved {
            self.unproved.insert(id, slot);
        }
        self.listed.insert((endpoint, proof, id), slot);
        slot
    }

    /// Takes a registration out of the maps and away from its session, and hands out what outlives a renewal:
    /// load, what it keeps for others, and catalog.
    pub(super) fn unlist(&mut self, slot: u32) -> (Option<u32>, Option<ReplicaCapacity>, Catalog) {
        let node = self.node_mut(slot);
        let (id, endpoint, proof, session) = (node.id, node.endpoint, node.proof, node.session);
        let kept = (node.load, node.keeping.take(), std::mem::take(&mut node.catalog));
        if proof == Reachability::Unproved {
            self.unproved.remove(&id);
        }
        self.listed.remove(&(endpoint, proof, id));
        if let Some(known) = session.and_then(|session| self.sessions.get_mut(&session)) {
            known.node = None;
        }
        kept
    }

    pub(super) fn forget(&mut self, slot: u32) {
        let Node { endpoint, proof, told, .. } = *self.node(slot);
        let was_proved = proof == Reachability::Proved;
        self.gone.extend(told.map(|_| endpoint));
        let (_, keeping, catalog) = self.unlist(slot);
        self.drop_tasks(slot, keeping);
        if was_proved {
            self.replication.lose(catalog.whole_contents());
        }
        self.files -= catalog.len();
        self.names_bytes -= catalog.names_bytes();
        self.index.remove_all(slot, &catalog);
        self.nodes.remove(slot as usize);
    }
}
