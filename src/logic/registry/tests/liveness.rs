//! Identity and liveness of nodes.

use super::*;

#[test]
fn a_verified_registration_replaces_the_former_node_at_its_endpoint_and_ends_its_session() {
    let mut world = world();
    world.join(1, 1, 1, vec![entry("a", 1)]);
    world.stage(1, vec![entry("late", 1)]).expect("staged");
    world.join(2, 2, 1, vec![entry("b", 1)]);
    assert_eq!((world.files(), world.listed()), (vec!["b".to_owned()], vec![(2, Liveness::Live)]));
    assert_eq!(world.heartbeat(1), NOT_REGISTERED);
    assert_eq!(world.update(1, vec![], vec![entry("late", 1)]), NOT_REGISTERED);
    assert_eq!(world.registry.leave(SessionId(1)), NOT_REGISTERED);
    for reachability in [Reachability::Verified, Reachability::Unverified] {
        assert_eq!(world.register(1, vec![entry("late", 1)], reachability), NOT_REGISTERED);
    }
    world.disconnect(1);
    assert_eq!(world.files(), ["b"]);
    world.check_counts();
}

#[test]
fn a_former_session_of_the_same_node_changes_nothing() {
    let mut world = world();
    world.hello(1, 1, 1, Some(BEAT));
    world.stage(1, vec![entry("late", 1)]).expect("staged");
    world.join(2, 1, 1, vec![entry("a", 1)]);
    assert_eq!(world.commit(1, Reachability::Verified), NOT_REGISTERED);
    assert_eq!(world.heartbeat(1), NOT_REGISTERED);
    world.disconnect(1);
    assert_eq!((world.files(), world.listed()), (vec!["a".to_owned()], vec![(1, Liveness::Live)]));
    world.check_counts();
}

#[test]
fn a_node_that_answers_with_the_id_of_another_node_takes_nothing_from_it() {
    let mut world = world();
    world.join(1, 1, 1, vec![entry("a", 1)]);
    world.join(2, 1, 2, vec![entry("b", 1)]);
    let rows: Vec<_> = world.registry.nodes(0).map(|row| (row.endpoint, row.files)).collect();
    assert_eq!(rows, [(endpoint(1), 1), (endpoint(2), 1)]);
    assert_eq!((world.files(), world.heartbeat(1)), (vec!["a".to_owned(), "b".to_owned()], Ok(())));
    assert_eq!(world.update(1, vec![], vec![entry("c", 1)]), Ok(()));
    world.registry.leave(SessionId(2)).expect("left");
    assert_eq!(world.files(), ["a", "c"]);
    world.check_counts();
}

#[test]
fn a_node_that_moves_is_called_back_at_its_former_endpoint_and_forgotten_there() {
    let mut world = world();
    world.join(1, 1, 1, vec![entry("a", 1)]);
    world.join(1, 1, 2, vec![entry("a", 1)]);
    assert_eq!(world.listed(), [(1, Liveness::Suspect), (1, Liveness::Live)]);
    assert_eq!(world.pass(0), [CallBack { node: NodeId(1), endpoint: endpoint(1) }]);
    world.called_back(1, 1, CallBackResult::Refused);
    assert_eq!((world.listed(), world.heartbeat(1)), (vec![(1, Liveness::Live)], Ok(())));
    world.check_counts();
}

#[test]
fn unverified_nodes_are_listed_never_offered_and_displace_no_other_node() {
    let mut world = world();
    world.join(1, 1, 1, vec![entry("a", 1)]);
    world.hello(2, 2, 1, Some(BEAT));
    world.register(2, vec![entry("a", 1), entry("b", 1)], Reachability::Unverified).expect("listed");
    assert_eq!(world.listed(), [(1, Liveness::Live), (2, Liveness::Unproved)]);
    assert_eq!((world.holders("a"), world.files()), (vec![1], vec!["a".to_owned()]));
    assert_eq!(world.heartbeat(2), Ok(()));
    assert_eq!(world.update(2, vec![], vec![entry("c", 1)]), Ok(()));
    assert_eq!(world.files(), ["a"]);
    // Knowledge of a node's id is not enough to remove it from the answers.
    world.hello(3, 1, 9, None);
    world.register(3, vec![], Reachability::Unverified).expect("listed");
    assert_eq!((world.holders("a"), world.heartbeat(1)), (vec![1], Ok(())));
    world
        .register(1, vec![entry("a", 2)], Reachability::Verified)
        .expect("an unverified rival blocks no other node");
    world.disconnect(2);
    assert_eq!(world.listed(), [(1, Liveness::Live)]);
    world.check_counts();
}

#[test]
fn a_node_that_fails_its_call_back_is_no_longer_offered() {
    let mut world = world();
    world.join(1, 1, 1, vec![entry("a", 1)]);
    world.register(1, vec![entry("a", 1)], Reachability::Unverified).expect("listed");
    assert_eq!((world.holders("a"), world.listed()), (vec![], vec![(1, Liveness::Unproved)]));
    world.register(1, vec![entry("a", 1)], Reachability::Verified).expect("verified again");
    assert_eq!((world.holders("a"), world.listed()), (vec![1], vec![(1, Liveness::Live)]));
    world.check_counts();
}

