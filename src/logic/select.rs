//! Source selection: `score = latency + weight * (load - yours)`. The least score wins; ties by latency, then
//! address.
//!
//! The scores are exact integers: the same candidates have the same order on every machine, and [`reasons`]
//! can explain every place. A download of many pieces applies the same rule to each piece.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use crate::types::{ContentKey, Holding, LatencyOrigin, Millis, NodeId, Provider, Ranked};

/// A live holder, with the result of its load probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// Address that the holder serves at.
    pub endpoint: SocketAddr,
    /// Latency from this node to the holder.
    pub latency: Millis,
    /// Where `latency` comes from.
    pub latency_origin: LatencyOrigin,
    /// Number of transfers that the holder takes part in.
    pub load: u32,
    /// The asking node's own transfers of this content that `load` counts: 0 or 1.
    pub yours: u32,
}

/// A holder that answered the load probe.
#[derive(Debug, Clone)]
pub struct LiveHolder {
    /// The provider, as the tracker returned it.
    pub provider: Provider,
    /// The result of the probe.
    pub candidate: Candidate,
}

impl From<&Ranked> for Candidate {
    fn from(ranked: &Ranked) -> Candidate {
        let Ranked { endpoint, latency, latency_origin, load, yours, .. } = *ranked;
        Candidate { endpoint, latency, latency_origin, load, yours }
    }
}

/// The content that a name means, among all contents with that name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// There is only this content.
    One(ContentKey),
    /// This content has strictly more live full holders than each of the `others` other contents.
    Majority {
        /// The content.
        key: ContentKey,
        /// Number of its live full holders.
        holders: usize,
        /// Number of other contents.
        others: usize,
    },
    /// No content has strictly more live full holders than each other one.
    Ambiguous,
}

/// Ranks all `candidates`, best first. `weight` is the cost of one unit of load.
///
/// Sums saturate. A peer that reports fewer transfers than this node has there counts as idle. Candidates
/// with equal score, latency and address keep their order.
pub fn rank(candidates: &[Candidate], weight: Millis) -> Vec<Ranked> {
    let mut ranking: Vec<_> = candidates
        .iter()
        .map(|candidate| {
            let load = candidate.load.saturating_sub(candidate.yours);
            let score = candidate.latency.saturating_add(weight.saturating_mul(u64::from(load)));
            let Candidate { endpoint, latency, latency_origin, load, yours } = *candidate;
            Ranked { endpoint, latency, latency_origin, load, score, yours }
        })
        .collect();
    ranking.sort_by_key(|ranked| (ranked.score, ranked.latency, ranked.endpoint));
    ranking
}

/// A source that missing pieces may be allocated to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WeightedSource {
    /// Address that the source serves at.
    pub endpoint: SocketAddr,
    /// Latency from this node to the source.
    pub latency: Millis,
    /// The load of the source without the asking node's own transfers, plus the pieces that are requested
    /// from the source and have not arrived.
    pub load: u64,
}

impl WeightedSource {
    /// The score of the source for the next piece. `weight` is the cost of one unit of load.
    pub fn score(&self, weight: Millis) -> Millis {
        self.latency.saturating_add(weight.saturating_mul(self.load))
    }
}

