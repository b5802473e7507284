//! How often a node is called back.

use super::*;

#[test]
fn a_session_has_one_call_back_a_second() {
    let mut world = world();
    world.hello(1, 1, 1, None);
    assert_eq!(world.last_page(1, HERE), Ok(Some(1)));
    world.prove(1, 1, Reachability::Unverified);
    assert_eq!(world.last_page(1, HERE), Err(1_000));
    assert_eq!(world.stage(1, vec![]), Err(RegistryError::Incomplete), "what was staged is dropped");
    // Neither a new hello nor another endpoint is a way around it.
    world.pass(400);
    for e in [1, 2] {
        world.hello(1, 1, e, None);
        assert_eq!(world.last_page(1, HERE), Err(600));
    }
    world.pass(600);
    world.hello(1, 1, 2, None);
    assert_eq!(world.last_page(1, HERE), Ok(Some(2)));
    world.check_counts();
}

#[test]
fn a_proof_lasts_a_second_for_the_same_hello() {
    let mut world = world();
    world.hello(1, 1, 1, None);
    assert_eq!(world.last_page(1, HERE), Ok(Some(1)));
    world.pass(50);
    world.prove(1, 1, Reachability::Verified);
    for _ in 0..3 {
        world.pass(300);
        assert_eq!(world.last_page(1, HERE), Ok(None));
        world.commit(1, Reachability::Verified).expect("registered");
    }
    world.pass(50);
    assert_eq!(world.last_page(1, HERE), Ok(Some(1)), "asked again once it is a second old");
    world.prove(1, 1, Reachability::Verified);
    world.hello(1, 1, 1, None);
    assert_eq!(world.last_page(1, HERE), Err(1_000), "another nonce is another reachability");
    // Whoever has lost the endpoint proves it anew.
    world.pass(1_000);
    world.hello(1, 1, 1, None);
    assert_eq!(world.last_page(1, HERE), Ok(Some(1)));
    world.prove(1, 1, Reachability::Verified);
    world.join(2, 2, 1, vec![]);
    assert_eq!(world.last_page(1, HERE), Err(1_000));
}

#[test]
fn an_endpoint_is_called_back_once_at_a_time_for_each_who_asks() {
    let mut world = world();
    for (s, e) in [(1, 1), (2, 1), (3, 2), (4, 1), (5, 1)] {
        world.hello(s, s.into(), e, None);
    }
    assert_eq!(world.last_page(1, HERE), Ok(Some(1)));
    assert!(world.last_page(2, HERE).is_err());
    assert_eq!(world.last_page(3, HERE), Ok(Some(2)), "another port is another node");
    assert_eq!(world.last_page(4, ELSEWHERE), Ok(Some(1)), "who asks elsewhere keeps nobody out");
    world.prove(1, 1, Reachability::Verified);
    assert_eq!(world.last_page(5, HERE), Ok(Some(1)));
    // An end that goes untold does not keep an endpoint for ever.
    world.pass(2_000);
    world.hello(2, 2, 1, None);
    assert_eq!(world.last_page(2, HERE), Ok(Some(1)));
    world.check_counts();
}