#[test]
fn a_node_id_has_one_unverified_registration_which_is_the_latest() {
    let mut world = world();
    world.join(1, 1, 1, vec![entry("a", 1)]);
    world.hello(2, 1, 9, None);
    world.register(2, vec![], Reachability::Unverified).expect("listed");
    assert_eq!(world.listed(), [(1, Liveness::Live), (1, Liveness::Unproved)]);
    world.hello(1, 1, 1, None);
    world.register(1, vec![entry("a", 1)], Reachability::Unverified).expect("listed");
    assert_eq!((world.files(), world.listed()), (vec![], vec![(1, Liveness::Unproved)]));
    assert_eq!((world.heartbeat(2), world.heartbeat(1)), (NOT_REGISTERED, Ok(())));
    world.check_counts();
}

#[test]
fn the_end_of_a_control_connection_makes_its_node_suspect_at_once() {
    for heartbeat in [Some(BEAT), None] {
        let mut world = world();
        world.hello(1, 1, 1, heartbeat);
        world.register(1, vec![entry("a", 1)], Reachability::Verified).expect("registered");
        world.disconnect(1);
        assert_eq!((world.holders("a"), world.files()), (vec![], vec![]));
        assert_eq!(world.listed(), [(1, Liveness::Suspect)]);
        assert_eq!(world.heartbeat(1), NOT_REGISTERED);
        assert_eq!(world.pass(0), [CallBack { node: NodeId(1), endpoint: endpoint(1) }]);
        world.hello(2, 1, 1, None);
        world.register(2, vec![entry("a", 1)], Reachability::Verified).expect("registered");
        assert_eq!((world.holders("a"), world.pass(5_000)), (vec![1], vec![]));
    }
}

#[test]
fn two_missed_heartbeats_make_a_node_suspect_and_a_late_one_live_again() {
    let mut world = world();
    world.join(1, 1, 1, vec![entry("a", 1)]);
    world.hello(2, 2, 2, None);
    world.register(2, vec![entry("a", 1)], Reachability::Verified).expect("registered");
    world.hello(3, 3, 3, Some(BEAT));
    world.register(3, vec![entry("a", 1)], Reachability::Unverified).expect("listed");
    assert_eq!((world.pass(2_000), world.holders("a")), (vec![], vec![1, 2]));
    assert_eq!(world.pass(1).len(), 1);
    assert_eq!(world.holders("a"), [2]);
    assert_eq!(world.listed(), [(1, Liveness::Suspect), (2, Liveness::Live)]);
    assert_eq!(world.heartbeat(1), Ok(()));
    assert_eq!(world.holders("a"), [1, 2]);
    world.pass(2_000);
    // A page of a long registration counts as a sign of life, like a heartbeat.
    world.stage(1, vec![entry("a", 1)]).expect("staged");
    assert_eq!((world.pass(2_000), world.holders("a")), (vec![], vec![1, 2]));
    let row = world.registry.nodes(0).next().expect("a row");
    assert_eq!((row.load, row.files), (Some(7), 1));
    world.check_counts();
}

#[test]
fn suspects_are_called_back_until_they_answer_refuse_or_have_been_silent_too_long() {
    let suspect = || {
        let mut world = world();
        world.join(1, 1, 1, vec![entry("a", 1)]);
        world.disconnect(1);
        assert_eq!(world.pass(0).len(), 1);
        world
    };
    let is_listed = |world: &World| !world.listed().is_empty();

    let mut world = suspect();
    assert_eq!((world.pass(4_999).len(), world.pass(1).len(), world.pass(4_999).len()), (0, 1, 0));
    world.called_back(1, 1, CallBackResult::Answered { node: NodeId(1) });
    assert_eq!((world.holders("a"), world.listed()), (vec![1], vec![(1, Liveness::Live)]));
    assert_eq!(world.pass(1).len(), 1, "still called back: it has no control connection");
    world.called_back(1, 1, CallBackResult::Silent);
    assert_eq!((world.holders("a"), world.listed()), (vec![], vec![(1, Liveness::Suspect)]));
    world.pass(599_998);
    assert!(is_listed(&world));
    world.pass(1);
    assert!(!is_listed(&world), "10 minutes after its last answer");
    world.check_counts();

    for outcome in [CallBackResult::Refused, CallBackResult::Answered { node: NodeId(2) }] {
        let mut world = suspect();
        world.called_back(1, 2, outcome);
        world.called_back(2, 1, outcome);
        assert!(is_listed(&world), "an outcome for another node");
        world.called_back(1, 1, outcome);
        assert!(!is_listed(&world), "{outcome:?}");
        world.check_counts();

        let mut world = suspect();
        world.join(2, 1, 1, vec![entry("a", 1)]);
        world.called_back(1, 1, outcome);
        assert_eq!(world.holders("a"), [1], "a late {outcome:?} changes nothing for a live node");
    }
}