/// Allocates `missing` pieces one by one, each to the source with the least `latency + weight * (load +
/// pieces allocated to it)`, ties by latency, then address. Returns the number for each of `sources`, in
/// their order; with no sources, no piece is allocated.
///
/// Scores saturate as in [`rank`], so one piece goes to the best source. The time depends on the number of
/// sources, not of pieces: bisection finds the level below which the scores of all allocated pieces lie.
pub fn share_out(missing: u64, sources: &[WeightedSource], weight: Millis) -> Vec<u64> {
    let first_scores: Vec<u64> = sources.iter().map(|source| source.score(weight).as_micros()).collect();
    let Some(&least) = first_scores.iter().min() else { return Vec::new() };
    let weight = weight.as_micros();
    // Number of pieces that a source gets at scores below `level`: each piece raises its score by `weight`.
    let below = |first: u64, level: u64| match (level.saturating_sub(first), weight) {
        (0, _) => 0,
        // Without a weight the score never rises to the level.
        (_, 0) => u64::MAX,
        (room, _) => room.div_ceil(weight),
    };
    let all_below =
        |level| first_scores.iter().fold(0u64, |sum, first| sum.saturating_add(below(*first, level)));

    // The highest level with at most `missing` pieces below it. At the upper end, the best source alone would
    // get all pieces.
    let (mut level, mut highest) = (least, least.saturating_add(weight.saturating_mul(missing)));
    while level < highest {
        let middle = level + (highest - level).div_ceil(2);
        if all_below(middle) <= missing { level = middle } else { highest = middle - 1 }
    }
    let mut shares: Vec<u64> = first_scores.iter().map(|first| below(*first, level)).collect();
    let mut rest = missing - shares.iter().sum::<u64>();

    // The rest goes to the sources that have a piece at exactly this level, by latency, then address. A score
    // that is saturated, or has no weight, does not rise: then the first source gets the whole rest.
    let never_rises = weight == 0 || level == u64::MAX;
    let mut at_level: Vec<usize> = (0..sources.len())
        .filter(|&one| match level.checked_sub(first_scores[one]) {
            None => false,
            // At the highest level all scores that rise are saturated, and equal.
            Some(above) => above == 0 || level == u64::MAX && weight > 0 || weight > 0 && above % weight == 0,
        })
        .collect();
    at_level.sort_by_key(|&one| (sources[one].latency, sources[one].endpoint, one));
    for one in at_level {
        let given = if never_rises { rest } else { rest.min(1) };
        shares[one] += given;
        rest -= given;
    }
    shares
}

/// A short reason for each place of a `ranking` made by [`rank`], for the user. It compares the first place
/// with the second one, and every other place with the place before it.
pub fn reasons(ranking: &[Ranked]) -> Vec<String> {
    let mut reasons = match ranking {
        [] => return Vec::new(),
        [_] => vec!["the only source".to_owned()],
        [first, second, ..] => vec![format!("least score: {}", comparison(first, second, "the next"))],
    };
    reasons.extend(ranking.windows(2).map(|pair| comparison(&pair[1], &pair[0], "the one before")));
    reasons
}

/// The difference between `ranked` and `other`, which the text calls `name`.
fn comparison(ranked: &Ranked, other: &Ranked, name: &str) -> String {
    let (near, far) = (ranked.latency, other.latency);
    let nearness = match near.cmp(&far) {
        Ordering::Less => format!("{} ms nearer than {name}", difference(far, near)),
        Ordering::Greater => format!("{} ms farther than {name}", difference(near, far)),
        Ordering::Equal => format!("as near as {name}"),
    };
    let (cost, other_cost) = (load_cost(ranked), load_cost(other));
    let word = if near.cmp(&far) == cost.cmp(&other_cost) { "and" } else { "but" };
    let load = ranked.load.saturating_sub(ranked.yours);
    let burden = match cost.cmp(&other_cost) {
        Ordering::Less => format!(", {word} load {load} costs {} ms less", difference(other_cost, cost)),
        Ordering::Greater => format!(", {word} load {load} costs {} ms more", difference(cost, other_cost)),
        Ordering::Equal => String::new(),
    };
    let tie = match (ranked.score == other.score, near == far) {
        (true, true) => "; same score: the lower address goes first",
        (true, false) => "; same score: the nearer goes first",
        (false, _) => "",
    };
    nearness + &burden + tie
}

/// The part of the score that the load adds.
fn load_cost(ranked: &Ranked) -> Millis {
    difference(ranked.score, ranked.latency)
}

fn difference(more: Millis, less: Millis) -> Millis {
    Millis::from_micros(more.as_micros().saturating_sub(less.as_micros()))
}

