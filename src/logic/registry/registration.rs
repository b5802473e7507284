//! Enters and removes registrations: the maps that find a node, its catalog, and everything that ends with
//! it.
//!
//! Carries decisions out and refuses nothing. Invariant: a registration is in `listed`, in `unverified` if it
//! is unverified, and its entries are in the index; or it is in none of them.

use super::entry::{Node, Origin, Reachability, Renewed};
use super::index::slot_u32;
use super::staging::Change;
use super::state::Registry;
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

    /// Applies `changes` to the catalog of a node.
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

    /// The contents that a verified node has whole now, under names that are about to change. Empty as long
    /// as no policy or request counts copies.
    fn whole_before(&self, slot: u32, changes: &[Change]) -> Vec<ContentKey> {
        let node = self.node(slot);
        if node.reachability != Reachability::Verified || !self.replication.is_on() {
            return Vec::new();
        }
        let whole = |change: &Change| {
            let before = node.catalog.whole_content(self.index.slot_of(slot, change.name())?)?;
            let is_kept = matches!(change, Change::Put(entry) if entry.key() == before);
            (!is_kept).then_some(before)
        };
        changes.iter().filter_map(whole).collect()
    }

    /// Enters `node` in the maps, in the slot `home` if it has one.
    pub(super) fn list(&mut self, home: Option<u32>, node: Node) -> u32 {
        let (id, endpoint, reachability) = (node.id, node.endpoint, node.reachability);
        self.imported += usize::from(node.origin != Origin::Direct);
        let slot = match home {
            Some(slot) => {
                *self.node_mut(slot) = node;
                slot
            }
            None => slot_u32(self.nodes.insert(node)),
        };
        if reachability == Reachability::Unverified {
            self.unverified.insert(id, slot);
        }
        self.listed.insert((endpoint, reachability, id), slot);
        slot
    }

    /// Takes a registration out of the maps and away from its session, and returns what outlives a renewal.
    pub(super) fn unlist(&mut self, slot: u32) -> Renewed {
        let node = self.node_mut(slot);
        let (id, endpoint, reachability, session) = (node.id, node.endpoint, node.reachability, node.session);
        let is_imported = node.origin != Origin::Direct;
        let renewed = Renewed {
            load: node.load,
            capacity: node.capacity.take(),
            catalog: std::mem::take(&mut node.catalog),
        };
        self.imported -= usize::from(is_imported);
        if reachability == Reachability::Unverified {
            self.unverified.remove(&id);
        }
        self.listed.remove(&(endpoint, reachability, id));
        if let Some(known) = session.and_then(|session| self.sessions.get_mut(&session)) {
            known.node = None;
        }
        renewed
    }

    /// Removes a registration and everything that belongs to it.
    pub(super) fn forget(&mut self, slot: u32) {
        let Node { endpoint, reachability, published, .. } = *self.node(slot);
        let was_verified = reachability == Reachability::Verified;
        self.gone.extend(published.map(|_| endpoint));
        let Renewed { capacity, catalog, .. } = self.unlist(slot);
        self.drop_tasks(slot, capacity);
        if was_verified {
            self.replication.lose(catalog.whole_contents());
        }
        self.files -= catalog.len();
        self.names_bytes -= catalog.names_bytes();
        self.index.remove_all(slot, &catalog);
        self.nodes.remove(slot as usize);
    }
}
