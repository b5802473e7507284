//! Which nodes are to get a copy of a content: as many as are missing, the least busy of those that are
//! willing and able.
//!
//! Decides about one content at a time and keeps nothing. A copy is a live node with all of the content; a
//! node never gets a second one. Copies are for the failure of a machine, so hosts with the fewest copies
//! come first: of two nodes of one host the second is chosen only when no other host is left. Then the
//! selection rule holds as far as a tracker can apply it: least load first, where tasks count as load. A
//! tracker knows no latencies, so free bytes and then the address decide between equals. Invariant: no chosen
//! node has the content, has too little room for it, or has [`limits::REPLICA_TASKS_MAX`] tasks, and no more
//! nodes are chosen than are missing. Surplus copies stay: their owners want them, and no tracker has
//! anything deleted.

use std::cmp::Reverse;
use std::net::{IpAddr, SocketAddr};

use crate::types::{ReplicationStatus, limits};

/// A live node that keeps replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keeper {
    /// The caller's number of the node; each once.
    pub slot: u32,
    /// Address of its listener.
    pub endpoint: SocketAddr,
    /// Transfers, from its last heartbeat.
    pub load: u32,
    /// Tasks that it has and that are not done.
    pub tasks: usize,
    /// Bytes that are free beyond its tasks.
    pub free_bytes: u64,
    /// It has failed to fetch this content a short time ago.
    pub has_failed: bool,
}

/// What a node has of a content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Share {
    /// Some pieces. They may become a copy or not.
    Part,
    /// All of it, but the node is not there at the moment.
    Awaited,
    /// The task to fetch it.
    Task,
    /// All of it, and the node is live.
    Copy,
}

/// A node that has some of the content or is to fetch it; each once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holder {
    /// The caller's number of the node.
    pub slot: u32,
    /// Address of its machine.
    pub host: IpAddr,
    /// What it has.
    pub share: Share,
}

/// What is wanted of one content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need<'a> {
    /// Size of the content.
    pub size_bytes: u64,
    /// Number of live nodes that are to have all of it.
    pub wanted: u32,
    /// The nodes that have some of it or are to fetch it.
    pub holders: &'a [Holder],
    /// Number of further nodes that had it a moment ago and are not known any more.
    pub departed: u32,
}

