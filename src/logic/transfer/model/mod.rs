//! A swarm in virtual time that drives the machine as a downloading node would: the simulation that the
//! machine must survive, and how fast it is against the ideal. It asserts, after every step, what must never
//! happen.

mod peer;
mod swarm;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use super::machine::LOOK_AT_END;
use super::tests::source;
use super::*;
use crate::logic::backoff::retry_pause;
use crate::logic::select::Candidate;
use crate::rt::clock;
use crate::types::{LatencyOrigin, Millis, PieceSet, limits};
use peer::{Link, Peer};
use swarm::{Outcome, Swarm};

/// How often those that have a part tell what they have, if anything happens then.
const TELL_EVERY: Duration = Duration::from_secs(1);

const FOREVER: Duration = Duration::from_secs(1 << 40);

const KIB: u64 = 1 << 10;

const MIB: u64 = 1 << 20;

fn plan(pieces: u32) -> Plan {
    Plan {
        pieces,
        piece_len_bytes: MIB,
        marked: Vec::new(),
        first_piece: 0,
        seed: 0,
        sources_max: limits::SOURCES_AT_ONCE,
        load_weight: Millis::from_ms(10),
        retries: 2,
    }
}

/// True if those that bring what they have, each a part only, have everything together: from the beginning,
/// or so steadily more that they are worth waiting for.
fn are_enough_together(peers: &[Peer], pieces: u32, answers_lost: f64) -> bool {
    let parts = || peers.iter().filter(|peer| peer.part.0 < 100 && peer.brings_what_it_has());
    let has = |peer: &Peer| peer.has(pieces, Duration::ZERO).unwrap_or_else(|| PieceSet::all(pieces));
    let is_had = |piece| parts().any(|peer| has(peer).contains(piece));
    let grows = |peer: &Peer| peer.part.1 > 0 && pieces >= 16;
    pieces > 0 && ((0..pieces).all(is_had) || answers_lost == 0.0 && parts().any(grows))
}

/// One random swarm and download; asserts what must hold at the end.
fn survive(seed: u64) -> Outcome {
    let mut rng = SmallRng::seed_from_u64(seed);
    let count = rng.random_range(0..=6);
    let mut peers: Vec<_> = (0..count).map(|number| Peer::random(&mut rng, number)).collect();
    if rng.random_ratio(1, 6) {
        // Nobody has everything yet.
        peers.iter_mut().for_each(|peer| peer.part.0 = peer.part.0.min(rng.random_range(0..100)));
    }
    let pieces = *[0, 1, 2, 5, 16, 40, 150].choose(&mut rng).expect("some");
    let marks = if rng.random_ratio(1, 3) { pieces } else { 0 };
    let mut plan = Plan {
        piece_len_bytes: *[256 * KIB, MIB].choose(&mut rng).expect("some"),
        marked: (0..marks).filter(|_| rng.random()).collect(),
        first_piece: rng.random_range(0..pieces.max(1)),
        sources_max: *[1, 2, 8].choose(&mut rng).expect("some"),
        load_weight: Millis::from_ms(*[0, 10, 10, 10].choose(&mut rng).expect("some")),
        retries: rng.random_range(0..3),
        ..plan(pieces)
    };
    let has_honest = peers.iter().any(Peer::is_honest);
    let verify_takes = Duration::from_millis(*[0, 1, 20, 20, 100].choose(&mut rng).expect("some"));
    let answers_lost = *[0.0, 0.0, 0.5].choose(&mut rng).expect("some");
    let buffers = rng.random_ratio(1, 2).then(|| rng.random_range(3..=20));
    if let Some(buffers) = buffers.filter(|buffers| *buffers < pieces as usize) {
        // As a node does, so that some are left for others where one fills slowly.
        plan.sources_max = plan.sources_max.min(buffers.div_ceil(2));
    }
    let is_list_late = rng.random_ratio(1, 2);
    let list_takes_ms = *[500, 30_000].choose(&mut rng).expect("some");
    let list_takes = Duration::from_millis(rng.random_range(0..=list_takes_ms));
    let list_fails = if is_list_late { *[0, 0, 1, 3].choose(&mut rng).expect("some") } else { 0 };

    // What one brings before it breaks off is nothing if it is thrown away.
    let is_enough = |peer: &Peer| list_fails == 0 && peer.brings_something_each_time();
    let must_finish = has_honest
        || are_enough_together(&peers, pieces, answers_lost)
        || plan.retries > 0 && peers.iter().any(is_enough);
    let mut swarm = Swarm::new(format!("seed {seed}"), seed, plan.clone(), peers.clone());
    (swarm.verify_takes, swarm.answers_lost, swarm.buffers) = (verify_takes, answers_lost, buffers);
    (swarm.list_at, swarm.list_takes) = (is_list_late.then_some(list_takes), list_takes);
    swarm.list_fails = list_fails;
    let mut outcome = swarm.run();
    outcome.is_by_parts = !has_honest && are_enough_together(&peers, pieces, answers_lost);

    assert!(outcome.is_finished || !must_finish, "seed {seed}: gave up, {plan:?} {peers:?} {outcome:?}");
    if !outcome.is_finished {
        assert_eq!(outcome.pauses_since_progress, plan.retries, "seed {seed}: gave up too soon or late");
    }
    assert!(outcome.time < Duration::from_secs(8 * 3600), "seed {seed}: took {:?}", outcome.time);
    if has_honest {
        let size = u64::from(pieces) * plan.piece_len_bytes;
        // Before the first verdict on a liar a full batch of its pieces can have come, before the list as
        // much as there is room for.
        let unseen = if is_list_late { buffers.unwrap_or(usize::MAX).min(pieces as usize) } else { 0 };
        let unseen = unseen.max(limits::VERIFY_BATCH) as u64;
        let spent = |peer: &Peer| if peer.lies > 0.0 { unseen } else { 2 };
        let allowed = size / 4 + peers.iter().map(spent).sum::<u64>() * plan.piece_len_bytes;
        assert!(outcome.wasted <= allowed, "seed {seed}: wasted {} of {size}", outcome.wasted);
    }
    outcome
}

