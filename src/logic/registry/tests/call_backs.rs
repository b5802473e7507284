//! How often a session causes call-backs, and how often an endpoint is called back.

use super::*;

#[test]
fn a_session_causes_one_call_back_a_second() {
    let mut world = world();
    world.hello(1, 1, 1, None);
    assert_eq!(world.last_page(1, HERE), Ok(Some(1)));
    world.conclude_call_back(1, 1, Reachability::Unverified);
    assert_eq!(world.last_page(1, HERE), Err(1_000));
    assert_eq!(world.stage(1, vec![]), Err(RegistryError::Incomplete), "what was staged is dropped");
    // Neither a new hello nor another endpoint avoids the limit.
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
fn a_verified_claim_stays_verified_for_a_second_after_the_same_hello() {
    let mut world = world();
    world.hello(1, 1, 1, None);
    assert_eq!(world.last_page(1, HERE), Ok(Some(1)));
    world.pass(50);
    world.conclude_call_back(1, 1, Reachability::Verified);
    for _ in 0..3 {
        world.pass(300);
        assert_eq!(world.last_page(1, HERE), Ok(None));
        world.commit(1, Reachability::Verified).expect("registered");
    }
    world.pass(50);
    assert_eq!(world.last_page(1, HERE), Ok(Some(1)), "called back again after a second");
    world.conclude_call_back(1, 1, Reachability::Verified);
    world.hello(1, 1, 1, None);
    assert_eq!(world.last_page(1, HERE), Err(1_000), "another nonce needs another call-back");
    // A node that has lost the endpoint must verify it again.
    world.pass(1_000);
    world.hello(1, 1, 1, None);
    assert_eq!(world.last_page(1, HERE), Ok(Some(1)));
    world.conclude_call_back(1, 1, Reachability::Verified);
    world.join(2, 2, 1, vec![]);
    assert_eq!(world.last_page(1, HERE), Err(1_000));
}

#[test]
fn an_endpoint_is_called_back_once_at_a_time_for_each_requesting_address() {
    let mut world = world();
    for (s, e) in [(1, 1), (2, 1), (3, 2), (4, 1), (5, 1)] {
        world.hello(s, s.into(), e, None);
    }
    assert_eq!(world.last_page(1, HERE), Ok(Some(1)));
    assert!(world.last_page(2, HERE).is_err());
    assert_eq!(world.last_page(3, HERE), Ok(Some(2)), "another port is another node");
    assert_eq!(world.last_page(4, ELSEWHERE), Ok(Some(1)), "a request from elsewhere keeps no node out");
    world.conclude_call_back(1, 1, Reachability::Verified);
    assert_eq!(world.last_page(5, HERE), Ok(Some(1)));
    // An end that is never reported does not block an endpoint for ever.
    world.pass(2_000);
    world.hello(2, 2, 1, None);
    assert_eq!(world.last_page(2, HERE), Ok(Some(1)));
    world.check_counts();
}
