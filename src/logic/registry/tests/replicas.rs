//! Replication: which tasks each node gets, and when.

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
    /// Says hello and makes a verified registration of a node that keeps replicas. It has not asked for tasks
    /// yet.
    pub(super) fn join_willing(&mut self, s: u64, e: u16, entries: Vec<FileEntry>) {
        self.hello(s, s.into(), e, Some(Duration::from_secs(3600)));
        let traits = NodeTraits { http_port: None, replica_quota_bytes: Some(u64::MAX) };
        self.registry.describe(SessionId(s), traits).expect("it has said hello");
        self.register(s, entries, Reachability::Verified).expect("registered");
    }

    pub(super) fn take_tasks(&mut self, s: u64, room: u64, running: &[ContentKey]) -> Vec<ReplicaTask> {
        self.registry.take_tasks(SessionId(s), room, running, self.now).expect("registered")
    }

    /// The contents of the new tasks of a node that has room for all.
    fn new_tasks(&mut self, s: u64, running: &[ContentKey]) -> Vec<ContentKey> {
        self.take_tasks(s, u64::MAX, running).into_iter().map(|task| task.content).collect()
    }

    /// Runs a pass of replication after each of so many seconds.
    pub(super) fn run_passes(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.pass(1000);
            self.registry.replicate(self.now);
        }
    }

    fn request_copies(
        &mut self,
        content: u8,
        copies: u32,
        is_repeated: bool,
    ) -> Result<ReplicationStatus, RegistryError> {
        self.registry.request_copies(key(content), name("requested"), copies, is_repeated, self.now)
    }

    /// The node's process dies: its connection ends, and call-backs are refused.
    pub(super) fn kill(&mut self, s: u64, e: u16) {
        self.disconnect(s);
        self.called_back(s.into(), e, CallBackResult::Refused);
    }
}

/// Session 1 is a holder, sessions 2 and 3 are nodes that keep replicas, of which 2 is busier. The grace
/// after the start is over.
fn trio(replicas: u32) -> World {
    let mut world = policy(replicas);
    world.hello(1, 1, 1, None);
    world.register(1, vec![entry("a", 1)], Reachability::Verified).expect("registered");
    for s in [2, 3] {
        world.join_willing(s, s as u16, vec![]);
        world.registry.heartbeat(SessionId(s), 9 - s as u32, world.now).expect("registered");
        assert_eq!(world.new_tasks(s, &[]), []);
    }
    world.run_passes(29);
    assert_eq!(
        [world.new_tasks(2, &[]), world.new_tasks(3, &[])],
        [vec![], vec![]],
        "too soon after the start"
    );
    world.run_passes(2);
    world
}

#[test]
fn the_least_busy_node_that_keeps_replicas_gets_the_task_of_the_policy_once() {
    let mut world = trio(2);
    assert_eq!(world.new_tasks(2, &[]), []);
    let task = ReplicaTask { content: key(1), name: name("a") };
    assert_eq!(world.take_tasks(3, SIZE, &[]), [task]);
    assert_eq!(world.new_tasks(3, &[key(1)]), [], "handed out once");
    world.run_passes(100);
    assert_eq!(world.new_tasks(2, &[]), [], "it is under way");
    world.update(3, vec![], vec![entry("a", 1)]).expect("registered");
    world.run_passes(100);
    assert_eq!([world.new_tasks(2, &[]), world.new_tasks(3, &[])], [vec![], vec![]], "two copies are there");
}

#[test]
fn a_node_without_consent_or_room_gets_no_task() {
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
        assert_eq!(world.new_tasks(s, &[]), []);
    }
    world.registry.replicate(world.now);
    for _ in 0..40 {
        world.now += Duration::from_secs(1);
        world.registry.replicate(world.now);
        for s in [1, 2, 4] {
            assert_eq!(world.new_tasks(s, &[]), [], "session {s}");
        }
        assert_eq!(world.take_tasks(3, SIZE - 1, &[]), []);
    }
    assert_eq!(world.take_tasks(3, SIZE, &[]), [], "the content was looked at before the node had room");
    world.now += Duration::from_secs(2);
    world.registry.replicate(world.now);
    assert_eq!(world.take_tasks(3, SIZE, &[]).len(), 1);
    // A node that takes its consent back loses its tasks, and another node gets them.
    world.registry.describe(SessionId(3), NodeTraits::default()).expect("registered");
    assert_eq!(world.new_tasks(3, &[key(1)]), []);
    assert_eq!(world.request_copies(1, 2, false).map(|status| status.under_way), Ok(0));
}

#[test]
fn a_killed_holder_is_replaced_after_its_grace_and_not_before() {
    let mut world = trio(2);
    assert_eq!(world.new_tasks(3, &[]), [key(1)]);
    world.update(3, vec![], vec![entry("a", 1)]).expect("registered");
    assert_eq!(world.new_tasks(3, &[]), []);
    world.kill(1, 1);
    world.run_passes(30);
    assert_eq!(world.new_tasks(2, &[]), []);
    world.run_passes(2);
    assert_eq!(world.new_tasks(2, &[]), [key(1)]);
}

