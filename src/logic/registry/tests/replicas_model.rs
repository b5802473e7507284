//! The guarantees of replication, in a simulated swarm whose nodes keep replicas, are killed and come back.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;

use super::replicas::{GRACE, key, policy};
use super::*;
use crate::types::ContentKey;

const CONTENTS: u8 = 6;
const NODES: usize = 6;
/// Size of every content.
const SIZE: u64 = 3 << 20;

#[derive(Debug, Clone, Copy)]
enum Step {
    /// The node sends a heartbeat and asks for tasks.
    Heartbeat(usize),
    /// Its oldest task ends: it is done (true) or has failed.
    Finish(usize, bool),
    Kill(usize),
    Start(usize),
    Seconds(u64),
}

#[derive(Debug, Clone)]
struct Member {
    /// How many contents it may keep for others; `None`: it does not consent.
    quota: Option<usize>,
    session: u64,
    is_up: bool,
    own: Vec<u8>,
    kept: Vec<u8>,
    running: Vec<u8>,
    /// When it was last killed.
    killed: Option<Instant>,
}

impl Member {
    fn holds(&self, content: u8) -> bool {
        self.own.contains(&content) || self.kept.contains(&content)
    }
}

struct Swarm {
    world: World,
    members: Vec<Member>,
    wanted: usize,
    sessions: u64,
    /// How many tasks were given out for each content.
    copied: BTreeMap<u8, usize>,
}

impl Swarm {
    fn new(wanted: u32, members: Vec<Member>) -> Swarm {
        let mut swarm = Swarm {
            world: policy(wanted),
            members,
            wanted: wanted as usize,
            sessions: 0,
            copied: BTreeMap::new(),
        };
        for index in 0..swarm.members.len() {
            swarm.start(index);
        }
        swarm.world.registry.replicate(swarm.world.now);
        swarm
    }

    fn start(&mut self, index: usize) {
        if self.members[index].is_up {
            return;
        }
        self.sessions += 1;
        let member = &mut self.members[index];
        member.is_up = true;
        member.session = self.sessions;
        let port = index as u16 + 1;
        let entries = member.own.iter().chain(&member.kept);
        let entries = entries.map(|content| entry(&format!("f{content}"), *content)).collect();
        match member.quota {
            Some(_) => self.world.join_willing(self.sessions, port, entries),
            None => {
                self.world.hello(self.sessions, self.sessions.into(), port, None);
                self.world.stage(self.sessions, entries).expect("staged");
                self.world.commit(self.sessions, Reachability::Verified).expect("registered");
            }
        }
    }

    fn kill(&mut self, index: usize) {
        let member = &mut self.members[index];
        if std::mem::take(&mut member.is_up) {
            member.running.clear();
            member.killed = Some(self.world.now);
            self.world.kill(member.session, index as u16 + 1);
        }
    }

    fn finish(&mut self, index: usize, well: bool) {
        let member = &mut self.members[index];
        if member.is_up && !member.running.is_empty() {
            let content = member.running.remove(0);
            if well {
                member.kept.push(content);
                let entry = entry(&format!("f{content}"), content);
                self.world.update(member.session, vec![], vec![entry]).expect("registered");
            }
        }
    }

    fn heartbeat(&mut self, index: usize) {
        let member = &self.members[index];
        if !member.is_up {
            return;
        }
        let load = member.running.len() as u32;
        self.world.registry.heartbeat(SessionId(member.session), load, self.world.now).expect("registered");
        let running: Vec<ContentKey> = member.running.iter().map(|content| key(*content)).collect();
        let room = member.quota.unwrap_or(99).saturating_sub(member.kept.len() + running.len());
        let tasks = self.world.take_tasks(member.session, room as u64 * SIZE, &running);
        for task in tasks {
            let content = task.content.id.0[8];
            self.check_task(index, content);
            self.members[index].running.push(content);
            *self.copied.entry(content).or_default() += 1;
        }
    }

