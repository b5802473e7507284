//! Which tasks are told to whom, and when.

use super::*;
use crate::types::{ContentKey, ReplicaTask, ReplicationStatus};

pub(super) const GRACE: Duration = Duration::from_secs(30);
const SIZE: u64 = 3 << 20;

pub(super) fn policy(replicas: u32) -> World {
    World::new(Limits { replicas, replica_grace: GRACE, ..Limits::default() })
}

pub(super) fn key(content: u8) -> ContentKey {
    entry("x", content).key()
}

impl World {
    /// Hello and a verified registration of a node that keeps replicas, which has not asked for any yet.
    pub(super) fn join_willing(&mut self, s: u64, e: u16, entries: Vec<FileEntry>) {
        self.hello(s, s.into(), e, Some(Duration::from_secs(3600)));
        let traits = NodeTraits { http_port: None, replica_quota_bytes: Some(u64::MAX) };
        self.registry.describe(SessionId(s), traits).expect("it has said hello");
        self.register(s, entries, Reachability::Verified).expect("registered");
    }

    pub(super) fn take_tasks(&mut self, s: u64, room: u64, running: &[ContentKey]) -> Vec<ReplicaTask> {
        self.registry.take_tasks(SessionId(s), room, running, self.now).expect("registered")
    }

    /// The contents of the tasks told to a node with room for all.
    fn told(&mut self, s: u64, running: &[ContentKey]) -> Vec<ContentKey> {
        self.take_tasks(s, u64::MAX, running).into_iter().map(|task| task.content).collect()
    }

    /// Lets time pass in turns of a second.
    pub(super) fn turns(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.pass(1000);
            self.registry.replicate(self.now);
        }
    }

    fn wish(&mut self, content: u8, copies: u32, again: bool) -> Result<ReplicationStatus, RegistryError> {
        self.registry.wish(key(content), name("wished"), copies, again, self.now)
    }

    /// The node's process dies: its connection ends, and nobody listens there any more.
    pub(super) fn kill(&mut self, s: u64, e: u16) {
        self.disconnect(s);
        self.called_back(s.into(), e, CallBackResult::Refused);
    }
}

/// A holder, session 1, and two willing nodes, 2 and 3, the first of which is busier; the quiet time after
/// the start is over.
fn trio(replicas: u32) -> World {
    let mut world = policy(replicas);
    world.hello(1, 1, 1, None);
    world.register(1, vec![entry("a", 1)], Reachability::Verified).expect("registered");
    for s in [2, 3] {
        world.join_willing(s, s as u16, vec![]);
        world.registry.heartbeat(SessionId(s), 9 - s as u32, world.now).expect("registered");
        assert_eq!(world.told(s, &[]), []);
    }
    world.turns(29);
    assert_eq!([world.told(2, &[]), world.told(3, &[])], [vec![], vec![]], "too soon after the start");
    world.turns(2);
    world
}

#[test]
fn the_policy_is_carried_out_once_by_the_least_busy_willing_node() {
    let mut world = trio(2);
    assert_eq!(world.told(2, &[]), []);
    let task = ReplicaTask { content: key(1), name: name("a") };
    assert_eq!(world.take_tasks(3, SIZE, &[]), [task]);
    assert_eq!(world.told(3, &[key(1)]), [], "told once");
    world.turns(100);
    assert_eq!(world.told(2, &[]), [], "it is under way");
    world.update(3, vec![], vec![entry("a", 1)]).expect("registered");
    world.turns(100);
    assert_eq!([world.told(2, &[]), world.told(3, &[])], [vec![], vec![]], "two copies are there");
}

#[test]
fn nobody_is_told_anything_who_does_not_consent_or_has_no_room() {
    let mut world = policy(9);
    world.join_willing(1, 1, vec![entry("a", 1), entry("b", 1)]);
    world.join(2, 2, 2, vec![]);
    world.join_willing(3, 3, vec![]);
    world.hello(4, 4, 4, Some(BEAT));
    let traits = NodeTraits { http_port: None, replica_quota_bytes: Some(9) };
    world.registry.describe(SessionId(4), traits).expect("it has said hello");
    world.register(4, vec![], Reachability::Unverified).expect("registered");
    assert_eq!(world.take_tasks(3, SIZE - 1, &[]), []);
    for s in [1, 2, 4] {
        assert_eq!(world.told(s, &[]), []);
    }
    world.registry.replicate(world.now);
    for _ in 0..40 {
        world.now += Duration::from_secs(1);
        world.registry.replicate(world.now);
        for s in [1, 2, 4] {
            assert_eq!(world.told(s, &[]), [], "session {s}");
        }
        assert_eq!(world.take_tasks(3, SIZE - 1, &[]), []);
    }
    assert_eq!(world.take_tasks(3, SIZE, &[]), [], "the room is new, and it was looked at before");
    world.now += Duration::from_secs(2);
    world.registry.replicate(world.now);
    assert_eq!(world.take_tasks(3, SIZE, &[]).len(), 1);
    // Who takes the consent back has no task any more, and another is asked.
    world.registry.describe(SessionId(3), NodeTraits::default()).expect("registered");
    assert_eq!(world.told(3, &[key(1)]), []);
    assert_eq!(world.wish(1, 2, false).map(|status| status.under_way), Ok(0));
}