#[test]
fn a_silent_holder_is_replaced_after_its_grace_too() {
    let mut world = trio(2);
    assert_eq!(world.new_tasks(3, &[]), [key(1)]);
    world.update(3, vec![], vec![entry("a", 1)]).expect("registered");
    assert_eq!(world.new_tasks(3, &[]), []);
    world.disconnect(1);
    world.run_passes(29);
    assert_eq!(world.new_tasks(2, &[]), []);
    world.run_passes(2);
    assert_eq!(world.new_tasks(2, &[]), [key(1)]);
}

#[test]
fn nothing_is_copied_for_nodes_that_go_and_come_back() {
    let mut world = trio(2);
    assert_eq!(world.new_tasks(3, &[]), [key(1)]);
    world.update(3, vec![], vec![entry("a", 1)]).expect("registered");
    assert_eq!(world.new_tasks(3, &[]), []);
    for round in 10..20 {
        // It is killed, it leaves, and it is there without its file for a while.
        if round % 3 == 0 {
            world.registry.leave(SessionId(if round == 10 { 1 } else { round - 1 })).expect("registered");
        } else {
            world.kill(if round == 10 { 1 } else { round - 1 }, 1);
        }
        world.run_passes(20);
        world.hello(round, round.into(), 1, None);
        world.register(round, vec![], Reachability::Verified).expect("registered");
        world.run_passes(5);
        world.update(round, vec![], vec![entry("a", 1)]).expect("registered");
        world.run_passes(40);
        assert_eq!(world.new_tasks(2, &[]), [], "round {round}");
    }
    // A file is renamed, and published under its new name a while later.
    world.update(3, vec![name("a")], vec![]).expect("registered");
    world.run_passes(20);
    world.update(3, vec![], vec![entry("b", 1)]).expect("registered");
    world.run_passes(100);
    assert_eq!(world.new_tasks(2, &[]), []);
    // A file is removed for ever.
    world.update(3, vec![name("b")], vec![]).expect("registered");
    world.run_passes(32);
    assert_eq!([world.new_tasks(3, &[]), world.new_tasks(2, &[])], [vec![key(1)], vec![]]);
}

#[test]
fn a_node_that_has_failed_does_not_get_the_task_again_soon() {
    let mut world = trio(2);
    assert_eq!(world.new_tasks(3, &[]), [key(1)]);
    assert_eq!(world.new_tasks(3, &[]), [], "it has failed");
    world.run_passes(1);
    assert_eq!(world.new_tasks(2, &[]), [key(1)], "another node");
    assert_eq!(world.new_tasks(2, &[]), [], "that node has failed too");
    world.run_passes(57);
    assert_eq!([world.new_tasks(3, &[]), world.new_tasks(2, &[])], [vec![], vec![]]);
    world.run_passes(5);
    assert_eq!(world.new_tasks(3, &[]), [key(1)]);
    assert_eq!(world.new_tasks(3, &[]), []);
    world.run_passes(2);
    assert_eq!(world.new_tasks(2, &[]), [key(1)]);
    assert_eq!(world.new_tasks(2, &[]), []);
    world.run_passes(100);
    assert_eq!(world.new_tasks(3, &[]), [], "twice as long");
    world.run_passes(30);
    assert_eq!(world.new_tasks(3, &[]), [key(1)]);
}

#[test]
fn a_restarted_tracker_learns_from_nodes_which_tasks_are_under_way() {
    let mut world = policy(2);
    world.join(1, 1, 1, vec![entry("a", 1)]);
    world.join_willing(2, 2, vec![]);
    world.join_willing(3, 3, vec![]);
    assert_eq!(world.new_tasks(2, &[key(1)]), []);
    for _ in 0..100 {
        world.heartbeat(1).expect("registered");
        world.run_passes(1);
        assert_eq!([world.new_tasks(2, &[key(1)]), world.new_tasks(3, &[])], [vec![], vec![]]);
    }
}

#[test]
fn a_node_has_at_most_five_tasks_and_the_others_wait() {
    let mut world = policy(2);
    world.join(1, 1, 1, (0..12).map(|content| entry(&format!("f{content}"), content)).collect());
    world.join_willing(2, 2, vec![]);
    assert_eq!(world.new_tasks(2, &[]), []);
    let beat = |world: &mut World| world.heartbeat(1).expect("registered");
    world.registry.replicate(world.now);
    for _ in 0..32 {
        beat(&mut world);
        world.run_passes(1);
    }
    let mut open = world.new_tasks(2, &[]);
    assert_eq!(open.len(), limits::REPLICA_TASKS_MAX);
    let mut all = open.clone();
    let mut passes = 0;
    while let Some(done) = open.pop() {
        let content = done.id.0[8];
        world.update(2, vec![], vec![entry(&format!("f{content}"), content)]).expect("registered");
        beat(&mut world);
        world.run_passes(1);
        let more = world.new_tasks(2, &open);
        assert!(open.len() + more.len() <= limits::REPLICA_TASKS_MAX);
        open.extend(&more);
        all.extend(more);
        passes += 1;
    }
    all.sort_unstable();
    all.dedup();
    assert_eq!((all.len(), passes), (12, 12), "each content once");
}