fn survive_all(seeds: std::ops::Range<u64>) {
    let outcomes: Vec<_> = seeds.map(survive).collect();
    let finished = outcomes.iter().filter(|outcome| outcome.is_finished).count();
    let wasteful = outcomes.iter().filter(|outcome| outcome.wasted > 0).count();
    assert!(
        finished > outcomes.len() / 2 && finished < outcomes.len() * 19 / 20,
        "too tame: {finished} finished"
    );
    assert!(wasteful > outcomes.len() / 50, "too tame: {wasteful} wasted anything");
    let by_parts = outcomes.iter().filter(|outcome| outcome.is_by_parts).count();
    assert!(by_parts > outcomes.len() / 50, "too tame: {by_parts} by parts alone");
}

// Two tests, for two cores.
#[test]
fn five_thousand_random_swarms_end_with_the_right_bytes_or_the_right_error() {
    survive_all(0..5_000);
}

#[test]
fn another_five_thousand_random_swarms_do() {
    survive_all(5_000..10_000);
}

#[test]
fn three_sources_are_used_to_the_full() {
    let latencies = [1, 5, 20];
    let peers: Vec<_> = (0..3)
        .map(|n| Peer::honest(n, Duration::from_millis(latencies[usize::from(n)]), 20_000_000))
        .collect();
    let outcome = Swarm::new("three sources".into(), 0, plan(1024), peers).run();
    let ideal = Duration::from_secs_f64((1u64 << 30) as f64 / 60e6);
    assert!(outcome.is_finished);
    assert!(outcome.time < ideal.mul_f64(1.0 / 0.97), "{:?} where {ideal:?} is ideal", outcome.time);
    assert!(outcome.wasted <= 3 * MIB, "{} bytes came twice", outcome.wasted);
}

/// What others have does not keep the one away that has the rest.
#[test]
fn what_near_ones_have_in_common_does_not_hold_up_the_rest() {
    let ms = Duration::from_millis;
    // The same half.
    let mut peers: Vec<_> = [100, 200, 300].map(|number| Peer::honest(number, ms(1), 20_000_000)).to_vec();
    peers.iter_mut().for_each(|peer| peer.part = (50, 0));
    let far = Peer::honest(3, ms(300), 20_000_000);
    let alone = Swarm::new("the far one alone".into(), 0, plan(120), vec![far.clone()]).run();
    peers.push(far);
    let outcome = Swarm::new("a half in common".into(), 0, Plan { sources_max: 3, ..plan(240) }, peers).run();
    // Half of them come from the far one, which has begun at once.
    assert!(
        outcome.is_finished && outcome.time < alone.time + ms(500),
        "{:?}, {:?}",
        outcome.time,
        alone.time
    );
}