    /// Checks what must hold whenever a node gets a task.
    fn check_task(&self, index: usize, content: u8) {
        let (member, now) = (&self.members[index], self.world.now);
        let quota = member.quota.expect("only nodes that consent get tasks");
        assert!(member.kept.len() + member.running.len() < quota, "beyond its quota");
        assert!(!member.holds(content) && !member.running.contains(&content), "it has it");
        assert!(member.running.len() < limits::REPLICA_TASKS_MAX, "too many at a time");
        let (mut present, mut copies) = (0, 0);
        for (other_index, other) in self.members.iter().enumerate().filter(|(other, _)| *other != index) {
            let is_copy = other.is_up && other.holds(content);
            let is_awaited =
                !other.is_up && other.holds(content) && other.killed.is_some_and(|at| now < at + GRACE);
            let is_running = other.is_up && other.running.contains(&content);
            copies += usize::from(is_copy);
            present += usize::from(is_copy || is_awaited || is_running);
            assert!(other_index < NODES);
        }
        assert!(copies > 0, "no node has it");
        assert!(present < self.wanted, "{present} of {} are there, under way or awaited", self.wanted);
    }

    /// So many seconds pass without a failure.
    fn settle(&mut self, seconds: u64) {
        for _ in 0..seconds {
            for index in 0..self.members.len() {
                self.heartbeat(index);
                self.finish(index, true);
                self.heartbeat(index);
            }
            self.world.run_passes(1);
        }
    }

    /// Checks that there are as many copies as wanted, or as possible.
    fn check_settled(&self) {
        for content in 0..CONTENTS {
            let up = self.members.iter().filter(|member| member.is_up);
            let copies = up.clone().filter(|member| member.holds(content)).count();
            let can = up.filter(|member| {
                !member.holds(content) && member.quota.is_some_and(|quota| member.kept.len() < quota)
            });
            let can = can.count();
            assert!(
                copies == 0 || copies >= self.wanted || can == 0,
                "content {content}: {copies} of {} copies, and {can} could keep one: {:#?}",
                self.wanted,
                self.members
            );
        }
    }

    fn apply(&mut self, step: Step) {
        match step {
            Step::Heartbeat(index) => self.heartbeat(index),
            Step::Finish(index, well) => self.finish(index, well),
            Step::Kill(index) => self.kill(index),
            Step::Start(index) => self.start(index),
            Step::Seconds(seconds) => self.world.run_passes(seconds),
        }
    }
}

fn members() -> impl Strategy<Value = Vec<Member>> {
    let own = vec(0..CONTENTS, 0..3);
    let member = (prop::option::weighted(0.7, 0usize..5), own).prop_map(|(quota, own)| Member {
        quota,
        session: 0,
        is_up: false,
        own,
        kept: vec![],
        running: vec![],
        killed: None,
    });
    vec(member, NODES)
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let node = || 0..NODES;
    let step = prop_oneof![
        6 => node().prop_map(Step::Heartbeat),
        3 => (node(), prop::bool::weighted(0.8)).prop_map(|(node, well)| Step::Finish(node, well)),
        1 => node().prop_map(Step::Kill),
        1 => node().prop_map(Step::Start),
        4 => (1u64..20).prop_map(Step::Seconds),
    ];
    vec(step, 0..120)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn copies_appear_only_on_nodes_that_may_keep_them(
        wanted in 1u32..5,
        members in members(),
        steps in steps(),
    ) {
        let mut swarm = Swarm::new(wanted, members);
        for step in steps {
            swarm.apply(step);
        }
        // Longer than the grace and than the pause after a failure that has doubled several times.
        swarm.settle(40);
        swarm.world.now += Duration::from_secs(3600);
        swarm.settle(40);
        swarm.check_settled();
        // From now on nothing changes, whichever nodes go and come back within the grace.
        let before: usize = swarm.copied.values().sum();
        for index in 0..NODES {
            if swarm.members[index].is_up {
                swarm.kill(index);
                swarm.world.run_passes(20);
                swarm.start(index);
                swarm.settle(40);
            }
        }
        prop_assert_eq!(swarm.copied.values().sum::<usize>(), before, "a node was replaced too soon");
        swarm.world.check_counts();
    }
}