#[test]
fn a_replication_request_is_served_at_once_and_stays() {
    let mut world = policy(0);
    world.join(1, 1, 1, vec![entry("a", 1)]);
    for s in [2, 3] {
        world.join_willing(s, s as u16, vec![]);
        assert_eq!(world.new_tasks(s, &[]), []);
    }
    let status = ReplicationStatus { wanted: 9, copies: 1, given: 2, ..ReplicationStatus::default() };
    assert_eq!(world.request_copies(1, 9, false), Ok(status));
    let again = ReplicationStatus { under_way: 2, given: 0, ..status };
    assert_eq!(world.request_copies(1, 9, false), Ok(again));
    // With fewer requested copies, only tasks that no node has yet are taken back.
    assert_eq!(world.request_copies(1, 2, false).map(|status| status.wanted), Ok(2));
    assert_eq!(world.take_tasks(2, SIZE, &[]), [], "one too many");
    assert_eq!(world.take_tasks(3, SIZE, &[]), [ReplicaTask { content: key(1), name: name("requested") }]);
    world.update(3, vec![], vec![entry("requested", 1)]).expect("registered");
    assert_eq!(world.new_tasks(3, &[]), []);
    for _ in 0..40 {
        world.heartbeat(1).expect("registered");
        world.run_passes(1);
    }
    world.kill(3, 3);
    for _ in 0..33 {
        world.heartbeat(1).expect("registered");
        world.run_passes(1);
    }
    assert_eq!(world.new_tasks(2, &[]), [key(1)], "the request stays");
    // The request is taken back: no more tasks are given out.
    assert_eq!(world.new_tasks(2, &[]), [], "it has failed");
    assert_eq!(world.request_copies(1, 0, false).map(|status| status.wanted), Ok(0));
    world.join_willing(5, 5, vec![]);
    assert_eq!(world.new_tasks(5, &[]), []);
    for _ in 0..40 {
        world.heartbeat(1).expect("registered");
        world.run_passes(1);
    }
    assert_eq!(world.new_tasks(5, &[]), []);
}

#[test]
fn replication_requests_are_bounded_and_repeated_ones_count_only_where_there_is_none() {
    let limits = Limits { replica_requests_max: 2, ..Limits::default() };
    let mut world = World::new(limits);
    world.join(1, 1, 1, vec![entry("a", 1), entry("b", 2), entry("c", 3)]);
    let max = limits::REPLICA_COPIES_MAX;
    assert_eq!(world.request_copies(1, max + 1, false), Err(RegistryError::Copies { copies: max + 1 }));
    assert_eq!(world.request_copies(9, 2, false), Err(RegistryError::NoCopy(key(9).id)));
    assert_eq!(
        world.request_copies(9, 2, true).map(|status| status.wanted),
        Ok(2),
        "its holders may come back"
    );
    assert_eq!(world.request_copies(1, 2, false).map(|status| status.wanted), Ok(2));
    assert_eq!(
        world.request_copies(2, 2, false).map(|status| status.wanted),
        Ok(2),
        "in place of a request without holders"
    );
    assert_eq!(world.request_copies(3, 2, false), Err(RegistryError::Requests { max: 2 }));
    assert_eq!(
        world.request_copies(1, 7, true).map(|status| status.wanted),
        Ok(2),
        "the known request counts"
    );
    assert_eq!(world.request_copies(1, 7, false).map(|status| status.wanted), Ok(7));
}

#[test]
fn after_too_many_losses_the_tracker_gives_no_tasks_for_the_grace() {
    let mut world =
        World::new(Limits { replicas: 2, replica_grace: GRACE, replica_losses_max: 1, ..Limits::default() });
    world.hello(1, 1, 1, None);
    world.register(1, vec![entry("a", 1), entry("b", 2)], Reachability::Verified).expect("registered");
    world.join_willing(2, 2, vec![entry("a", 1), entry("b", 2)]);
    world.join_willing(3, 3, vec![]);
    assert_eq!(world.new_tasks(3, &[]), []);
    world.run_passes(32);
    world.kill(2, 2);
    world.run_passes(1);
    assert!(world.registry.replication_losses() <= 1);
    world.run_passes(28);
    assert_eq!(world.new_tasks(3, &[]), []);
    world.run_passes(4);
    assert_eq!(world.new_tasks(3, &[]).len(), 2);
}
