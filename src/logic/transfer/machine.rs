//! The state of the machine, and the scheduling pass that gives its actions.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::allocation::{self, PieceHolder};
use super::in_flight::Wire;
use super::interface::{Action, Plan, RankedSource};
use super::pieces::{Pieces, State};
use super::sources::{Source, SourceFailure, Sources};
use crate::logic::backoff::retry_pause;
use crate::logic::select::WeightedSource;
use crate::types::{Millis, PieceSet, limits};

/// In the end game a piece is requested from a second source if it is expected there so many times sooner ...
const HEDGE_GAIN: u32 = 2;
/// ... and sooner by this.
const HEDGE_GAIN_MIN: Duration = Duration::from_millis(200);
/// Pause between two looks at the rates while pieces are requested.
pub(super) const LOOK: Duration = Duration::from_secs(1);
/// The same in the end game.
pub(super) const LOOK_AT_END: Duration = Duration::from_millis(100);
/// A source from which nothing was requested for this time is left while pieces are missing, before the peer
/// closes the connection.
pub(super) const REST: Duration = Duration::from_millis(limits::IDLE_DEADLINE_MS / 2);

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// The search that opens a round is under way.
    Searching,
    /// Sources are used until none is left.
    Fetching,
    /// Nothing happens until this time.
    Pausing(Instant),
    Ended,
}

/// The machine. Memory: 1 byte and 2 bits for each piece, and a bit for each piece and partial source.
#[derive(Debug)]
pub struct Transfer {
    pub(super) pieces: Pieces,
    pub(super) piece_len_bytes: u64,
    pub(super) sources: Sources,
    pub(super) rng: SmallRng,
    pub(super) sources_max: usize,
    pub(super) load_weight: Millis,
    pub(super) phase: Phase,
    /// When to search again while fetching; `None` during a search.
    pub(super) search_at: Option<Instant>,
    /// Nothing can be fetched now, but until this time a partial source is expected to get more pieces.
    pub(super) waits_until: Option<Instant>,
    pub(super) round: u32,
    pub(super) retries: u32,
    /// True if a fetched piece was verified in this round.
    pub(super) has_progressed: bool,
    pub(super) actions: VecDeque<Action>,
}

impl Transfer {
    /// A download from the sources in `ranked`, in any order; see [`super::Event::Ranked`].
    pub fn new(plan: Plan, ranked: Vec<RankedSource>, now: Instant) -> Transfer {
        let Plan { pieces, piece_len_bytes, marked, first_piece, seed, sources_max, load_weight, retries } =
            plan;
        let pieces = Pieces::new(pieces, &marked, first_piece);
        let mut sources = Sources::new();
        sources.refresh(now, ranked, &pieces);
        Transfer {
            pieces,
            piece_len_bytes: piece_len_bytes.max(1),
            sources,
            rng: SmallRng::seed_from_u64(seed),
            sources_max: sources_max.max(1),
            load_weight,
            phase: Phase::Fetching,
            search_at: Some(now + limits::ms(limits::SEARCH_AGAIN_MS)),
            waits_until: None,
            round: 0,
            retries,
            has_progressed: false,
            actions: VecDeque::new(),
        }
    }

    /// The next actions. If there are none, wait for an event or until [`Transfer::next_wake`].
    pub fn next_actions(&mut self, now: Instant) -> Vec<Action> {
        self.advance(now);
        self.actions.drain(..).collect()
    }

    /// The latest time at which to call [`Transfer::next_actions`] again.
    pub fn next_wake(&self, now: Instant) -> Option<Instant> {
        match self.phase {
            Phase::Pausing(until) => Some(until),
            Phase::Fetching => {
                let look = match (self.on_the_wire(), self.pieces.missing()) {
                    (0, _) => None,
                    (_, 0) => Some(now + LOOK_AT_END),
                    _ => Some(now + LOOK),
                };
                look.into_iter().chain(self.search_at).chain(self.waits_until).min()
            }
            Phase::Searching | Phase::Ended => None,
        }
    }

    /// True if bytes of this piece are worth verifying: it is neither done nor being verified.
    pub fn wants(&self, piece: u32) -> bool {
        matches!(self.pieces.state(piece), Some(State::Missing | State::Requested))
    }

    /// True if this source is known to have only a part.
    pub fn is_partial(&self, source: SocketAddr) -> bool {
        self.sources.get(source).is_some_and(|source| source.has.is_some())
    }

    /// True if this piece is verified and written.
    pub fn is_done(&self, piece: u32) -> bool {
        self.pieces.state(piece) == Some(State::Done)
    }

