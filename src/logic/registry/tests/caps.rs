//! The limits on files, names, nodes and staged pages.

use super::*;

#[test]
fn files_are_limited_and_a_refusal_changes_nothing() {
    let entries = |count: u8| (0..count).map(|one| entry(&format!("f{one}"), one)).collect::<Vec<_>>();
    let shrunk = Limits { files_max: 8, files_per_node_max: 5, ..Limits::default() };
    for (first, second, expected) in [
        (4, 4, Ok(())),
        (5, 3, Ok(())),
        (5, 4, Err(RegistryError::Files { max: 8 })),
        (0, 5, Ok(())),
        (0, 6, Err(RegistryError::FilesOfNode { max: 5 })),
    ] {
        let mut world = World::new(shrunk.clone());
        world.join(1, 1, 1, entries(first));
        world.hello(2, 2, 2, None);
        // In pages of two entries: the excess entry is refused on whichever page it comes.
        let staged = entries(second).chunks(2).try_for_each(|page| world.stage(2, page.to_vec()));
        assert_eq!(staged, expected, "{first} and {second}");
        if staged.is_err() {
            assert_eq!(world.registry.staged, StagedSize::default());
            assert_eq!(world.stage(2, vec![]), Err(RegistryError::Incomplete));
            assert_eq!(world.commit(2, Reachability::Verified), Err(RegistryError::Incomplete));
            assert_eq!(world.files().len(), usize::from(first));
            world.hello(2, 2, 2, None);
            world.register(2, entries(1), Reachability::Verified).expect("accepted after a new hello");
        }
        world.check_counts();
    }
}

#[test]
fn an_update_may_fill_a_catalog_and_not_overfill_it() {
    let mut world = World::new(Limits { files_per_node_max: 2, ..Limits::default() });
    world.join(1, 1, 1, vec![entry("a", 1), entry("b", 1)]);
    assert_eq!(world.update(1, vec![], vec![entry("a", 2)]), Ok(()));
    assert_eq!(world.update(1, vec![name("a")], vec![entry("c", 2)]), Ok(()));
    let too_many = Err(RegistryError::FilesOfNode { max: 2 });
    assert_eq!(world.update(1, vec![], vec![entry("d", 1)]), too_many);
    assert_eq!(world.files(), ["b", "c"]);
    let removed = vec![name("b"), name("x"), name("y")];
    assert_eq!(world.update(1, removed, vec![]), Err(RegistryError::Removals { max: 2 }));
    assert_eq!(world.files(), ["b", "c"]);
    world.check_counts();
}

#[test]
fn a_full_tracker_refuses_new_nodes_and_renews_known_ones() {
    let mut world = World::new(Limits { nodes_max: 2, ..Limits::default() });
    world.join(1, 1, 1, vec![]);
    world.join(2, 2, 2, vec![]);
    for reachability in [Reachability::Verified, Reachability::Unverified] {
        world.hello(3, 3, 3, None);
        assert_eq!(world.register(3, vec![], reachability), Err(RegistryError::Nodes { max: 2 }));
    }
    world.join(4, 1, 1, vec![entry("a", 1)]);
    world.join(5, 4, 2, vec![entry("a", 1)]);
    assert_eq!(world.holders("a"), [1, 4]);
    world.registry.leave(SessionId(5)).expect("left");
    world.join(6, 6, 6, vec![]);
    world.check_counts();
}

/// `count` entries with names of `len` bytes that differ from those of another `tag`.
fn long_names(tag: char, count: usize, len: usize) -> Vec<FileEntry> {
    (0..count).map(|one| entry(&format!("{tag}{one:0width$}", width = len - 1), 1)).collect()
}

fn bounded_names(names_per_node_max_bytes: usize, names_max_bytes: usize) -> World {
    World::new(Limits { names_per_node_max_bytes, names_max_bytes, ..Limits::default() })
}

#[test]
fn names_are_limited_by_their_bytes() {
    for (first, second, expected) in [
        (10, 10, Ok(())),
        (10, 11, Err(RegistryError::NamesOfNode { max: 1_000 })),
        (9, 6, Ok(())),
        (9, 7, Err(RegistryError::Names { max: 1_500 })),
    ] {
        let names_max_bytes = if first == 10 { 10_000 } else { 1_500 };
        let mut world = bounded_names(1_000, names_max_bytes);
        world.join(1, 1, 1, long_names('a', first, 100));
        world.hello(2, 2, 2, None);
        // In pages of two entries: the excess entry is refused on whichever page it comes.
        let entries = long_names('b', second, 100);
        let staged = entries.chunks(2).try_for_each(|page| world.stage(2, page.to_vec()));
        assert_eq!(staged, expected, "{first} and {second}");
        world.check_counts();
    }
}

