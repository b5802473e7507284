//! A simulated swarm in virtual time, in which a node downloads with the machine. After every step the
//! simulation asserts what must always hold. Some tests compare the time of a download with the ideal time.

mod peer;
mod swarm;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use super::machine::RATE_CHECK_AT_END;
use super::tests::source;
use super::*;
use crate::logic::backoff::retry_pause;
use crate::logic::select::Candidate;
use crate::rt::clock;
use crate::types::{LatencyOrigin, Millis, PieceSet, limits};
use peer::{Link, Part, Peer};
use swarm::{Outcome, Swarm};

/// The least time between two reports of the partial peers about their pieces.
const REPORT_EVERY: Duration = Duration::from_secs(1);

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

/// True if the honest partial peers together have all pieces from the start, or one of them gets new pieces
/// so often that the machine waits for it.
fn partial_peers_suffice(peers: &[Peer], pieces: u32, answers_lost: f64) -> bool {
    let partial = || peers.iter().filter(|peer| peer.part.percent < 100 && peer.sends_what_it_reports());
    let has = |peer: &Peer| peer.has(pieces, Duration::ZERO).unwrap_or_else(|| PieceSet::all(pieces));
    let has_piece = |piece| partial().any(|peer| has(peer).contains(piece));
    let grows = |peer: &Peer| peer.part.growth_per_s > 0 && pieces >= 16;
    pieces > 0 && ((0..pieces).all(has_piece) || answers_lost == 0.0 && partial().any(grows))
}

/// Simulates a random swarm and a download, and asserts what must hold at the end.
fn run_random_swarm(seed: u64) -> Outcome {
    let mut rng = SmallRng::seed_from_u64(seed);
    let count = rng.random_range(0..=6);
    let mut peers: Vec<_> = (0..count).map(|number| Peer::random(&mut rng, number)).collect();
    if rng.random_ratio(1, 6) {
        // No peer has all pieces yet.
        peers.iter_mut().for_each(|peer| peer.part.percent = peer.part.percent.min(rng.random_range(0..100)));
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
        // As the driver does: some buffers are left for other sources if one fills slowly.
        plan.sources_max = plan.sources_max.min(buffers.div_ceil(2));
    }
    let is_manifest_late = rng.random_ratio(1, 2);
    let manifest_takes_ms = *[500, 30_000].choose(&mut rng).expect("some");
    let manifest_takes = Duration::from_millis(rng.random_range(0..=manifest_takes_ms));
    let manifest_fails = if is_manifest_late { *[0, 0, 1, 3].choose(&mut rng).expect("some") } else { 0 };

    // A peer that breaks off does not suffice if its pieces are dropped because the manifest fails.
    let is_enough = |peer: &Peer| manifest_fails == 0 && peer.sends_something_in_each_round();
    let must_finish = has_honest
        || partial_peers_suffice(&peers, pieces, answers_lost)
        || plan.retries > 0 && peers.iter().any(is_enough);
    let mut swarm = Swarm::new(format!("seed {seed}"), seed, plan.clone(), peers.clone());
    (swarm.verify_takes, swarm.answers_lost, swarm.buffers) = (verify_takes, answers_lost, buffers);
    (swarm.manifest_at, swarm.manifest_takes) = (is_manifest_late.then_some(manifest_takes), manifest_takes);
    swarm.manifest_fails = manifest_fails;
    let mut outcome = swarm.run();
    outcome.is_from_partial_peers = !has_honest && partial_peers_suffice(&peers, pieces, answers_lost);

    assert!(outcome.is_finished || !must_finish, "seed {seed}: gave up, {plan:?} {peers:?} {outcome:?}");
    if !outcome.is_finished {
        assert_eq!(outcome.pauses_since_progress, plan.retries, "seed {seed}: gave up too soon or late");
    }
    assert!(outcome.time < Duration::from_secs(8 * 3600), "seed {seed}: took {:?}", outcome.time);
    if has_honest {
        let size = u64::from(pieces) * plan.piece_len_bytes;
        // Before the first verdict on a liar, a full batch of its pieces can arrive; before the manifest, as
        // many as there are buffers.
        let unchecked = if is_manifest_late { buffers.unwrap_or(usize::MAX).min(pieces as usize) } else { 0 };
        let unchecked = unchecked.max(limits::VERIFY_BATCH) as u64;
        let spent = |peer: &Peer| if peer.lies > 0.0 { unchecked } else { 2 };
        let allowed = size / 4 + peers.iter().map(spent).sum::<u64>() * plan.piece_len_bytes;
        assert!(outcome.wasted <= allowed, "seed {seed}: wasted {} of {size}", outcome.wasted);
    }
    outcome
}

