//! Imported registrations, which have no control connection to this tracker.

use super::*;

impl World {
    /// Imports a verified registration of node `n` at endpoint `e` from another tracker or a store.
    fn import(&mut self, n: u128, e: u16, origin: Origin, entries: Vec<FileEntry>) {
        let session = 1_000 + u64::from(e);
        self.join(session, n, e, entries);
        let registry = &mut self.registry;
        registry.sessions.remove(&SessionId(session));
        let slot = registry.verified_at(endpoint(e)).expect("registered");
        let node = registry.node_mut(slot);
        (node.origin, node.session, node.order) = (origin, None, 0);
        registry.imported += 1;
    }

    /// The numbers of the endpoints that a find for a name returns, in its order.
    fn find_endpoints(&self, text: &str, skip: usize) -> Vec<u16> {
        let query = Query::Name(name(text));
        let found = self.registry.find(&query, skip).expect("few rows are skipped");
        found.map(|provider| provider.endpoint.port() - 5000).collect()
    }
}

#[test]
fn only_direct_registrations_miss_heartbeats_and_are_called_back_and_expire() {
    for origin in [Origin::Linked(7), Origin::Shared] {
        let mut world = world();
        world.import(1, 1, origin, vec![entry("a", 1)]);
        world.join(2, 2, 2, vec![entry("a", 1)]);
        let called: Vec<_> = world.pass(3_000).iter().map(|call| call.node).collect();
        assert_eq!(called, [NodeId(2)]);
        assert_eq!(world.find_endpoints("a", 0), [1]);
        world.pass(600_000);
        world.pass(600_000);
        assert_eq!(world.listed(), [(1, Liveness::Live)]);
        world.check_counts();
    }
}

#[test]
fn a_find_answers_with_direct_registrations_first() {
    let mut world = world();
    world.import(1, 1, Origin::Shared, vec![entry("a", 1)]);
    world.join(2, 2, 2, vec![entry("a", 1)]);
    world.import(3, 3, Origin::Linked(7), vec![entry("a", 1)]);
    world.join(4, 4, 4, vec![entry("a", 1)]);
    assert_eq!(world.find_endpoints("a", 0), [2, 4, 1, 3]);
    assert_eq!(world.find_endpoints("a", 3), [3]);
    world.check_counts();
}

#[test]
fn a_direct_registration_replaces_an_imported_one_at_its_endpoint() {
    let mut world = world();
    world.import(1, 1, Origin::Linked(7), vec![entry("a", 1)]);
    world.join(2, 2, 1, vec![entry("b", 1)]);
    assert_eq!((world.files(), world.listed()), (vec!["b".to_owned()], vec![(2, Liveness::Live)]));
    world.import(3, 3, Origin::Shared, vec![entry("c", 1)]);
    world.join(3, 3, 3, vec![entry("c", 1)]);
    world.pass(3_000);
    assert_eq!(world.files(), Vec::<String>::new(), "a direct registration must send heartbeats");
    world.check_counts();
}