    /// Number of requested pieces that have not arrived, over all sources in use.
    pub fn on_the_wire(&self) -> usize {
        self.sources.in_use().map(|(_, _, wire)| wire.requested().len()).sum()
    }

    /// Number of pieces done.
    pub fn done(&self) -> usize {
        self.pieces.done()
    }

    /// The latest failures, at most 64, oldest first.
    pub fn failures(&self) -> &[SourceFailure] {
        self.sources.failures()
    }

    /// Number of open sources.
    pub fn sources_in_use(&self) -> usize {
        self.sources.in_use().count()
    }

    /// Sources that in this round have failed, refused a piece that they had reported, or sent a wrong piece.
    pub fn marked(&self) -> impl Iterator<Item = SocketAddr> {
        self.sources.marked()
    }

    /// True if nothing can be fetched before the next ranking, which opens a round.
    pub fn is_between_rounds(&self) -> bool {
        self.phase == Phase::Searching
    }

    fn advance(&mut self, now: Instant) {
        if let Phase::Pausing(until) = self.phase
            && until <= now
        {
            self.phase = Phase::Searching;
            self.search_at = None;
            self.actions.push_back(Action::Search);
        }
        if self.phase != Phase::Fetching {
            return;
        }
        self.sources.update_use(&self.pieces);
        self.leave_slow_and_blamed(now);
        if self.pieces.all_done() {
            self.phase = Phase::Ended;
            self.actions.push_back(Action::Finish);
            return;
        }
        self.open_and_request(now);
        if self.pieces.missing() == 0 {
            self.request_twice(now);
        }
        self.leave_resting(now);
        self.waits_until = None;
        if self.on_the_wire() == 0 && self.pieces.arrived() == 0 {
            self.waits_until = self.sources.grows_until().filter(|until| *until > now);
            if self.waits_until.is_none() {
                return self.end_round(now);
            }
        }
        if self.search_at.is_some_and(|at| at <= now) {
            self.search_at = None;
            self.actions.push_back(Action::Search);
        }
    }

    fn leave_slow_and_blamed(&mut self, now: Instant) {
        let in_use: Vec<_> = self.sources.in_use().map(|(endpoint, ..)| endpoint).collect();
        for endpoint in in_use {
            let Some(source) = self.sources.get(endpoint) else { continue };
            let Some(wire) = &source.wire else { continue };
            if source.wrong_pieces > 0 && wire.is_idle() && self.sources.clean_suffice(&self.pieces) {
                self.close(endpoint, Some("others, which sent no wrong piece, have the rest".to_owned()));
            } else if is_stalled(wire, now) && wire.requested().all(|piece| !self.wants(piece)) {
                let silence_s = limits::SOURCE_STALL_MS / 1000;
                let why = format!("stalled: no byte in {silence_s} s, others sent its pieces");
                self.apply_failure(endpoint, why, false);
            } else if wire.crawls(now)
                && self.sources.others_suffice(&self.pieces, |other, _| other == endpoint)
            {
                let rate = limits::SOURCE_RATE_MIN_BYTES_PER_S >> 10;
                let why = format!("slower than {rate} KiB/s, and another source is left");
                self.apply_failure(endpoint, why, false);
            }
        }
    }

    fn leave_resting(&mut self, now: Instant) {
        if self.pieces.missing() > 0 {
            let resting = self.sources.in_use().filter(|(_, _, wire)| wire.rest(now) >= REST);
            let resting: Vec<_> = resting.map(|(endpoint, ..)| endpoint).collect();
            resting.into_iter().for_each(|endpoint| self.close(endpoint, None));
        }
    }

    /// Allocates the missing pieces among all sources that may have some. Opens the best of those that are
    /// not in use, up to `sources_max` sources, and requests from each source in use as much of its
    /// allocation as it has room for.
    fn open_and_request(&mut self, now: Instant) {
        if self.pieces.missing() == 0 {
            return;
        }
        let leaving = loop {
            let Some(next) = self.next_to_open(now) else { break None };
            if self.sources_in_use() >= self.sources_max {
                let Some(spare) = self.spare_for(next) else { break None };
                if self.sources.wire_mut(spare).is_some_and(|wire| !wire.is_idle()) {
                    break Some(spare);
                }
                self.close(spare, None);
            }
            self.open(now, next);
        };
        let elsewhere = self.sources.elsewhere();
        let is_requested = |endpoint, source: &Source| source.wire.is_some() && leaving != Some(endpoint);
        for (endpoint, share) in self.shares(now, is_requested) {
            let Some(source) = self.sources.get(endpoint) else { continue };
            let Some(wire) = &source.wire else { continue };
            let room = wire.room(now, source.latency, self.piece_len_bytes) as u64;
            for _ in 0..room.min(share) {
                let Some(piece) = self.next_piece_of(endpoint, elsewhere.as_ref()) else { break };
                self.request(now, endpoint, piece);
            }
        }
    }