#[test]
fn a_killed_holder_is_replaced_after_its_grace_and_not_before() {
    let mut world = trio(2);
    assert_eq!(world.told(3, &[]), [key(1)]);
    world.update(3, vec![], vec![entry("a", 1)]).expect("registered");
    assert_eq!(world.told(3, &[]), []);
    world.kill(1, 1);
    world.turns(30);
    assert_eq!(world.told(2, &[]), []);
    world.turns(2);
    assert_eq!(world.told(2, &[]), [key(1)]);
}

#[test]
fn a_silent_holder_is_replaced_after_its_grace_too() {
    let mut world = trio(2);
    assert_eq!(world.told(3, &[]), [key(1)]);
    world.update(3, vec![], vec![entry("a", 1)]).expect("registered");
    assert_eq!(world.told(3, &[]), []);
    world.disconnect(1);
    world.turns(29);
    assert_eq!(world.told(2, &[]), []);
    world.turns(2);
    assert_eq!(world.told(2, &[]), [key(1)]);
}

#[test]
fn nothing_is_copied_for_nodes_that_come_and_go() {
    let mut world = trio(2);
    assert_eq!(world.told(3, &[]), [key(1)]);
    world.update(3, vec![], vec![entry("a", 1)]).expect("registered");
    assert_eq!(world.told(3, &[]), []);
    for round in 10..20 {
        // Killed, gone with a goodbye, and there without its file for a while.
        if round % 3 == 0 {
            world.registry.leave(SessionId(if round == 10 { 1 } else { round - 1 })).expect("registered");
        } else {
            world.kill(if round == 10 { 1 } else { round - 1 }, 1);
        }
        world.turns(20);
        world.hello(round, round.into(), 1, None);
        world.register(round, vec![], Reachability::Verified).expect("registered");
        world.turns(5);
        world.update(round, vec![], vec![entry("a", 1)]).expect("registered");
        world.turns(40);
        assert_eq!(world.told(2, &[]), [], "round {round}");
    }
    // A file that is renamed, and published under its new name a while later.
    world.update(3, vec![name("a")], vec![]).expect("registered");
    world.turns(20);
    world.update(3, vec![], vec![entry("b", 1)]).expect("registered");
    world.turns(100);
    assert_eq!(world.told(2, &[]), []);
    // One that is removed for good.
    world.update(3, vec![name("b")], vec![]).expect("registered");
    world.turns(32);
    assert_eq!([world.told(3, &[]), world.told(2, &[])], [vec![key(1)], vec![]]);
}

#[test]
fn who_has_failed_is_not_asked_again_soon() {
    let mut world = trio(2);
    assert_eq!(world.told(3, &[]), [key(1)]);
    assert_eq!(world.told(3, &[]), [], "it has failed");
    world.turns(1);
    assert_eq!(world.told(2, &[]), [key(1)], "somebody else");
    assert_eq!(world.told(2, &[]), [], "who has failed too");
    world.turns(57);
    assert_eq!([world.told(3, &[]), world.told(2, &[])], [vec![], vec![]]);
    world.turns(5);
    assert_eq!(world.told(3, &[]), [key(1)]);
    assert_eq!(world.told(3, &[]), []);
    world.turns(2);
    assert_eq!(world.told(2, &[]), [key(1)]);
    assert_eq!(world.told(2, &[]), []);
    world.turns(100);
    assert_eq!(world.told(3, &[]), [], "twice as long");
    world.turns(30);
    assert_eq!(world.told(3, &[]), [key(1)]);
}

#[test]
fn a_restarted_tracker_learns_what_is_under_way() {
    let mut world = policy(2);
    world.join(1, 1, 1, vec![entry("a", 1)]);
    world.join_willing(2, 2, vec![]);
    world.join_willing(3, 3, vec![]);
    assert_eq!(world.told(2, &[key(1)]), []);
    for _ in 0..100 {
        world.heartbeat(1).expect("registered");
        world.turns(1);
        assert_eq!([world.told(2, &[key(1)]), world.told(3, &[])], [vec![], vec![]]);
    }
}