#[test]
fn an_update_counts_the_bytes_of_its_names_too() {
    let mut world = bounded_names(1_000, 10_000);
    world.join(1, 1, 1, long_names('a', 9, 100));
    assert_eq!(world.update(1, vec![], long_names('b', 1, 100)), Ok(()));
    assert_eq!(world.update(1, vec![], long_names('a', 9, 100)), Ok(()), "they are there already");
    assert_eq!(
        world.update(1, vec![name("x")], long_names('c', 1, 1)),
        Err(RegistryError::NamesOfNode { max: 1_000 })
    );
    let gone: Vec<_> = long_names('b', 1, 100).into_iter().map(|entry| entry.name).collect();
    assert_eq!(world.update(1, gone, long_names('c', 1, 100)), Ok(()));
    // Names to remove count while they are staged, even if no file has them.
    let long = |tag| long_names(tag, 3, 200).into_iter().map(|entry| entry.name).collect::<Vec<_>>();
    let session = SessionId(1);
    assert_eq!(world.registry.stage_update(session, long('x'), vec![], world.now), Ok(()));
    let refused = Err(RegistryError::NamesOfNode { max: 1_000 });
    assert_eq!(world.registry.stage_update(session, long('y'), vec![], world.now), refused);
    world.check_counts();
}

#[test]
fn a_full_tracker_accepts_removals() {
    let mut world = bounded_names(1_000, 1_000);
    world.join(1, 1, 1, long_names('a', 10, 100));
    let gone: Vec<_> = long_names('a', 2, 100).into_iter().map(|entry| entry.name).collect();
    assert_eq!(world.update(1, gone, vec![]), Ok(()));
    assert_eq!(world.registry.names_bytes, 800);
    world.check_counts();
}

fn limited_staging(staged_max: usize, staged_names_max_bytes: usize) -> World {
    World::new(Limits { staged_max, staged_names_max_bytes, ..Limits::default() })
}

#[test]
fn pages_that_wait_keep_no_other_node_out() {
    // Eight sessions each stage half of the limit and never finish. Another node can still register, twice.
    for mut world in [limited_staging(100, 1 << 20), limited_staging(1 << 20, 100 * 20)] {
        for s in 1..=8 {
            world.hello(s, s.into(), s as u16, None);
            for page in long_names('h', 50, 20).chunks(5) {
                world.stage(s, page.to_vec()).expect("there is room, or other pages are dropped");
            }
        }
        for s in [11, 12] {
            world.hello(s, s.into(), s as u16, None);
            for page in long_names('a', 50, 20).chunks(5) {
                world.stage(s, page.to_vec()).expect("there is room, or other pages are dropped");
            }
            world.commit(s, Reachability::Verified).expect("registered");
            world.check_counts();
        }
        assert_eq!(world.commit(1, Reachability::Verified), Err(RegistryError::Incomplete));
        assert_eq!(
            world.stage(1, vec![]),
            Err(RegistryError::Incomplete),
            "a part of a catalog is never taken for the whole"
        );
        world.join(1, 1, 1, vec![entry("b", 1)]);
        world.check_counts();
    }
}

#[test]
fn pages_of_verified_nodes_are_dropped_last() {
    let mut world = limited_staging(4, 1 << 20);
    world.join(1, 1, 1, vec![]);
    let page = |tag| long_names(tag, 2, 5);
    world.registry.stage_update(SessionId(1), vec![], page('a'), world.now).expect("staged");
    world.hello(2, 2, 2, None);
    world.stage(2, page('b')).expect("staged");
    world.hello(3, 3, 3, None);
    world.stage(3, page('c')).expect("staged, in place of the pages of the other unverified node");
    assert_eq!(world.stage(2, vec![]), Err(RegistryError::Incomplete));
    assert_eq!(world.stage(3, page('d')), Err(RegistryError::Crowded), "no other unverified node is left");
    world.stage(1, vec![]).expect_err("a page of another kind");
    world.hello(4, 4, 4, None);
    world.stage(4, long_names('e', 4, 5)).expect("other pages are dropped");
    world.check_counts();
}

#[test]
fn staged_removals_count_as_staged_changes() {
    let mut world = limited_staging(6, 1 << 20);
    world.join(1, 1, 1, long_names('a', 4, 5));
    let gone: Vec<_> = long_names('x', 4, 5).into_iter().map(|entry| entry.name).collect();
    world.registry.stage_update(SessionId(1), gone, vec![], world.now).expect("staged");
    world.hello(2, 2, 2, None);
    assert_eq!(world.stage(2, long_names('b', 3, 5)), Err(RegistryError::Crowded));
    world.hello(2, 2, 2, None);
    assert_eq!(world.stage(2, long_names('b', 2, 5)), Ok(()));
    world.check_counts();
}
