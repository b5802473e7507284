//! The machine itself: its state, and what it decides when it is asked for actions.

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

/// In the end game a piece is asked of a second source if it is expected there so many times sooner ...
const HEDGE_GAIN: u32 = 2;
/// ... and sooner by this.
const HEDGE_GAIN_MIN: Duration = Duration::from_millis(200);
/// How often rates are looked at while something is asked of a source.
pub(super) const LOOK: Duration = Duration::from_secs(1);
/// The same in the end game.
pub(super) const LOOK_AT_END: Duration = Duration::from_millis(100);
/// A source of which nothing has been asked for so long, while pieces are missing, is left: before its end
/// does that.
pub(super) const REST: Duration = Duration::from_millis(limits::IDLE_DEADLINE_MS / 2);

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// The search that opens a round is under way.
    Searching,
    /// Sources are used until none is left.
    Fetching,
    /// Until then nothing happens.
    Pausing(Instant),
    Ended,
}

/// The machine. Pieces: 1 byte and 2 bits each, and a bit for each partial source.
#[derive(Debug)]
pub struct Transfer {
    pub(super) pieces: Pieces,
    pub(super) piece_len_bytes: u64,
    pub(super) roster: Sources,
    pub(super) rng: SmallRng,
    pub(super) sources_max: usize,
    pub(super) load_weight: Millis,
    pub(super) phase: Phase,
    /// When to search again while fetching; `None` while an answer is awaited.
    pub(super) search_at: Option<Instant>,
    /// Nothing can be fetched, but until then a partial source is expected to have more.
    pub(super) waits_until: Option<Instant>,
    pub(super) round: u32,
    pub(super) retries: u32,
    /// True if a fetched piece was done in this round.
    pub(super) has_progressed: bool,
    pub(super) actions: VecDeque<Action>,
}

