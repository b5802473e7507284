//! Chooses the nodes that are to get a copy of a content: as many as copies are missing, the least busy nodes
//! of those that can take one.
//!
//! Decides about one content at a time and keeps nothing. A copy is a live node with the whole content.
//! Copies must survive the failure of a machine, so nodes on the host with the fewest copies come first. Then
//! comes the least load, where tasks count as load, as in the selection of sources. A tracker knows no
//! latencies, so the free bytes and then the address decide between equals. Invariant: no chosen node has the
//! content or too little room for it, failed to fetch it a short time ago, or has
//! [`limits::REPLICA_TASKS_MAX`] tasks. No more nodes are chosen than copies are missing. Surplus copies
//! stay: their owners may want them.

use std::cmp::Reverse;
use std::net::{IpAddr, SocketAddr};

use crate::types::{ReplicationStatus, limits};

/// A live node that keeps replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keeper {
    /// The number of the node in the registry.
    pub slot: u32,
    /// Address of its listener.
    pub endpoint: SocketAddr,
    /// Number of transfers in its last heartbeat.
    pub load: u32,
    /// Number of its tasks that are not done.
    pub tasks: usize,
    /// Bytes that are free beyond its tasks.
    pub free_bytes: u64,
    /// The node failed to fetch this content a short time ago.
    pub has_failed: bool,
}

/// The state of a content on a node. Of several states the greatest counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CopyState {
    /// The node has some pieces. They may become a copy or not.
    Part,
    /// The node has the whole content, but is silent at the moment.
    Awaited,
    /// The node has the task to fetch the content.
    Task,
    /// The node has the whole content and is live.
    Copy,
}

/// A node that has some of the content or the task to fetch it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holder {
    /// The number of the node in the registry.
    pub slot: u32,
    /// IP address of the node.
    pub host: IpAddr,
    /// The state of the content there.
    pub state: CopyState,
}

/// The copies that are wanted of one content, and the nodes that have some of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need<'a> {
    /// Size of the content.
    pub size_bytes: u64,
    /// Number of copies that there should be.
    pub wanted: u32,
    /// The nodes that have some of the content or the task to fetch it, each once.
    pub holders: &'a [Holder],
    /// Number of further nodes that had the content a short time ago and lost it or have gone.
    pub departed: u32,
}

/// Chooses the keepers that are to fetch the content, in order. Also returns the status with these tasks.
pub fn place(need: &Need<'_>, keepers: &[Keeper]) -> (Vec<u32>, ReplicationStatus) {
    let count = |state| need.holders.iter().filter(|holder| holder.state == state).count() as u32;
    let mut status = ReplicationStatus {
        wanted: need.wanted,
        copies: count(CopyState::Copy),
        awaited: count(CopyState::Awaited) + need.departed,
        under_way: count(CopyState::Task),
        ..ReplicationStatus::default()
    };
    // A content without a live copy cannot be fetched.
    let missing = if status.copies > 0 { status.missing() } else { 0 };
    let mut able = Vec::new();
    for keeper in keepers {
        if need.holders.iter().any(|holder| holder.slot == keeper.slot) {
            continue;
        }
        if keeper.free_bytes < need.size_bytes {
            status.no_room += 1;
        } else if keeper.has_failed {
            status.failed += 1;
        } else if keeper.tasks >= limits::REPLICA_TASKS_MAX {
            status.busy += 1;
        } else {
            able.push(*keeper);
        }
    }
    // One entry for each copy that is there, awaited or under way.
    let mut hosts: Vec<IpAddr> = need
        .holders
        .iter()
        .filter(|holder| holder.state != CopyState::Part)
        .map(|holder| holder.host)
        .collect();
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

    fn holder(slot: u32, host: u8, state: CopyState) -> Holder {
        Holder { slot, host: endpoint(host, slot).ip(), state }
    }

    #[test]
    fn the_least_busy_on_the_fewest_hosts_come_first() {
        let check = |keepers: &[Keeper], holders: &[Holder], wanted, expected: &[u32]| {
            let need = Need { size_bytes: 10, wanted, holders, departed: 0 };
            let (chosen, status) = place(&need, keepers);
            assert_eq!(chosen, expected, "{keepers:?} {holders:?}");
            assert_eq!(status.given as usize, expected.len());
        };
        let source = [holder(0, 1, CopyState::Copy)];
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
    fn the_status_counts_the_keepers_that_cannot_take_a_copy() {
        let keepers = [
            Keeper { free_bytes: 9, ..keeper(1, 2, 0) },
            Keeper { tasks: limits::REPLICA_TASKS_MAX, ..keeper(2, 3, 0) },
            Keeper { has_failed: true, ..keeper(3, 4, 0) },
            keeper(4, 5, 0),
            keeper(5, 6, 0),
            keeper(6, 7, 0),
        ];
        let holders = [
            holder(0, 1, CopyState::Copy),
            holder(4, 5, CopyState::Part),
            holder(5, 6, CopyState::Awaited),
            holder(7, 8, CopyState::Task),
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

    /// The best sequence of able keepers, found by a comparison of all sequences.
    fn oracle(need: &Need<'_>, keepers: &[Keeper]) -> Vec<u32> {
        let holds = |slot| need.holders.iter().any(|holder| holder.slot == slot);
        let able: Vec<&Keeper> = keepers
            .iter()
            .filter(|one| !holds(one.slot) && one.free_bytes >= need.size_bytes && !one.has_failed)
            .filter(|one| one.tasks < limits::REPLICA_TASKS_MAX)
            .collect();
        let present = need.holders.iter().filter(|holder| holder.state != CopyState::Part).count();
        if need.holders.iter().all(|holder| holder.state != CopyState::Copy) {
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
                    .filter(|other| other.host == ip && other.state != CopyState::Part)
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
        let state = prop_oneof![
            Just(CopyState::Part),
            Just(CopyState::Awaited),
            Just(CopyState::Task),
            Just(CopyState::Copy)
        ];
        vec((0u32..9, 1u8..5, state), 0..4).prop_map(|all| {
            let mut all: Vec<_> =
                all.into_iter().map(|(slot, host, state)| holder(slot, host, state)).collect();
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