#[test]
fn tasks_wait_for_a_turn_and_are_at_most_five() {
    let mut world = policy(2);
    world.join(1, 1, 1, (0..12).map(|content| entry(&format!("f{content}"), content)).collect());
    world.join_willing(2, 2, vec![]);
    assert_eq!(world.told(2, &[]), []);
    let beat = |world: &mut World| world.heartbeat(1).expect("registered");
    world.registry.replicate(world.now);
    for _ in 0..32 {
        beat(&mut world);
        world.turns(1);
    }
    let mut told = world.told(2, &[]);
    assert_eq!(told.len(), limits::REPLICA_TASKS_MAX);
    let mut all = told.clone();
    let mut asked = 0;
    while let Some(done) = told.pop() {
        let content = done.id.0[8];
        world.update(2, vec![], vec![entry(&format!("f{content}"), content)]).expect("registered");
        beat(&mut world);
        world.turns(1);
        let more = world.told(2, &told);
        assert!(told.len() + more.len() <= limits::REPLICA_TASKS_MAX);
        told.extend(&more);
        all.extend(more);
        asked += 1;
    }
    all.sort_unstable();
    all.dedup();
    assert_eq!((all.len(), asked), (12, 12), "each content once");
}

#[test]
fn a_wish_is_seen_to_at_once_and_stays() {
    let mut world = policy(0);
    world.join(1, 1, 1, vec![entry("a", 1)]);
    for s in [2, 3] {
        world.join_willing(s, s as u16, vec![]);
        assert_eq!(world.told(s, &[]), []);
    }
    let status = ReplicationStatus { wanted: 9, copies: 1, given: 2, ..ReplicationStatus::default() };
    assert_eq!(world.wish(1, 9, false), Ok(status));
    let again = ReplicationStatus { under_way: 2, given: 0, ..status };
    assert_eq!(world.wish(1, 9, false), Ok(again));
    // With fewer copies wished for, only what nobody was told yet is taken back.
    assert_eq!(world.wish(1, 2, false).map(|status| status.wanted), Ok(2));
    assert_eq!(world.take_tasks(2, SIZE, &[]), [], "one too many");
    assert_eq!(world.take_tasks(3, SIZE, &[]), [ReplicaTask { content: key(1), name: name("wished") }]);
    world.update(3, vec![], vec![entry("wished", 1)]).expect("registered");
    assert_eq!(world.told(3, &[]), []);
    for _ in 0..40 {
        world.heartbeat(1).expect("registered");
        world.turns(1);
    }
    world.kill(3, 3);
    for _ in 0..33 {
        world.heartbeat(1).expect("registered");
        world.turns(1);
    }
    assert_eq!(world.told(2, &[]), [key(1)], "the wish stays");
    // Taken back: nothing more is done.
    assert_eq!(world.told(2, &[]), [], "it has failed");
    assert_eq!(world.wish(1, 0, false).map(|status| status.wanted), Ok(0));
    world.join_willing(5, 5, vec![]);
    assert_eq!(world.told(5, &[]), []);
    for _ in 0..40 {
        world.heartbeat(1).expect("registered");
        world.turns(1);
    }
    assert_eq!(world.told(5, &[]), []);
}

#[test]
fn wishes_are_bounded_and_told_again_only_where_they_are_forgotten() {
    let limits = Limits { replica_wishes_max: 2, ..Limits::default() };
    let mut world = World::new(limits);
    world.join(1, 1, 1, vec![entry("a", 1), entry("b", 2), entry("c", 3)]);
    let max = limits::REPLICA_COPIES_MAX;
    assert_eq!(world.wish(1, max + 1, false), Err(RegistryError::Copies { copies: max + 1 }));
    assert_eq!(world.wish(9, 2, false), Err(RegistryError::NoCopy(key(9).id)));
    assert_eq!(world.wish(9, 2, true).map(|status| status.wanted), Ok(2), "its holders may come back");
    assert_eq!(world.wish(1, 2, false).map(|status| status.wanted), Ok(2));
    assert_eq!(world.wish(2, 2, false).map(|status| status.wanted), Ok(2), "in the place of a vain one");
    assert_eq!(world.wish(3, 2, false), Err(RegistryError::Wishes { max: 2 }));
    assert_eq!(world.wish(1, 7, true).map(|status| status.wanted), Ok(2), "what is known counts");
    assert_eq!(world.wish(1, 7, false).map(|status| status.wanted), Ok(7));
}

#[test]
fn too_many_losses_make_it_wait_for_all() {
    let mut world =
        World::new(Limits { replicas: 2, replica_grace: GRACE, replica_losses_max: 1, ..Limits::default() });
    world.hello(1, 1, 1, None);
    world.register(1, vec![entry("a", 1), entry("b", 2)], Reachability::Verified).expect("registered");
    world.join_willing(2, 2, vec![entry("a", 1), entry("b", 2)]);
    world.join_willing(3, 3, vec![]);
    assert_eq!(world.told(3, &[]), []);
    world.turns(32);
    world.kill(2, 2);
    world.turns(1);
    assert!(world.registry.replication_losses() <= 1);
    world.turns(28);
    assert_eq!(world.told(3, &[]), []);
    world.turns(4);
    assert_eq!(world.told(3, &[]).len(), 2);
}