    /// The number of missing pieces for each of these sources, best first.
    fn shares(&self, now: Instant, of: impl Fn(SocketAddr, &Source) -> bool) -> Vec<(SocketAddr, u64)> {
        let stalls = |source: &Source| source.wire.as_ref().is_some_and(|wire| is_stalled(wire, now));
        // The pieces of a stalled source go to others that have them.
        let has_other = self.sources.others_suffice(&self.pieces, |_, source| stalls(source));
        let eligible = self.sources.eligible(&self.pieces).filter(|(endpoint, source)| of(*endpoint, source));
        let mut holders: Vec<PieceHolder<'_>> = eligible
            .filter(|(_, source)| !has_other || !stalls(source))
            .map(|(endpoint, source)| PieceHolder {
                weighted: source.weighted(endpoint),
                has: source.has.as_ref(),
            })
            .collect();
        holders.sort_by_key(|holder| self.first_score(&holder.weighted));
        let shares = allocation::shares(self.pieces.all_missing(), &holders, self.load_weight);
        holders.iter().map(|holder| holder.weighted.endpoint).zip(shares).collect()
    }

    /// The source to open next: the best one with an allocation. For the last free place a source with a
    /// piece that no source in use has, if there is one.
    fn next_to_open(&self, now: Instant) -> Option<SocketAddr> {
        let in_use = self.sources_in_use();
        if in_use >= self.sources_max && self.sources.in_use().all(|(_, source, _)| source.has.is_none()) {
            // None of them makes room.
            return None;
        }
        let shares = self.shares(now, |_, _| true);
        let to_have = shares.into_iter().filter(|(endpoint, share)| *share > 0 && !self.is_in_use(*endpoint));
        let closed: Vec<_> = to_have.map(|(endpoint, _)| endpoint).collect();
        let best = *closed.first()?;
        let unique = || closed.iter().copied().find(|endpoint| self.adds(*endpoint));
        let is_last = in_use + 1 >= self.sources_max;
        is_last.then(unique).flatten().or(Some(best))
    }

    /// The source in use that makes room for `next`: the worst one without a missing piece, or without a
    /// missing piece of its own if `next` has one that no source in use has.
    fn spare_for(&self, next: SocketAddr) -> Option<SocketAddr> {
        let adds = self.adds(next);
        let is_spare = |endpoint: SocketAddr, has: &PieceSet| {
            if adds {
                self.missing_beside_in_use(Some(endpoint)).common(has) == 0
            } else {
                self.pieces.all_missing().common(has) == 0
            }
        };
        let in_use = self.sources.in_use();
        let spare = in_use
            .filter(|(endpoint, source, _)| source.has.as_ref().is_some_and(|has| is_spare(*endpoint, has)));
        let weighted_sources = spare.map(|(endpoint, source, _)| source.weighted(endpoint));
        weighted_sources.max_by_key(|weighted| self.first_score(weighted)).map(|weighted| weighted.endpoint)
    }

    /// True if this source has a missing piece that no source in use has.
    fn adds(&self, endpoint: SocketAddr) -> bool {
        let beside = self.missing_beside_in_use(None);
        self.sources.get(endpoint).is_some_and(|source| allocation::of(&beside, source.has.as_ref()) > 0)
    }

    /// The missing pieces that no source in use has. The source `but` is not counted.
    fn missing_beside_in_use(&self, but: Option<SocketAddr>) -> PieceSet {
        let others = self.sources.in_use().filter(|(endpoint, ..)| but != Some(*endpoint));
        let missing = self.pieces.all_missing().clone();
        others.fold(missing, |missing, (_, source, _)| allocation::beside(&missing, source.has.as_ref()))
    }

    /// The missing piece to request from this source. `elsewhere`: the pieces of all partial sources.
    /// Downloaders of one content know the same about each other and would all take the same pieces in any
    /// fixed order, so each takes a random one.
    fn next_piece_of(&mut self, endpoint: SocketAddr, elsewhere: Option<&PieceSet>) -> Option<u32> {
        match (&self.sources.get(endpoint)?.has, elsewhere) {
            (Some(has), _) => self.pieces.next_missing_of(has),
            (None, Some(elsewhere)) => {
                let beside = self.pieces.missing_beside(elsewhere);
                beside.nth(self.rng.random_range(0..beside.len().max(1)))
            }
            (None, None) => self.pieces.next_missing(),
        }
    }