impl Transfer {
    /// A download from the sources in `ranked`, in any order; see [`super::Event::Ranked`].
    pub fn new(plan: Plan, ranked: Vec<RankedSource>, now: Instant) -> Transfer {
        let Plan { pieces, piece_len_bytes, marked, first_piece, seed, sources_max, load_weight, retries } =
            plan;
        let pieces = Pieces::new(pieces, &marked, first_piece);
        let mut roster = Sources::new();
        roster.refresh(now, ranked, &pieces);
        Transfer {
            pieces,
            piece_len_bytes: piece_len_bytes.max(1),
            roster,
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

    /// What to do now. Empty: wait for an event, or until [`Transfer::next_wake`].
    pub fn next_actions(&mut self, now: Instant) -> Vec<Action> {
        self.advance(now);
        self.actions.drain(..).collect()
    }

    /// Until when, at most, to wait for an event.
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

    /// True if bytes of this piece that arrive now are worth verifying: it is neither done nor being
    /// verified.
    pub fn wants(&self, piece: u32) -> bool {
        matches!(self.pieces.state(piece), Some(State::Missing | State::Asked))
    }

    /// True if this source is known to have a part only.
    pub fn is_partial(&self, source: SocketAddr) -> bool {
        self.roster.get(source).is_some_and(|source| source.has.is_some())
    }

    /// True if this piece was verified and is written.
    pub fn is_done(&self, piece: u32) -> bool {
        self.pieces.state(piece) == Some(State::Done)
    }

    /// Pieces asked for that have not arrived, over all sources in use.
    pub fn on_the_wire(&self) -> usize {
        self.roster.in_use().map(|(_, _, wire)| wire.asked().len()).sum()
    }

    /// Number of pieces done.
    pub fn done(&self) -> usize {
        self.pieces.done()
    }

    /// The latest failed tries, at most 64, oldest first.
    pub fn failures(&self) -> &[SourceFailure] {
        self.roster.failures()
    }

    /// Number of sources open.
    pub fn sources_in_use(&self) -> usize {
        self.roster.in_use().count()
    }

    /// Sources that have failed, refused a piece that they told of, or sent a wrong one, in this round.
    pub fn marked(&self) -> impl Iterator<Item = SocketAddr> {
        self.roster.marked()
    }

    /// True if nothing can be fetched before the next ranking, which begins a new round.
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
        self.roster.judge_use(&self.pieces);
        self.leave_the_slow_and_the_blamed(now);
        if self.pieces.all_done() {
            self.phase = Phase::Ended;
            self.actions.push_back(Action::Finish);
            return;
        }
        self.open_and_ask(now);
        if self.pieces.missing() == 0 {
            self.ask_twice(now);
        }
        self.leave_the_resting(now);
        self.waits_until = None;
        if self.on_the_wire() == 0 && self.pieces.arrived() == 0 {
            self.waits_until = self.roster.grows_until().filter(|until| *until > now);
            if self.waits_until.is_none() {
                return self.end_round(now);
            }
        }
        if self.search_at.is_some_and(|at| at <= now) {
            self.search_at = None;
            self.actions.push_back(Action::Search);
        }
    }

    fn leave_the_slow_and_the_blamed(&mut self, now: Instant) {
        let in_use: Vec<_> = self.roster.in_use().map(|(endpoint, ..)| endpoint).collect();
        for endpoint in in_use {
            let Some(source) = self.roster.get(endpoint) else { continue };
            let Some(wire) = &source.wire else { continue };
            if source.wrong_pieces > 0 && wire.is_idle() && self.roster.clean_suffice(&self.pieces) {
                self.close(endpoint, Some("others, which sent no wrong piece, have the rest".to_owned()));
            } else if is_stalled(wire, now) && wire.asked().all(|piece| !self.wants(piece)) {
                let silence_s = limits::SOURCE_STALL_MS / 1000;
                let why = format!("stalled: no byte in {silence_s} s, others sent its pieces");
                self.take_failure(endpoint, why, false);
            } else if wire.crawls(now)
                && self.roster.others_suffice(&self.pieces, |other, _| other == endpoint)
            {
                let rate = limits::SOURCE_RATE_MIN_BYTES_PER_S >> 10;
                let why = format!("slower than {rate} KiB/s, and another source is left");
                self.take_failure(endpoint, why, false);
            }
        }
    }

    fn leave_the_resting(&mut self, now: Instant) {
        if self.pieces.missing() > 0 {
            let resting = self.roster.in_use().filter(|(_, _, wire)| wire.rest(now) >= REST);
            let resting: Vec<_> = resting.map(|(endpoint, ..)| endpoint).collect();
            resting.into_iter().for_each(|endpoint| self.close(endpoint, None));
        }
    }

    /// Shares out the missing pieces among all sources that may have some, opens those of them that are not
    /// in use, best first, until there are `sources_max`, and asks each in use for as much of its share as it
    /// has room for.
    fn open_and_ask(&mut self, now: Instant) {
        if self.pieces.missing() == 0 {
            return;
        }
        let leaving = loop {
            let Some(next) = self.next_to_open(now) else { break None };
            if self.sources_in_use() >= self.sources_max {
                let Some(spare) = self.spare_for(next) else { break None };
                if self.roster.wire_mut(spare).is_some_and(|wire| !wire.is_idle()) {
                    break Some(spare);
                }
                self.close(spare, None);
            }
            self.open(now, next);
        };
        let elsewhere = self.roster.elsewhere();
        let is_asked = |endpoint, source: &Source| source.wire.is_some() && leaving != Some(endpoint);
        for (endpoint, share) in self.shares(now, is_asked) {
            let Some(source) = self.roster.get(endpoint) else { continue };
            let Some(wire) = &source.wire else { continue };
            let room = wire.room(now, source.latency, self.piece_len_bytes) as u64;
            for _ in 0..room.min(share) {
                let Some(piece) = self.next_piece_of(endpoint, elsewhere.as_ref()) else { break };
                self.ask(now, endpoint, piece);
            }
        }
    }

    /// How many of the missing pieces each of these sources is to have, best first.
    fn shares(&self, now: Instant, of: impl Fn(SocketAddr, &Source) -> bool) -> Vec<(SocketAddr, u64)> {
        let stalls = |source: &Source| source.wire.as_ref().is_some_and(|wire| is_stalled(wire, now));
        // What waits for a stalled one goes to others, if they have it.
        let has_other = self.roster.others_suffice(&self.pieces, |_, source| stalls(source));
        let eligible = self.roster.eligible(&self.pieces).filter(|(endpoint, source)| of(*endpoint, source));
        let mut holders: Vec<PieceHolder<'_>> = eligible
            .filter(|(_, source)| !has_other || !stalls(source))
            .map(|(endpoint, source)| PieceHolder {
                sharer: source.sharer(endpoint),
                has: source.has.as_ref(),
            })
            .collect();
        holders.sort_by_key(|holder| self.first_score(&holder.sharer));
        let shares = allocation::shares(self.pieces.all_missing(), &holders, self.load_weight);
        holders.iter().map(|holder| holder.sharer.endpoint).zip(shares).collect()
    }

    /// The source to be used next: the best that is to have something; for the last place one that has what
    /// nobody in use has, if there is such a one.
    fn next_to_open(&self, now: Instant) -> Option<SocketAddr> {
        let in_use = self.sources_in_use();
        if in_use >= self.sources_max && self.roster.in_use().all(|(_, source, _)| source.has.is_none()) {
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

    /// Who in use makes room for `next`: the worst that has no missing piece, or none of its own if `next`
    /// has one that nobody in use has.
    fn spare_for(&self, next: SocketAddr) -> Option<SocketAddr> {
        let adds = self.adds(next);
        let is_spare = |endpoint: SocketAddr, has: &PieceSet| match adds {
            true => self.missing_beside_those_in_use(Some(endpoint)).common(has) == 0,
            false => self.pieces.all_missing().common(has) == 0,
        };
        let in_use = self.roster.in_use();
        let spare = in_use
            .filter(|(endpoint, source, _)| source.has.as_ref().is_some_and(|has| is_spare(*endpoint, has)));
        let sharers = spare.map(|(endpoint, source, _)| source.sharer(endpoint));
        sharers.max_by_key(|sharer| self.first_score(sharer)).map(|sharer| sharer.endpoint)
    }

    /// True if this source has a missing piece that none in use has.
    fn adds(&self, endpoint: SocketAddr) -> bool {
        let beside = self.missing_beside_those_in_use(None);
        self.roster.get(endpoint).is_some_and(|source| allocation::of(&beside, source.has.as_ref()) > 0)
    }

    /// The missing pieces that none of the sources in use, but perhaps this one, has.
    fn missing_beside_those_in_use(&self, but: Option<SocketAddr>) -> PieceSet {
        let others = self.roster.in_use().filter(|(endpoint, ..)| but != Some(*endpoint));
        let missing = self.pieces.all_missing().clone();
        others.fold(missing, |missing, (_, source, _)| allocation::beside(&missing, source.has.as_ref()))
    }

    /// The missing piece that this source is to be asked for; `elsewhere`: what partial sources have. Those
    /// who fetch together know the same of each other and would take the same pieces in whatever order; so
    /// each takes any one, with equal chances.
    fn next_piece_of(&mut self, endpoint: SocketAddr, elsewhere: Option<&PieceSet>) -> Option<u32> {
        match (&self.roster.get(endpoint)?.has, elsewhere) {
            (Some(has), _) => self.pieces.next_missing_of(has),
            (None, Some(elsewhere)) => {
                let beside = self.pieces.missing_beside(elsewhere);
                beside.nth(self.rng.random_range(0..beside.len().max(1)))
            }
            (None, None) => self.pieces.next_missing(),
        }
    }

    /// The order of the selection rule.
    fn first_score(&self, sharer: &WeightedSource) -> (Millis, Millis, SocketAddr) {
        (sharer.score(self.load_weight), sharer.latency, sharer.endpoint)
    }

    /// The end game: idle sources are asked for what is expected much later from another, the worst of it
    /// first. Where no source in use is idle, one more is opened for what comes from a silent one.
    fn ask_twice(&mut self, now: Instant) {
        let piece_len = self.piece_len_bytes;
        let mut idle: Vec<(SocketAddr, Option<Duration>)> = self
            .roster
            .eligible(&self.pieces)
            .filter_map(|(endpoint, source)| Some((endpoint, source, source.wire.as_ref()?)))
            .filter(|(_, _, wire)| wire.is_idle())
            .map(|(endpoint, source, wire)| (endpoint, wire.time_for_one(now, source.latency, piece_len)))
            .collect();
        idle.sort_by_key(|(endpoint, time)| (time.unwrap_or(Duration::MAX), *endpoint));
        if idle.is_empty() && self.sources_in_use() < self.sources_max {
            let closed = self.roster.eligible(&self.pieces).filter(|(endpoint, source)| {
                source.wire.is_none() && self.worst_piece(now, *endpoint, None).is_some()
            });
            let best = closed
                .map(|(endpoint, source)| source.sharer(endpoint))
                .min_by_key(|sharer| self.first_score(sharer));
            idle.extend(best.map(|sharer| (sharer.endpoint, None)));
        }
        for (endpoint, time) in idle {
            let Some(piece) = self.worst_piece(now, endpoint, time) else { continue };
            if !self.is_in_use(endpoint) {
                self.open(now, endpoint);
            }
            self.ask(now, endpoint, piece);
        }
    }

    /// The piece on the wire that is expected last, of those that `second` has and that are worth asking of
    /// it if it needs `time` for one.
    fn worst_piece(&self, now: Instant, second: SocketAddr, time: Option<Duration>) -> Option<u32> {
        let second = self.roster.get(second)?;
        let mut worst = None;
        for (_, source, wire) in self.roster.in_use() {
            for piece in wire.asked() {
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
                        && self.roster.times_asked(piece) < limits::SOURCES_PER_PIECE
                };
                if is_worth_it && is_free() {
                    worst = worst.max(Some((left, piece)));
                }
            }
        }
        worst.map(|(_, piece)| piece)
    }

    fn is_in_use(&self, endpoint: SocketAddr) -> bool {
        self.roster.get(endpoint).is_some_and(|source| source.wire.is_some())
    }

    fn open(&mut self, now: Instant, endpoint: SocketAddr) {
        if let Some(source) = self.roster.get_mut(endpoint) {
            source.wire = Some(Wire::new(now));
            self.actions.push_back(Action::Open(endpoint));
        }
    }

    fn ask(&mut self, now: Instant, source: SocketAddr, piece: u32) {
        if let Some(wire) = self.roster.wire_mut(source) {
            wire.ask(now, piece);
            self.pieces.ask(piece);
            self.actions.push_back(Action::Fetch { source, piece });
        }
    }

    /// Nobody can be asked for anything and nothing is being verified. A round that brought something gives
    /// the retries back: a source that breaks off every time still gets us to the end.
    fn end_round(&mut self, now: Instant) {
        let in_use: Vec<_> = self.roster.in_use().map(|(endpoint, ..)| endpoint).collect();
        in_use.into_iter().for_each(|endpoint| self.close(endpoint, None));
        if std::mem::take(&mut self.has_progressed) {
            self.round = 0;
        }
        if self.round == self.retries {
            self.phase = Phase::Ended;
            self.roster.record_what_was_not_enough();
            self.actions.push_back(Action::GiveUp);
            return;
        }
        self.round += 1;
        let pause = retry_pause(self.round - 1);
        self.phase = Phase::Pausing(now + pause);
        self.actions.push_back(Action::Pause { round: self.round, of: self.retries, pause });
    }
}

/// True if a source has owed us a byte for so long that others are asked for what it was to send; in the end
/// game even one of unknown rate.
fn is_stalled(wire: &Wire, now: Instant) -> bool {
    wire.silence(now) >= limits::ms(limits::SOURCE_STALL_MS)
}