/// Chooses the nodes that are to fetch the content, in order, and returns the status after that.
pub fn place(need: &Need<'_>, keepers: &[Keeper]) -> (Vec<u32>, ReplicationStatus) {
    let count = |share| need.holders.iter().filter(|holder| holder.share == share).count() as u32;
    let mut status = ReplicationStatus {
        wanted: need.wanted,
        copies: count(Share::Copy),
        awaited: count(Share::Awaited) + need.departed,
        under_way: count(Share::Task),
        ..ReplicationStatus::default()
    };
    // A content without a live copy cannot be fetched.
    let missing = if status.copies > 0 { status.missing() } else { 0 };
    let mut able = Vec::new();
    for keeper in keepers {
        if need.holders.iter().any(|holder| holder.slot == keeper.slot) {
            continue;
        }
        match () {
            () if keeper.free_bytes < need.size_bytes => status.no_room += 1,
            () if keeper.has_failed => status.failed += 1,
            () if keeper.tasks >= limits::REPLICA_TASKS_MAX => status.busy += 1,
            () => able.push(*keeper),
        }
    }
    let mut hosts: Vec<IpAddr> =
        need.holders.iter().filter(|holder| holder.share != Share::Part).map(|holder| holder.host).collect();
    let mut chosen = Vec::new();
    while status.given < missing && !able.is_empty() {
        let rank = |keeper: &Keeper| {
            let on_host = hosts.iter().filter(|host| **host == keeper.endpoint.ip()).count();
            let load = u64::from(keeper.load) + keeper.tasks as u64;
            (on_host, load, Reverse(keeper.free_bytes), keeper.endpoint)
        };
        let best = (0..able.len()).min_by_key(|index| rank(&able[*index])).expect("a node is left");
        let keeper = able.swap_remove(best);
        hosts.push(keeper.endpoint.ip());
        chosen.push(keeper.slot);
        status.given += 1;
    }
    (chosen, status)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn endpoint(host: u8, slot: u32) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, host], 5000 + slot as u16))
    }

    fn keeper(slot: u32, host: u8, load: u32) -> Keeper {
        let endpoint = endpoint(host, slot);
        Keeper { slot, endpoint, load, tasks: 0, free_bytes: 100, has_failed: false }
    }

    fn holder(slot: u32, host: u8, share: Share) -> Holder {
        Holder { slot, host: endpoint(host, slot).ip(), share }
    }

    #[test]
    fn the_least_busy_on_the_fewest_hosts_come_first() {
        let check = |keepers: &[Keeper], holders: &[Holder], wanted, expected: &[u32]| {
            let need = Need { size_bytes: 10, wanted, holders, departed: 0 };
            let (chosen, status) = place(&need, keepers);
            assert_eq!(chosen, expected, "{keepers:?} {holders:?}");
            assert_eq!(status.given as usize, expected.len());
        };
        let source = [holder(0, 1, Share::Copy)];
        let three = [keeper(1, 2, 5), keeper(2, 3, 1), keeper(3, 4, 3)];
        check(&three, &source, 1, &[]);
        check(&three, &source, 2, &[2]);
        check(&three, &source, 9, &[2, 3, 1]);
        // On the host of the holder only when no other host is left, however busy those are.
        check(&[keeper(1, 1, 0), keeper(2, 2, 99)], &source, 3, &[2, 1]);
        // All on one host: by load alone.
        check(&[keeper(1, 1, 2), keeper(2, 1, 1)], &source, 3, &[2, 1]);
        // Tasks count as load, then room decides, then the address.
        let tasks = |tasks, keeper| Keeper { tasks, ..keeper };
        check(&[tasks(2, keeper(1, 2, 0)), keeper(2, 3, 1)], &source, 2, &[2]);
        let room = |free_bytes, keeper| Keeper { free_bytes, ..keeper };
        check(&[keeper(1, 2, 1), room(200, keeper(2, 3, 1))], &source, 2, &[2]);
        check(&[keeper(2, 3, 1), keeper(1, 2, 1)], &source, 2, &[1]);
    }

    #[test]
    fn it_says_why_there_are_not_more() {
        let keepers = [
            Keeper { free_bytes: 9, ..keeper(1, 2, 0) },
            Keeper { tasks: limits::REPLICA_TASKS_MAX, ..keeper(2, 3, 0) },
            Keeper { has_failed: true, ..keeper(3, 4, 0) },
            keeper(4, 5, 0),
            keeper(5, 6, 0),
            keeper(6, 7, 0),
        ];
        let holders = [
            holder(0, 1, Share::Copy),
            holder(4, 5, Share::Part),
            holder(5, 6, Share::Awaited),
            holder(7, 8, Share::Task),
        ];
        let need = Need { size_bytes: 10, wanted: 9, holders: &holders, departed: 2 };
        let (chosen, status) = place(&need, &keepers);
        let expected = ReplicationStatus {
            wanted: 9,
            copies: 1,
            awaited: 3,
            under_way: 1,
            given: 1,
            no_room: 1,
            busy: 1,
            failed: 1,
        };
        assert_eq!((chosen, status, status.missing()), (vec![6], expected, 3));
    }

    /// The best of all sequences of able keepers, every one of them tried.
    fn oracle(need: &Need<'_>, keepers: &[Keeper]) -> Vec<u32> {
        let holds = |slot| need.holders.iter().any(|holder| holder.slot == slot);
        let able: Vec<&Keeper> = keepers
            .iter()
            .filter(|one| !holds(one.slot) && one.free_bytes >= need.size_bytes && !one.has_failed)
            .filter(|one| one.tasks < limits::REPLICA_TASKS_MAX)
            .collect();
        let present = need.holders.iter().filter(|holder| holder.share != Share::Part).count();
        if need.holders.iter().all(|holder| holder.share != Share::Copy) {
            return vec![];
        }
        let missing = (need.wanted as usize).saturating_sub(present + need.departed as usize);
        let mut sequences: Vec<Vec<&Keeper>> = vec![vec![]];
        for _ in 0..missing.min(able.len()) {
            let longer = |sequence: Vec<_>| {
                let is_new = |one: &&&Keeper| sequence.iter().all(|taken: &&Keeper| taken.slot != one.slot);
                let next: Vec<_> = able.iter().filter(is_new).copied().collect();
                next.into_iter().map(move |one| [sequence.clone(), vec![one]].concat())
            };
            sequences = sequences.into_iter().flat_map(longer).collect();
        }
        let cost = |sequence: &Vec<&Keeper>| -> Vec<_> {
            let cost = |(index, one): (usize, &&Keeper)| {
                let ip = one.endpoint.ip();
                let held = need
                    .holders
                    .iter()
                    .filter(|other| other.host == ip && other.share != Share::Part)
                    .count();
                let before = sequence[..index].iter().filter(|other| other.endpoint.ip() == ip).count();
                (held + before, one.load as usize + one.tasks, u64::MAX - one.free_bytes, one.endpoint)
            };
            sequence.iter().enumerate().map(cost).collect()
        };
        let best = sequences.into_iter().min_by_key(cost).expect("the empty one at least");
        best.iter().map(|one| one.slot).collect()
    }

    fn keepers() -> impl Strategy<Value = Vec<Keeper>> {
        let one = (1u8..5, 0u32..3, 0usize..7, 0u64..4, prop::bool::weighted(0.2));
        vec(one, 0..6).prop_map(|all| {
            let one = |(slot, (host, load, tasks, room, has_failed))| {
                let slot = slot as u32;
                Keeper {
                    slot,
                    endpoint: endpoint(host, slot),
                    load,
                    tasks,
                    free_bytes: room * 10,
                    has_failed,
                }
            };
            all.into_iter().enumerate().map(one).collect()
        })
    }

    fn holders() -> impl Strategy<Value = Vec<Holder>> {
        let share =
            prop_oneof![Just(Share::Part), Just(Share::Awaited), Just(Share::Task), Just(Share::Copy)];
        vec((0u32..9, 1u8..5, share), 0..4).prop_map(|all| {
            let mut all: Vec<_> =
                all.into_iter().map(|(slot, host, share)| holder(slot, host, share)).collect();
            all.sort_by_key(|one| one.slot);
            all.dedup_by_key(|one| one.slot);
            all
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn no_other_choice_is_better(
            keepers in keepers(),
            holders in holders(),
            wanted in 0u32..7,
            departed in 0u32..3,
        ) {
            let need = Need { size_bytes: 10, wanted, holders: &holders, departed };
            let (chosen, status) = place(&need, &keepers);
            prop_assert_eq!(&chosen, &oracle(&need, &keepers));
            let reversed: Vec<_> = keepers.iter().rev().copied().collect();
            prop_assert_eq!(&chosen, &place(&need, &reversed).0, "whatever order they come in");
            let is_other = |one: &&Keeper| holders.iter().all(|holder| holder.slot != one.slot);
            let others = keepers.iter().filter(is_other).count();
            let considered = status.given + status.no_room + status.busy + status.failed;
            prop_assert!(considered as usize <= others);
            let is_done = status.missing() == 0 || status.copies == 0;
            prop_assert!(is_done || considered as usize == others, "every other node is counted");
        }
    }
}