    /// The order of the selection rule.
    fn first_score(&self, weighted: &WeightedSource) -> (Millis, Millis, SocketAddr) {
        (weighted.score(self.load_weight), weighted.latency, weighted.endpoint)
    }

    /// The end game: a piece that is expected late from one source is requested from an idle source too, the
    /// latest piece first. If no source in use is idle, one more is opened for pieces of a silent source.
    fn request_twice(&mut self, now: Instant) {
        let piece_len = self.piece_len_bytes;
        let mut idle: Vec<(SocketAddr, Option<Duration>)> = self
            .sources
            .eligible(&self.pieces)
            .filter_map(|(endpoint, source)| Some((endpoint, source, source.wire.as_ref()?)))
            .filter(|(_, _, wire)| wire.is_idle())
            .map(|(endpoint, source, wire)| (endpoint, wire.time_for_one(now, source.latency, piece_len)))
            .collect();
        idle.sort_by_key(|(endpoint, time)| (time.unwrap_or(Duration::MAX), *endpoint));
        if idle.is_empty() && self.sources_in_use() < self.sources_max {
            let closed = self.sources.eligible(&self.pieces).filter(|(endpoint, source)| {
                source.wire.is_none() && self.worst_piece(now, *endpoint, None).is_some()
            });
            let best = closed
                .map(|(endpoint, source)| source.weighted(endpoint))
                .min_by_key(|weighted| self.first_score(weighted));
            idle.extend(best.map(|weighted| (weighted.endpoint, None)));
        }
        for (endpoint, time) in idle {
            let Some(piece) = self.worst_piece(now, endpoint, time) else { continue };
            if !self.is_in_use(endpoint) {
                self.open(now, endpoint);
            }
            self.request(now, endpoint, piece);
        }
    }

    /// The requested piece that is expected last, among those that `second` has and that are worth requesting
    /// from it, if it needs `time` for one piece.
    fn worst_piece(&self, now: Instant, second: SocketAddr, time: Option<Duration>) -> Option<u32> {
        let second = self.sources.get(second)?;
        let mut worst = None;
        for (_, source, wire) in self.sources.in_use() {
            for piece in wire.requested() {
                let left = wire.time_left(now, piece, source.latency, self.piece_len_bytes);
                let is_worth_it = match (time, left) {
                    (Some(time), Some(left)) => {
                        left > time.saturating_mul(HEDGE_GAIN) && left >= time.saturating_add(HEDGE_GAIN_MIN)
                    }
                    _ => is_stalled(wire, now),
                };
                let is_free = || {
                    second.has(piece)
                        && self.wants(piece)
                        && self.sources.times_requested(piece) < limits::SOURCES_PER_PIECE
                };
                if is_worth_it && is_free() {
                    worst = worst.max(Some((left, piece)));
                }
            }
        }
        worst.map(|(_, piece)| piece)
    }

    fn is_in_use(&self, endpoint: SocketAddr) -> bool {
        self.sources.get(endpoint).is_some_and(|source| source.wire.is_some())
    }

    fn open(&mut self, now: Instant, endpoint: SocketAddr) {
        if let Some(source) = self.sources.get_mut(endpoint) {
            source.wire = Some(Wire::new(now));
            self.actions.push_back(Action::Open(endpoint));
        }
    }

    fn request(&mut self, now: Instant, source: SocketAddr, piece: u32) {
        if let Some(wire) = self.sources.wire_mut(source) {
            wire.request(now, piece);
            self.pieces.request(piece);
            self.actions.push_back(Action::Fetch { source, piece });
        }
    }

    /// Ends the round: no source can get a request and no piece is being verified. A round in which a piece
    /// was verified resets the number of retries, so that a download ends even if sources fail again and
    /// again.
    fn end_round(&mut self, now: Instant) {
        let in_use: Vec<_> = self.sources.in_use().map(|(endpoint, ..)| endpoint).collect();
        in_use.into_iter().for_each(|endpoint| self.close(endpoint, None));
        if std::mem::take(&mut self.has_progressed) {
            self.round = 0;
        }
        if self.round == self.retries {
            self.phase = Phase::Ended;
            self.sources.record_largest_partial();
            self.actions.push_back(Action::GiveUp);
            return;
        }
        self.round += 1;
        let pause = retry_pause(self.round - 1);
        self.phase = Phase::Pausing(now + pause);
        self.actions.push_back(Action::Pause { round: self.round, of: self.retries, pause });
    }
}

/// True if a byte of a source is overdue for so long that its pieces are requested from others, even in the
/// end game if its rate is unknown.
fn is_stalled(wire: &Wire, now: Instant) -> bool {
    wire.silence(now) >= limits::ms(limits::SOURCE_STALL_MS)
}
