//! Enters and removes registrations, in the maps, the index and the counters.
//!
//! Executes decisions of other files and refuses nothing. Invariant: a registration is in `listed`, in
//! `unverified` if it is unverified, and its entries are in the index; or it is in none of them.

use super::entry::{Node, Origin, Reachability, Renewal};
use super::index::slot_u32;
use super::staging::Change;
use super::state::Registry;
use crate::types::{ContentKey, FileName};

impl Registry {
    /// Replaces the catalog of a node by the entries in `changes`, which are sorted by name and have no
    /// removals.
    pub(super) fn replace_catalog(&mut self, slot: u32, mut changes: Vec<Change>) {
        let is_kept = |name: &FileName| changes.binary_search_by(|change| change.name().cmp(name)).is_ok();
        let names = self.node(slot).catalog.names();
        let removed: Vec<_> = names.filter(|name| !is_kept(name)).cloned().map(Change::Remove).collect();
        changes.splice(0..0, removed);
        self.change_catalog(slot, changes);
    }

    /// Applies `changes` to the catalog of a node.
    pub(super) fn change_catalog(&mut self, slot: u32, changes: Vec<Change>) {
        let maybe_lost = self.whole_before(slot, &changes);
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
        let lost: Vec<_> = maybe_lost.into_iter().filter(|content| !self.has_all(slot, *content)).collect();
        self.replication.record_losses(lost.into_iter());
    }

    /// The whole contents of a verified node under names that `changes` will remove or change. Empty if
    /// neither a policy nor a request counts copies.
    fn whole_before(&self, slot: u32, changes: &[Change]) -> Vec<ContentKey> {
        let node = self.node(slot);
        if node.reachability != Reachability::Verified || !self.replication.is_on() {
            return Vec::new();
        }
        let lost_content = |change: &Change| {
            let before = node.catalog.whole_content(self.index.slot_of(slot, change.name())?)?;
            let is_kept = matches!(change, Change::Put(entry) if entry.key() == before);
            (!is_kept).then_some(before)
        };
        changes.iter().filter_map(lost_content).collect()
    }

    /// Enters `node` in the maps, in the slot `renewed_slot` if it renews a registration. Returns its slot.
    pub(super) fn list(&mut self, renewed_slot: Option<u32>, node: Node) -> u32 {
        let (id, endpoint, reachability) = (node.id, node.endpoint, node.reachability);
        self.imported += usize::from(node.origin != Origin::Direct);
        let slot = match renewed_slot {
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

    /// Removes a registration from the maps and from its session, and returns the parts that a renewal keeps.
    pub(super) fn unlist(&mut self, slot: u32) -> Renewal {
        let node = self.node_mut(slot);
        let (id, endpoint, reachability, session) = (node.id, node.endpoint, node.reachability, node.session);
        let is_imported = node.origin != Origin::Direct;
        let renewal = Renewal {
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
        renewal
    }

    /// Removes a registration with its catalog and tasks.
    pub(super) fn forget(&mut self, slot: u32) {
        let Node { endpoint, reachability, published_liveness, .. } = *self.node(slot);
        let was_verified = reachability == Reachability::Verified;
        // Only nodes that `take_changes` has returned are gone for its caller.
        self.gone.extend(published_liveness.map(|_| endpoint));
        let Renewal { capacity, catalog, .. } = self.unlist(slot);
        self.drop_tasks(slot, capacity);
        if was_verified {
            self.replication.record_losses(catalog.whole_contents());
        }
        self.files -= catalog.len();
        self.names_bytes -= catalog.names_bytes();
        self.index.remove_all(slot, &catalog);
        self.nodes.remove(slot as usize);
    }
}
