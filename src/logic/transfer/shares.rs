//! Who is to have how many of the missing pieces, and which comes next: the selection rule where some sources have a part only.
//!
//! A source is never given more than it has; what no partial source has is for the full ones.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Instant;

use rand::Rng;

use super::pieces::State;
use super::roster::{Failure, Source};
use super::{Transfer, is_stalled};
use crate::logic::select::{Sharer, share_out};
use crate::types::PieceSet;

impl Transfer {
    /// How many of the missing pieces each source is to have, best first: none more than it has. With `is_full` those in use alone.
    pub(super) fn shares(&self, now: Instant, is_full: bool) -> Vec<(SocketAddr, u64)> {
        let is_stalled = |source: &Source| source.wire.as_ref().is_some_and(|wire| is_stalled(wire, now));
        // What waits for a stalled one goes to others, if they have it.
        let has_other = self.others_suffice(|_, source| is_stalled(source));
        let usable: Vec<(SocketAddr, &Source)> = self
            .roster
            .eligible()
            .filter(|(_, source)| source.wire.is_some() || !is_full)
            .filter(|(_, source)| !has_other || !is_stalled(source))
            .collect();
        let mut sharers: Vec<(Sharer, u64)> = usable
            .iter()
            .map(|(endpoint, source)| {
                let asked = source.wire.as_ref().map_or(0, |wire| wire.asked().len() as u64);
                let (latency, load) = (source.latency, source.load + asked);
                let can_have = source.has.as_ref().map_or(u64::MAX, |has| self.pieces.missing_of(has) as u64);
                (Sharer { endpoint: *endpoint, latency, load }, can_have)
            })
            .filter(|(_, can_have)| *can_have > 0)
            .collect();
        sharers.sort_by_key(|(sharer, _)| self.first_score(sharer));
        let order: Vec<_> = sharers.iter().map(|(sharer, _)| sharer.endpoint).collect();
        let (mut settled, full) = self.share_out_parts(sharers);
        // Partial sources may have the same pieces: what none of them has is for the full ones, whatever they take.
        let elsewhere = Transfer::parts(usable.iter().map(|(_, source)| *source));
        let elsewhere = elsewhere.map_or(0, |has| self.pieces.missing_of(&has));
        let theirs = (self.pieces.missing() - elsewhere) as u64;
        let share = |sharer: &Sharer| settled.get(&sharer.endpoint).copied().unwrap_or(0);
        if full.iter().map(share).sum::<u64>() < theirs {
            let shares = share_out(theirs, &full, self.load_weight);
            settled.extend(full.iter().map(|sharer| sharer.endpoint).zip(shares));
        }
        order.into_iter().map(|endpoint| (endpoint, settled.get(&endpoint).copied().unwrap_or(0))).collect()
    }

    /// Shares out all missing pieces, best first, each with how many it can have: what one cannot have goes to the others. With them, those
    /// that can have all.
    fn share_out_parts(&self, mut sharers: Vec<(Sharer, u64)>) -> (BTreeMap<SocketAddr, u64>, Vec<Sharer>) {
        let mut settled = BTreeMap::new();
        let mut missing = self.pieces.missing() as u64;
        loop {
            let left: Vec<_> = sharers.iter().map(|(sharer, _)| *sharer).collect();
            let shares = share_out(missing, &left, self.load_weight);
            let given = sharers.into_iter().zip(shares);
            let (fit, too_many): (Vec<_>, Vec<_>) =
                given.partition(|((_, can_have), share)| share <= can_have);
            if too_many.is_empty() {
                settled.extend(fit.iter().map(|((sharer, _), share)| (sharer.endpoint, *share)));
                let full = fit.into_iter().filter(|((_, can_have), _)| *can_have == u64::MAX);
                return (settled, full.map(|((sharer, _), _)| sharer).collect());
            }
            for ((sharer, can_have), _) in too_many {
                settled.insert(sharer.endpoint, can_have);
                missing = missing.saturating_sub(can_have);
            }
            sharers = fit.into_iter().map(|(sharer, _)| sharer).collect();
        }
    }

    /// True if the sources that may be asked, without those that are `out`, have together all that is missing or may be missing again.
    pub(super) fn others_suffice(&self, out: impl Fn(SocketAddr, &Source) -> bool) -> bool {
        let others = || {
            let left = self.roster.eligible().filter(|(endpoint, source)| !out(*endpoint, source));
            left.map(|(_, source)| source)
        };
        others().any(|source| source.has.is_none())
            || Transfer::parts(others()).is_some_and(|has| self.pieces.wants_only(&has))
    }

    /// A source of the last ranking has these pieces only.
    pub(super) fn take_parts(&mut self, endpoint: SocketAddr, has: PieceSet) {
        let Some(source) = self.roster.get_mut(endpoint) else { return };
        if has.count() == self.pieces.count() {
            source.has = Some(has);
        }
    }

    /// A source does not have a piece that it was asked for. A partial one that has refused it once is only believed to have less: it may
    /// have begun anew. One that tells of it again to refuse it again, or that has everything, has failed.
    pub(super) fn take_lack(&mut self, now: Instant, endpoint: SocketAddr, piece: u32) {
        let Some(source) = self.roster.get_mut(endpoint) else { return };
        let Some(wire) = source.wire.as_mut().filter(|wire| wire.is_asked(piece)) else { return };
        let why = format!("has no piece {piece}, though it says so");
        let Some(has) = &mut source.has else { return self.fail(endpoint, why, false) };
        has.set(piece, false);
        if !source.refused.insert(piece) {
            return self.fail(endpoint, why, false);
        }
        wire.unask(now, piece);
        if source.refused.len() == 1 {
            // For the user, if nobody can deliver in the end.
            self.roster.record(Failure { source: endpoint, why, by_digest: false });
        }
        if self.pieces.state(piece) == Some(State::Asked) && self.roster.times_asked(piece) == 0 {
            self.pieces.miss(piece);
        }
    }

    /// What these sources have, as far as they are partial ones; `None` if none of them is.
    pub(super) fn parts<'a>(mut sources: impl Iterator<Item = &'a Source>) -> Option<PieceSet> {
        let mut all = sources.find_map(|source| source.has.clone())?;
        sources.filter_map(|source| source.has.as_ref()).for_each(|has| all.unite(has));
        Some(all)
    }

    /// The missing piece that this source is to be asked for; `elsewhere`: what partial sources have. Those who fetch together know the
    /// same of each other and would take the same pieces in whatever order; so each takes any one, with equal chances.
    pub(super) fn next_piece_of(
        &mut self,
        endpoint: SocketAddr,
        elsewhere: Option<&PieceSet>,
    ) -> Option<u32> {
        match (&self.roster.get(endpoint)?.has, elsewhere) {
            (Some(has), _) => self.pieces.next_missing_of(has),
            (None, Some(elsewhere)) => {
                let beside = self.pieces.missing_beside(elsewhere);
                beside.nth(self.rng.random_range(0..beside.len().max(1)))
            }
            (None, None) => self.pieces.next_missing(),
        }
    }
}