fn run_all(seeds: std::ops::Range<u64>) {
    let outcomes: Vec<_> = seeds.map(run_random_swarm).collect();
    let finished = outcomes.iter().filter(|outcome| outcome.is_finished).count();
    let wasteful = outcomes.iter().filter(|outcome| outcome.wasted > 0).count();
    assert!(
        finished > outcomes.len() / 2 && finished < outcomes.len() * 19 / 20,
        "too tame: {finished} finished"
    );
    assert!(wasteful > outcomes.len() / 50, "too tame: {wasteful} wasted anything");
    let from_partial = outcomes.iter().filter(|outcome| outcome.is_from_partial_peers).count();
    assert!(from_partial > outcomes.len() / 50, "too tame: {from_partial} from partial peers alone");
}

// Two tests, so that two cores share the work.
#[test]
fn five_thousand_random_swarms_end_with_all_pieces_or_the_right_failure() {
    run_all(0..5_000);
}

#[test]
fn another_five_thousand_random_swarms_end_with_all_pieces_or_the_right_failure() {
    run_all(5_000..10_000);
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

#[test]
fn near_sources_with_the_same_pieces_do_not_keep_a_far_source_with_the_rest_away() {
    let ms = Duration::from_millis;
    // These numbers give the near peers the same half of the pieces.
    let mut peers: Vec<_> = [100, 200, 300].map(|number| Peer::honest(number, ms(1), 20_000_000)).to_vec();
    peers.iter_mut().for_each(|peer| peer.part = Part { percent: 50, growth_per_s: 0 });
    let far = Peer::honest(3, ms(300), 20_000_000);
    let alone = Swarm::new("the far one alone".into(), 0, plan(120), vec![far.clone()]).run();
    peers.push(far);
    let outcome = Swarm::new("a half in common".into(), 0, Plan { sources_max: 3, ..plan(240) }, peers).run();
    // The far peer sends half of the pieces, from the start.
    assert!(
        outcome.is_finished && outcome.time < alone.time + ms(500),
        "{:?}, {:?}",
        outcome.time,
        alone.time
    );
}

#[test]
fn a_partial_source_that_grows_slowly_suffices() {
    for growth in [1, 10] {
        let mut peer = Peer::honest(0, Duration::from_millis(1), 20_000_000);
        peer.part = Part { percent: 10, growth_per_s: growth };
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
fn a_source_that_breaks_off_after_every_piece_still_sends_all() {
    let mut peer = Peer::honest(0, Duration::from_millis(1), 10_000_000);
    peer.breaks_off = 1.0;
    let outcome = Swarm::new("breaks off".into(), 0, Plan { retries: 1, ..plan(20) }, vec![peer]).run();
    assert_eq!((outcome.is_finished, outcome.wasted), (true, 0));
}

/// One source of four sends a wrong piece in 20.
#[test]
fn a_source_that_sends_few_wrong_pieces_costs_little() {
    for seed in 0..50 {
        let mut peers: Vec<_> =
            (0..4).map(|n| Peer::honest(n, Duration::from_millis(1), 20_000_000)).collect();
        peers[0].lies = 0.05;
        let outcome = Swarm::new(format!("liar, seed {seed}"), seed, plan(256), peers).run();
        assert!(outcome.is_finished && outcome.wasted <= 2 * 8 * MIB, "seed {seed}: {}", outcome.wasted);
    }
}