/// Counts the votes for each content: the nodes among `holders` that have the whole content. Replicas do not
/// vote, because a content that one node invented could win by its replicas. They vote only if there are no
/// other full holders of any content.
pub fn votes<'a>(holders: impl Iterator<Item = &'a Provider>) -> BTreeMap<ContentKey, usize> {
    #[derive(Default)]
    struct Voters {
        without_replicas: BTreeSet<NodeId>,
        all: BTreeSet<NodeId>,
    }
    let mut voters: BTreeMap<ContentKey, Voters> = BTreeMap::new();
    for Provider { node, entry, .. } in holders {
        let Voters { without_replicas, all } = voters.entry(entry.key()).or_default();
        if entry.holding == Holding::Full {
            all.insert(*node);
            without_replicas.extend((!entry.is_replica()).then_some(*node));
        }
    }
    let replicas_vote = voters.values().all(|voters| voters.without_replicas.is_empty());
    let count = |voters: Voters| {
        if replicas_vote { voters.all.len() } else { voters.without_replicas.len() }
    };
    voters.into_iter().map(|(key, voters)| (key, count(voters))).collect()
}

/// Decides which content a name means: the only one, else the one that has strictly more live full holders
/// than each other one. `holders` has each content once, with its number of live full holders; an empty list
/// is [`Choice::Ambiguous`].
pub fn choose_content(holders: &[(ContentKey, usize)]) -> Choice {
    if let [(key, _)] = holders {
        return Choice::One(*key);
    }
    let max = holders.iter().map(|(_, count)| *count).max().unwrap_or(0);
    let mut leaders = holders.iter().filter(|(_, count)| *count == max);
    match (leaders.next(), leaders.next()) {
        (Some((key, count)), None) => {
            Choice::Majority { key: *key, holders: *count, others: holders.len() - 1 }
        }
        _ => Choice::Ambiguous,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::ContentId;
    use rand::rngs::SmallRng;
    use rand::seq::IndexedRandom;
    use rand::{Rng, SeedableRng};

    const WEIGHT: Millis = Millis::from_ms(10);

    fn candidate(last: u8, latency_ms: u64, load: u32, yours: u32) -> Candidate {
        Candidate {
            endpoint: SocketAddr::from(([10, 0, 0, last], 5000)),
            latency: Millis::from_ms(latency_ms),
            latency_origin: LatencyOrigin::Table,
            load,
            yours,
        }
    }

    /// Candidates: last byte of the address, latency in ms, load, own transfers. Expected: that byte and the
    /// score.
    fn check(candidates: &[(u8, u64, u32, u32)], expected: &[(u8, u64)]) {
        let candidates: Vec<_> = candidates.iter().map(|c| candidate(c.0, c.1, c.2, c.3)).collect();
        let got: Vec<_> = rank(&candidates, WEIGHT).iter().map(|r| (r.endpoint, r.score)).collect();
        let expected: Vec<_> = expected
            .iter()
            .map(|(last, score)| (SocketAddr::from(([10, 0, 0, *last], 5000)), Millis::from_ms(*score)))
            .collect();
        assert_eq!(got, expected);
    }

    #[test]
    fn the_least_score_is_first_and_ties_go_to_latency_then_address() {
        check(&[], &[]);
        check(&[(1, 100, 0, 0), (2, 20, 3, 0)], &[(2, 50), (1, 100)]);
        check(&[(1, 30, 0, 0), (2, 20, 3, 0)], &[(1, 30), (2, 50)]);
        check(&[(1, 30, 0, 0), (2, 20, 1, 0)], &[(2, 30), (1, 30)]);
        check(&[(3, 30, 0, 0), (1, 30, 0, 0), (2, 30, 0, 0)], &[(1, 30), (2, 30), (3, 30)]);
    }

    #[test]
    fn own_transfers_do_not_count_and_make_no_load_negative() {
        check(&[(1, 20, 2, 1), (2, 25, 1, 0)], &[(1, 30), (2, 35)]);
        check(&[(1, 20, 0, 1)], &[(1, 20)]);
    }

    /// Candidates and a weight, with many ties and some sums that saturate.
    fn random_candidates(random: &mut SmallRng) -> (Vec<Candidate>, Millis) {
        let latencies = [0, 1, 10_000, 20_000, 20_001, 3_600_000_000, u64::MAX - 1, u64::MAX];
        let loads = [0, 1, 2, 3, 12, u32::MAX];
        let weights = [0, 1, 10_000, 10_000, 10_000, u64::MAX];
        let origins = [LatencyOrigin::Table, LatencyOrigin::Default, LatencyOrigin::Measured];
        let pick = |values: &[u64], random: &mut SmallRng| {
            if random.random_ratio(1, 4) {
                random.random_range(0..200_000)
            } else {
                *values.choose(random).expect("not empty")
            }
        };
        let count = random.random_range(1..12);
        let candidates = (0..count).map(|_| Candidate {
            endpoint: SocketAddr::from(([10, 0, 0, random.random_range(0..3)], random.random_range(1..4))),
            latency: Millis::from_micros(pick(&latencies, random)),
            latency_origin: *origins.choose(random).expect("not empty"),
            load: *loads.choose(random).expect("not empty"),
            yours: random.random_range(0..2),
        });
        let candidates = candidates.collect();
        (candidates, Millis::from_micros(pick(&weights, random)))
    }

    /// The key of the rule in 128 bits, where nothing overflows; the score is cut to 64 bits at the end.
    fn rule(candidate: &Candidate, weight: Millis) -> (u64, u64, SocketAddr) {
        let load = (i128::from(candidate.load) - i128::from(candidate.yours)).max(0);
        let score = i128::from(candidate.latency.as_micros()) + i128::from(weight.as_micros()) * load;
        (score.min(i128::from(u64::MAX)) as u64, candidate.latency.as_micros(), candidate.endpoint)
    }

    #[test]
    fn the_ranking_is_that_of_a_naive_sort_on_10000_random_inputs() {
        let seed = 0x6e65_6172;
        let mut random = SmallRng::seed_from_u64(seed);
        let mut tied = 0;
        for round in 0..10_000 {
            let (candidates, weight) = random_candidates(&mut random);
            let ranking = rank(&candidates, weight);

            let mut best = &candidates[0];
            for other in &candidates[1..] {
                if rule(other, weight) < rule(best, weight) {
                    best = other;
                }
            }
            assert_eq!(&Candidate::from(&ranking[0]), best, "seed {seed} round {round}");
            assert_eq!(ranking[0].score.as_micros(), rule(best, weight).0, "seed {seed} round {round}");

            // Naive sort: inserts each candidate behind all that are not worse, so that equals keep their
            // order.
            let mut sorted: Vec<Candidate> = Vec::new();
            for one in &candidates {
                let at = sorted.iter().position(|other| rule(one, weight) < rule(other, weight));
                sorted.insert(at.unwrap_or(sorted.len()), *one);
            }
            let got: Vec<_> = ranking.iter().map(Candidate::from).collect();
            assert_eq!(got, sorted, "seed {seed} round {round}");
            assert_eq!(reasons(&ranking).len(), ranking.len());
            tied += usize::from(ranking.windows(2).any(|pair| pair[0].score == pair[1].score));
        }
        assert!(tied > 2_000, "only {tied} inputs had a tie: the generator is too tame");
    }

    #[test]
    fn pieces_are_shared_out_as_one_by_one_on_10000_random_inputs() {
        let seed = 0x7368_6172;
        let mut random = SmallRng::seed_from_u64(seed);
        let (mut spread, mut tied) = (0, 0);
        for round in 0..10_000 {
            let (candidates, weight) = random_candidates(&mut random);
            let missing = random.random_range(0..60);
            let sources: Vec<_> = candidates
                .iter()
                .map(|one| WeightedSource {
                    endpoint: one.endpoint,
                    latency: one.latency,
                    load: u64::from(one.load),
                })
                .collect();

            let mut expected = vec![0u64; sources.len()];
            for _ in 0..missing {
                let score = |one: usize| {
                    let load = i128::from(sources[one].load) + i128::from(expected[one]);
                    let score =
                        i128::from(sources[one].latency.as_micros()) + i128::from(weight.as_micros()) * load;
                    (score.min(i128::from(u64::MAX)), sources[one].latency, sources[one].endpoint, one)
                };
                let scores: Vec<_> = (0..sources.len()).map(score).collect();
                let best = scores.iter().min().expect("there are sources");
                tied += usize::from(scores.iter().filter(|other| other.0 == best.0).count() > 1);
                expected[best.3] += 1;
            }
            assert_eq!(share_out(missing, &sources, weight), expected, "seed {seed} round {round}");
            spread += usize::from(expected.iter().filter(|share| **share > 0).count() > 1);

            // One piece goes to the first in rank.
            let strangers: Vec<_> = candidates.iter().map(|one| Candidate { yours: 0, ..*one }).collect();
            let first = Candidate::from(&rank(&strangers, weight)[0]);
            let one = share_out(1, &sources, weight).iter().position(|share| *share == 1);
            assert_eq!(one.map(|one| strangers[one]), Some(first), "seed {seed} round {round}");
        }
        assert!(spread > 2_000 && tied > 10_000, "too tame: {spread} spread, {tied} ties");
        assert!(share_out(5, &[], WEIGHT).is_empty());
    }

    #[test]
    fn the_time_of_an_allocation_does_not_grow_with_the_number_of_pieces() {
        let source = |last, latency_ms| WeightedSource {
            endpoint: SocketAddr::from(([10, 0, 0, last], 5000)),
            latency: Millis::from_ms(latency_ms),
            load: 0,
        };
        let shares = share_out(1_000_000_000_000, &[source(1, 0), source(2, 20)], WEIGHT);
        assert_eq!(shares, [500_000_000_001, 499_999_999_999]);
    }

    #[test]
    fn every_place_in_the_ranking_has_a_reason() {
        let check = |candidates: &[Candidate], expected: &[&str]| {
            assert_eq!(reasons(&rank(candidates, WEIGHT)), expected);
        };
        check(&[], &[]);
        check(&[candidate(1, 5, 0, 0)], &["the only source"]);
        check(
            &[candidate(1, 30, 0, 0), candidate(2, 18, 3, 0), candidate(3, 48, 1, 0)],
            &[
                "least score: 12 ms farther than the next, but load 0 costs 30 ms less",
                "12 ms nearer than the one before, but load 3 costs 30 ms more",
                "30 ms farther than the one before, but load 1 costs 20 ms less",
            ],
        );
        check(
            &[candidate(1, 20, 1, 0), candidate(2, 20, 3, 1), candidate(3, 25, 2, 0)],
            &[
                "least score: as near as the next, but load 1 costs 10 ms less",
                "as near as the one before, but load 2 costs 10 ms more",
                "5 ms farther than the one before",
            ],
        );
        check(
            &[candidate(1, 30, 0, 0), candidate(2, 20, 1, 0), candidate(3, 30, 0, 0)],
            &[
                "least score: 10 ms nearer than the next, but load 1 costs 10 ms more; same score: the nearer goes first",
                "10 ms farther than the one before, but load 0 costs 10 ms less; same score: the nearer goes first",
                "as near as the one before; same score: the lower address goes first",
            ],
        );
    }

    #[test]
    fn a_name_means_the_only_content_or_the_one_with_the_most_holders() {
        let key = |number: u8| ContentKey { size_bytes: 1, id: ContentId([number; 32]) };
        let check = |counts: &[usize], expected: Choice| {
            let holders: Vec<_> =
                counts.iter().enumerate().map(|(n, count)| (key(n as u8), *count)).collect();
            assert_eq!(choose_content(&holders), expected, "{counts:?}");
        };
        check(&[], Choice::Ambiguous);
        check(&[0], Choice::One(key(0)));
        check(&[3], Choice::One(key(0)));
        check(&[1, 2], Choice::Majority { key: key(1), holders: 2, others: 1 });
        check(&[0, 1, 0], Choice::Majority { key: key(1), holders: 1, others: 2 });
        check(&[2, 2], Choice::Ambiguous);
        check(&[2, 2, 3], Choice::Majority { key: key(2), holders: 3, others: 2 });
        check(&[3, 1, 3], Choice::Ambiguous);
        check(&[0, 0], Choice::Ambiguous);
    }
}
