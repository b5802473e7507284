//! How many of the missing pieces each source is to send (its share): the selection rule where some sources
//! are partial.
//!
//! The result depends only on the missing pieces, the pieces of each source, and the scores. No source gets a
//! larger share than it has missing pieces. Each missing piece that some source has is among the pieces of a
//! source with a share.

use crate::logic::select::{WeightedSource, share_out};
use crate::types::{Millis, PieceSet};

/// A source that pieces may be allocated to.
#[derive(Debug)]
pub(super) struct PieceHolder<'a> {
    pub(super) weighted: WeightedSource,
    /// The pieces that it has; `None`: all.
    pub(super) held: Option<&'a PieceSet>,
}

/// The share of each of `holders`, best first, in the `missing` pieces. If all of them have all pieces, the
/// shares are those of [`share_out`]. The sum may be larger than the number of missing pieces: see the last
/// step.
pub(super) fn shares(missing: &PieceSet, holders: &[PieceHolder<'_>], weight: Millis) -> Vec<u64> {
    let Some(parts) = united(holders.iter().filter_map(|holder| holder.held)) else {
        let weighted_sources: Vec<WeightedSource> = holders.iter().map(|holder| holder.weighted).collect();
        return share_out(missing.len() as u64, &weighted_sources, weight);
    };
    let mut shares = vec![0; holders.len()];

    // First the pieces that no partial source has: they go to full sources.
    let common = missing.common(&parts) as u64;
    let full: Vec<usize> = (0..holders.len()).filter(|index| holders[*index].held.is_none()).collect();
    let only_full = missing.len() as u64 - common;
    for (index, given) in by_rule(only_full, &full, holders, &shares, weight) {
        shares[index] = given;
    }

    // The rest goes to all sources. If a source has fewer pieces than its share, the others get the
    // difference.
    let can_have = |index: usize| holders[index].held.map_or(common, |held| missing.common(held) as u64);
    let (mut left, mut among): (u64, Vec<usize>) = (common, (0..holders.len()).collect());
    while left > 0 {
        let given = by_rule(left, &among, holders, &shares, weight);
        let (too_many, fit): (Vec<_>, Vec<_>) =
            given.into_iter().partition(|(index, given)| *given > can_have(*index));
        if too_many.is_empty() {
            fit.into_iter().for_each(|(index, given)| shares[index] += given);
            break;
        }
        for (index, _) in too_many {
            shares[index] = can_have(index);
            left = left.saturating_sub(can_have(index));
        }
        among = fit.into_iter().map(|(index, _)| index).collect();
    }

    // The sources with a share may all have the same pieces. A piece that none of them has goes to the best
    // source that has it.
    let given = holders.iter().zip(&shares).filter(|(_, share)| **share > 0);
    let mut rest = given.fold(missing.clone(), |rest, (holder, _)| not_had(&rest, holder.held));
    for (holder, share) in holders.iter().zip(&mut shares) {
        let count = count_had(&rest, holder.held);
        if count > 0 {
            *share = count as u64;
            rest = not_had(&rest, holder.held);
        }
    }
    shares
}

/// Allocates `count` pieces `among` some holders (indices), which have `shares` already. Returns the index
/// and the number of pieces of each.
fn by_rule(
    count: u64,
    among: &[usize],
    holders: &[PieceHolder<'_>],
    shares: &[u64],
    weight: Millis,
) -> Vec<(usize, u64)> {
    let weighted = |index: &usize| {
        let weighted = holders[*index].weighted;
        WeightedSource { load: weighted.load + shares[*index], ..weighted }
    };
    let weighted_sources: Vec<WeightedSource> = among.iter().map(weighted).collect();
    among.iter().copied().zip(share_out(count, &weighted_sources, weight)).collect()
}

/// The union of the sets; `None` if there is no set.
pub(super) fn united<'a>(mut sets: impl Iterator<Item = &'a PieceSet>) -> Option<PieceSet> {
    let mut all = sets.next()?.clone();
    sets.for_each(|set| all.unite(set));
    Some(all)
}

/// How many of `pieces` a source has; `held`: its set, or `None` if it has all.
pub(super) fn count_had(pieces: &PieceSet, held: Option<&PieceSet>) -> usize {
    held.map_or(pieces.len(), |held| pieces.common(held))
}

/// Those of `pieces` that a source does not have; `held`: its set, or `None` if it has all.
pub(super) fn not_had(pieces: &PieceSet, held: Option<&PieceSet>) -> PieceSet {
    held.map_or_else(|| PieceSet::none(pieces.count()), |held| pieces.without(held))
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use rand::rngs::SmallRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    const WEIGHT: Millis = Millis::from_ms(10);

    fn weighted(number: usize, latency_ms: u64, load: u64) -> WeightedSource {
        let endpoint = SocketAddr::from(([127, 0, 0, 1], 5000 + number as u16));
        WeightedSource { endpoint, latency: Millis::from_ms(latency_ms), load }
    }

    fn set(count: u32, pieces: impl IntoIterator<Item = u32>) -> PieceSet {
        let mut set = PieceSet::none(count);
        pieces.into_iter().for_each(|piece| set.set(piece, true));
        set
    }

    /// Four pieces are missing. Each source has a latency and a set of pieces.
    #[track_caller]
    fn check(sources: &[(u64, Option<&[u32]>)], expected: &[u64]) {
        let held: Vec<_> =
            sources.iter().map(|(_, held)| held.map(|held| set(4, held.iter().copied()))).collect();
        let holders: Vec<_> = sources
            .iter()
            .zip(&held)
            .enumerate()
            .map(|(number, ((latency, _), held))| PieceHolder {
                weighted: weighted(number, *latency, 0),
                held: held.as_ref(),
            })
            .collect();
        assert_eq!(shares(&PieceSet::all(4), &holders, WEIGHT), expected);
    }

    #[test]
    fn a_piece_that_only_one_source_has_is_allocated_to_it_at_any_latency() {
        check(&[(0, None), (5, None)], &[2, 2]);
        check(&[(0, Some(&[1])), (5, None)], &[1, 3]);
        check(&[(0, Some(&[0, 1])), (0, Some(&[0, 1])), (900, None)], &[1, 1, 2]);
        check(&[(0, Some(&[0, 1, 2, 3])), (900, None)], &[4, 0]);
        // The same without a full source.
        check(&[(0, Some(&[0, 1])), (0, Some(&[0, 1])), (900, Some(&[1, 2, 3]))], &[2, 2, 2]);
        check(&[(0, Some(&[0])), (0, Some(&[])), (900, Some(&[0]))], &[1, 0, 0]);
        check(&[], &[]);
    }

    #[test]
    fn no_source_gets_more_than_it_has_and_every_piece_is_allocated() {
        let mut rng = SmallRng::seed_from_u64(11);
        let mut by_parts_alone = 0;
        for round in 0..5_000 {
            let count = rng.random_range(1..80);
            let any =
                |rng: &mut SmallRng, of: u32| set(count, (0..count).filter(|_| rng.random_ratio(of, 4)));
            let missing = any(&mut rng, 3);
            let sources = rng.random_range(0..6);
            let full_ratio = rng.random_range(0..=4);
            let held: Vec<_> = (0..sources)
                .map(|_| {
                    let density = rng.random_range(0..=4);
                    let held = any(&mut rng, density);
                    (!rng.random_ratio(full_ratio, 4)).then_some(held)
                })
                .collect();
            let mut holders: Vec<_> = held
                .iter()
                .enumerate()
                .map(|(number, held)| PieceHolder {
                    weighted: weighted(number, rng.random_range(0..500), rng.random_range(0..3)),
                    held: held.as_ref(),
                })
                .collect();
            holders.sort_by_key(|holder| (holder.weighted.score(WEIGHT), holder.weighted.latency));
            let shares = shares(&missing, &holders, WEIGHT);

            let had =
                |piece: u32, holder: &PieceHolder<'_>| holder.held.is_none_or(|held| held.contains(piece));
            let wanted = || (0..count).filter(|piece| missing.contains(*piece));
            let mut can_be_had = 0;
            for piece in wanted().filter(|piece| holders.iter().any(|holder| had(*piece, holder))) {
                can_be_had += 1;
                let mut given = holders.iter().zip(&shares).filter(|(_, share)| **share > 0);
                assert!(given.any(|(holder, _)| had(piece, holder)), "round {round}: nobody has {piece}");
            }
            for (holder, share) in holders.iter().zip(&shares) {
                let held = wanted().filter(|piece| had(*piece, holder)).count() as u64;
                assert!(*share <= held, "round {round}: {share} of {held}");
            }
            assert!(shares.iter().sum::<u64>() >= can_be_had, "round {round}");
            let full = |holder: &&PieceHolder<'_>| holder.held.is_none();
            let only_full = wanted()
                .filter(|piece| !holders.iter().any(|holder| holder.held.is_some() && had(*piece, holder)))
                .count() as u64;
            match holders.iter().filter(full).count() {
                0 => by_parts_alone += 1,
                all if all == holders.len() => {
                    let weighted_sources: Vec<_> = holders.iter().map(|holder| holder.weighted).collect();
                    assert_eq!(
                        shares,
                        share_out(missing.len() as u64, &weighted_sources, WEIGHT),
                        "round {round}"
                    );
                }
                _ => {
                    let theirs = holders.iter().zip(&shares).filter(|(holder, _)| holder.held.is_none());
                    assert!(theirs.map(|(_, share)| share).sum::<u64>() >= only_full, "round {round}");
                }
            }
        }
        assert!(by_parts_alone > 500, "too tame: {by_parts_alone}");
    }
}