#[test]
fn a_part_that_grows_slowly_is_enough() {
    for growth in [1, 10] {
        let mut peer = Peer::honest(0, Duration::from_millis(1), 20_000_000);
        peer.part = (10, growth);
        let outcome =
            Swarm::new(format!("grows by {growth}"), 0, Plan { retries: 0, ..plan(20) }, vec![peer]).run();
        assert!(outcome.is_finished, "{growth}: {:?}", outcome.time);
    }
}

#[test]
fn a_far_source_is_kept_busy() {
    let peers = vec![Peer::honest(0, Duration::from_millis(100), 50_000_000)];
    let outcome = Swarm::new("a far source".into(), 0, plan(1024), peers).run();
    let ideal = Duration::from_secs_f64((1u64 << 30) as f64 / 50e6);
    assert!(outcome.time < ideal.mul_f64(1.2), "{:?} where {ideal:?} is ideal", outcome.time);
}

#[test]
fn a_slow_source_does_not_hold_up_the_end() {
    let ms = Duration::from_millis;
    for (slow_ms, fast_ms) in [(1, 1), (1, 5), (5, 1), (20, 1), (1, 20)] {
        let peers = vec![Peer::honest(0, ms(slow_ms), 1_000_000), Peer::honest(1, ms(fast_ms), 100_000_000)];
        let outcome = Swarm::new("a slow source".into(), 0, plan(256), peers).run();
        let ideal = Duration::from_secs_f64((256u64 << 20) as f64 / 101e6);
        let late = outcome.time.saturating_sub(ideal);
        assert!(late < ms(400), "{slow_ms} ms and {fast_ms} ms: {late:?} after {ideal:?}");
        assert!(outcome.wasted <= 3 * MIB, "{} bytes came twice", outcome.wasted);
    }
}

#[test]
fn a_stalled_source_does_not_hold_up_the_end() {
    let mut stalling = Peer::honest(0, Duration::from_millis(1), 20_000_000);
    stalling.stalls_after = 10;
    let peers = vec![stalling, Peer::honest(1, Duration::from_millis(1), 20_000_000)];
    let outcome = Swarm::new("a stalled source".into(), 0, plan(64), peers).run();
    let alone = Duration::from_secs_f64((54u64 << 20) as f64 / 20e6);
    let late = outcome.time.saturating_sub(alone);
    assert!(late < Duration::from_millis(300), "{late:?} after {alone:?}");
}

#[test]
fn equal_sources_fetch_nothing_twice() {
    for pieces in [2, 3, 7, 16, 61] {
        let peers = (0..4).map(|n| Peer::honest(n, Duration::from_millis(2), 10_000_000)).collect();
        let outcome = Swarm::new("equal sources".into(), 0, plan(pieces), peers).run();
        assert_eq!((outcome.is_finished, outcome.wasted), (true, 0), "{pieces} pieces");
    }
}

#[test]
fn a_source_that_breaks_off_after_every_piece_still_brings_all() {
    let mut peer = Peer::honest(0, Duration::from_millis(1), 10_000_000);
    peer.breaks_off = 1.0;
    let outcome = Swarm::new("breaks off".into(), 0, Plan { retries: 1, ..plan(20) }, vec![peer]).run();
    assert_eq!((outcome.is_finished, outcome.wasted), (true, 0));
}

/// One of four lies in a twentieth of its pieces.
#[test]
fn a_liar_costs_little() {
    for seed in 0..50 {
        let mut peers: Vec<_> =
            (0..4).map(|n| Peer::honest(n, Duration::from_millis(1), 20_000_000)).collect();
        peers[0].lies = 0.05;
        let outcome = Swarm::new(format!("liar, seed {seed}"), seed, plan(256), peers).run();
        assert!(outcome.is_finished && outcome.wasted <= 2 * 8 * MIB, "seed {seed}: {}", outcome.wasted);
    }
}
