//! The state of the machine, and the scheduling pass that gives its actions.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::allocation::{self, PieceHolder};
use super::connection::Connection;
use super::interface::{Action, Plan, RankedSource};
use super::pieces::{Pieces, State};
use super::sources::{Source, SourceFailure, Sources};
use crate::logic::backoff::retry_pause;
use crate::logic::select::WeightedSource;
use crate::types::{Millis, PieceSet, limits};

/// In the end game a piece is requested from a second source if that source is expected to need less than the
/// remaining time of the first source, divided by this.
const HEDGE_GAIN: u32 = 2;
/// The second source must also be sooner by at least this time.
const HEDGE_GAIN_MIN: Duration = Duration::from_millis(200);
/// Time between two checks of the rates while pieces are requested.
pub(super) const RATE_CHECK: Duration = Duration::from_secs(1);
/// The same in the end game, where all pieces are requested.
pub(super) const RATE_CHECK_AT_END: Duration = Duration::from_millis(100);
/// While pieces are missing, a source is left after so long a time without a request: before the peer closes
/// the connection.
pub(super) const REST_MAX: Duration = Duration::from_millis(limits::IDLE_DEADLINE_MS / 2);

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// The search that begins a round is under way.
    Searching,
    /// Sources are in use, or partial sources are expected to get more pieces.
    Fetching,
    /// Nothing happens until this time.
    Pausing(Instant),
    Ended,
}

/// The machine. Its memory: 1 byte and 2 bits for each piece, and 1 bit for each piece of each partial
/// source.
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
    /// Set while nothing can be fetched: until this time a partial source is expected to get more pieces.
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

    /// When to call [`Transfer::next_actions`] again if no event comes before.
    pub fn next_wake(&self, now: Instant) -> Option<Instant> {
        match self.phase {
            Phase::Pausing(until) => Some(until),
            Phase::Fetching => {
                let rate_check = match (self.in_flight(), self.pieces.missing()) {
                    // Without a request there is no rate.
                    (0, _) => None,
                    (_, 0) => Some(now + RATE_CHECK_AT_END),
                    _ => Some(now + RATE_CHECK),
                };
                rate_check.into_iter().chain(self.search_at).chain(self.waits_until).min()
            }
            Phase::Searching | Phase::Ended => None,
        }
    }

    /// True if bytes of this piece are worth verifying: it is neither done nor being verified.
    pub fn wants(&self, piece: u32) -> bool {
        matches!(self.pieces.state(piece), Some(State::Missing | State::Requested))
    }

    /// True if this source is known, and known to be partial.
    pub fn is_partial(&self, source: SocketAddr) -> bool {
        self.sources.get(source).is_some_and(|source| source.held.is_some())
    }

    /// True if this piece is verified and written.
    pub fn is_done(&self, piece: u32) -> bool {
        self.pieces.state(piece) == Some(State::Done)
    }

    /// Number of requests whose piece has not arrived. A piece may be requested from two sources.
    pub fn in_flight(&self) -> usize {
        self.sources.in_use().map(|(_, _, connection)| connection.requested().len()).sum()
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

    /// Sources that in this round have failed, lacked a piece that they had reported, or sent a wrong piece.
    pub fn faulty_sources(&self) -> impl Iterator<Item = SocketAddr> {
        self.sources.faulty()
    }

    /// True while the search that begins a round is under way: nothing can be fetched before its result.
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
        self.leave_rested(now);
        self.waits_until = None;
        if self.in_flight() == 0 && self.pieces.arrived() == 0 {
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

    /// Leaves sources whose pieces other sources can send, if they are slow, stalled, or sent a wrong piece.
    fn leave_slow_and_blamed(&mut self, now: Instant) {
        let in_use: Vec<_> = self.sources.in_use().map(|(endpoint, ..)| endpoint).collect();
        for endpoint in in_use {
            let Some(source) = self.sources.get(endpoint) else { continue };
            let Some(connection) = &source.connection else { continue };
            if source.wrong_pieces > 0 && connection.is_idle() && self.sources.clean_suffice(&self.pieces) {
                self.close(endpoint, Some("others, which sent no wrong piece, have the rest".to_owned()));
            } else if is_stalled(connection, now) && connection.requested().all(|piece| !self.wants(piece)) {
                // The end game has fetched its pieces from others.
                let silence_s = limits::SOURCE_STALL_MS / 1000;
                let why = format!("stalled: no byte in {silence_s} s, others sent its pieces");
                self.apply_failure(endpoint, why, false);
            } else if connection.crawls(now)
                && self.sources.others_suffice(&self.pieces, |other, _| other == endpoint)
            {
                let rate = limits::SOURCE_RATE_MIN_BYTES_PER_S >> 10;
                let why = format!("slower than {rate} KiB/s, and another source is left");
                self.apply_failure(endpoint, why, false);
            }
        }
    }

    /// Leaves sources that were idle for long. In the end game they stay: they may get a request at any time.
    fn leave_rested(&mut self, now: Instant) {
        if self.pieces.missing() > 0 {
            let rested = self.sources.in_use().filter(|(_, _, connection)| connection.rest(now) >= REST_MAX);
            let rested: Vec<_> = rested.map(|(endpoint, ..)| endpoint).collect();
            rested.into_iter().for_each(|endpoint| self.close(endpoint, None));
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
                // It is left once the requested pieces have arrived, and gets no more requests until then.
                if self.sources.connection_mut(spare).is_some_and(|connection| !connection.is_idle()) {
                    break Some(spare);
                }
                self.close(spare, None);
            }
            self.open(now, next);
        };
        let partial_pieces = self.sources.partial_pieces();
        let gets_requests =
            |endpoint, source: &Source| source.connection.is_some() && leaving != Some(endpoint);
        for (endpoint, share) in self.shares(now, gets_requests) {
            let Some(source) = self.sources.get(endpoint) else { continue };
            let Some(connection) = &source.connection else { continue };
            let room = connection.room(now, source.latency, self.piece_len_bytes) as u64;
            for _ in 0..room.min(share) {
                let Some(piece) = self.next_piece_of(endpoint, partial_pieces.as_ref()) else { break };
                self.request(now, endpoint, piece);
            }
        }
    }

    /// Allocates the missing pieces among the sources for which `is_in` is true: the number of pieces for
    /// each, the best source first.
    fn shares(&self, now: Instant, is_in: impl Fn(SocketAddr, &Source) -> bool) -> Vec<(SocketAddr, u64)> {
        let stalls = |source: &Source| {
            source.connection.as_ref().is_some_and(|connection| is_stalled(connection, now))
        };
        // A stalled source gets no share if the others have all pieces.
        let has_other = self.sources.others_suffice(&self.pieces, |_, source| stalls(source));
        let eligible =
            self.sources.eligible(&self.pieces).filter(|(endpoint, source)| is_in(*endpoint, source));
        let mut holders: Vec<PieceHolder<'_>> = eligible
            .filter(|(_, source)| !has_other || !stalls(source))
            .map(|(endpoint, source)| PieceHolder {
                weighted: source.weighted(endpoint),
                held: source.held.as_ref(),
            })
            .collect();
        holders.sort_by_key(|holder| self.rank_key(&holder.weighted));
        let shares = allocation::shares(self.pieces.all_missing(), &holders, self.load_weight);
        holders.iter().map(|holder| holder.weighted.endpoint).zip(shares).collect()
    }

    /// The source to open next: the best one with a share. The last free place goes to a source with a piece
    /// that no source in use has, if there is one: the best sources may all have the same pieces.
    fn next_to_open(&self, now: Instant) -> Option<SocketAddr> {
        let in_use = self.sources_in_use();
        if in_use >= self.sources_max && self.sources.in_use().all(|(_, source, _)| source.held.is_none()) {
            // Full sources make no room.
            return None;
        }
        let shares = self.shares(now, |_, _| true);
        let to_open = shares.into_iter().filter(|(endpoint, share)| *share > 0 && !self.is_in_use(*endpoint));
        let closed: Vec<_> = to_open.map(|(endpoint, _)| endpoint).collect();
        let best = *closed.first()?;
        let unique = || closed.iter().copied().find(|endpoint| self.has_unique_piece(*endpoint));
        let is_last = in_use + 1 >= self.sources_max;
        is_last.then(unique).flatten().or(Some(best))
    }

    /// The partial source in use that makes room for `next`: the worst one without a missing piece. If `next`
    /// has a missing piece that no source in use has, the missing pieces of the worst one need only be among
    /// those of other sources in use.
    fn spare_for(&self, next: SocketAddr) -> Option<SocketAddr> {
        let next_is_unique = self.has_unique_piece(next);
        let is_spare = |endpoint: SocketAddr, held: &PieceSet| {
            if next_is_unique {
                self.missing_outside_use(Some(endpoint)).common(held) == 0
            } else {
                self.pieces.all_missing().common(held) == 0
            }
        };
        let in_use = self.sources.in_use();
        let spare = in_use.filter(|(endpoint, source, _)| {
            source.held.as_ref().is_some_and(|held| is_spare(*endpoint, held))
        });
        let weighted_sources = spare.map(|(endpoint, source, _)| source.weighted(endpoint));
        weighted_sources.max_by_key(|weighted| self.rank_key(weighted)).map(|weighted| weighted.endpoint)
    }

    /// True if this source has a missing piece that no source in use has.
    fn has_unique_piece(&self, endpoint: SocketAddr) -> bool {
        let missing = self.missing_outside_use(None);
        self.sources
            .get(endpoint)
            .is_some_and(|source| allocation::count_had(&missing, source.held.as_ref()) > 0)
    }

    /// The missing pieces that no source in use has. The source `but` does not count.
    fn missing_outside_use(&self, but: Option<SocketAddr>) -> PieceSet {
        let others = self.sources.in_use().filter(|(endpoint, ..)| but != Some(*endpoint));
        let missing = self.pieces.all_missing().clone();
        others.fold(missing, |missing, (_, source, _)| allocation::not_had(&missing, source.held.as_ref()))
    }

    /// The missing piece to request from this source. A full source should bring a piece outside
    /// `partial_pieces`, which the partial sources have. Nodes that download one content know the same about
    /// each other, and in any fixed order all would fetch the same piece. So each takes a random one.
    fn next_piece_of(&mut self, endpoint: SocketAddr, partial_pieces: Option<&PieceSet>) -> Option<u32> {
        match (&self.sources.get(endpoint)?.held, partial_pieces) {
            (Some(held), _) => self.pieces.next_missing_of(held),
            (None, Some(partial_pieces)) => {
                let candidates = self.pieces.missing_outside(partial_pieces);
                candidates.nth(self.rng.random_range(0..candidates.len().max(1)))
            }
            (None, None) => self.pieces.next_missing(),
        }
    }

    /// The key that orders sources by the selection rule.
    fn rank_key(&self, weighted: &WeightedSource) -> (Millis, Millis, SocketAddr) {
        (weighted.score(self.load_weight), weighted.latency, weighted.endpoint)
    }

    /// The end game: every piece is requested. A piece that is expected late from one source is requested
    /// from an idle source too, the latest piece first. If no source in use is idle, one more is opened for a
    /// piece of a stalled source.
    fn request_twice(&mut self, now: Instant) {
        let piece_len = self.piece_len_bytes;
        let mut idle: Vec<(SocketAddr, Option<Duration>)> = self
            .sources
            .eligible(&self.pieces)
            .filter_map(|(endpoint, source)| Some((endpoint, source, source.connection.as_ref()?)))
            .filter(|(_, _, connection)| connection.is_idle())
            .map(|(endpoint, source, connection)| {
                (endpoint, connection.time_for_one(now, source.latency, piece_len))
            })
            .collect();
        idle.sort_by_key(|(endpoint, time)| (time.unwrap_or(Duration::MAX), *endpoint));
        if idle.is_empty() && self.sources_in_use() < self.sources_max {
            let closed = self.sources.eligible(&self.pieces).filter(|(endpoint, source)| {
                source.connection.is_none() && self.latest_piece(now, *endpoint, None).is_some()
            });
            let best = closed
                .map(|(endpoint, source)| source.weighted(endpoint))
                .min_by_key(|weighted| self.rank_key(weighted));
            idle.extend(best.map(|weighted| (weighted.endpoint, None)));
        }
        for (endpoint, time) in idle {
            let Some(piece) = self.latest_piece(now, endpoint, time) else { continue };
            if !self.is_in_use(endpoint) {
                self.open(now, endpoint);
            }
            self.request(now, endpoint, piece);
        }
    }

    /// The requested piece that is expected last, among those that `second` has and that are worth a second
    /// request to it. `time`: how long `second` needs for one piece; `None`: its rate is not known.
    fn latest_piece(&self, now: Instant, second: SocketAddr, time: Option<Duration>) -> Option<u32> {
        let second = self.sources.get(second)?;
        let mut latest = None;
        for (_, source, connection) in self.sources.in_use() {
            for piece in connection.requested() {
                let left = connection.time_left(now, piece, source.latency, self.piece_len_bytes);
                let is_worth_it = match (time, left) {
                    (Some(time), Some(left)) => {
                        left > time.saturating_mul(HEDGE_GAIN) && left >= time.saturating_add(HEDGE_GAIN_MIN)
                    }
                    // Without the rate of the second source only a stalled first one is worth it.
                    _ => is_stalled(connection, now),
                };
                let may_request = || {
                    second.has(piece)
                        && self.wants(piece)
                        && self.sources.times_requested(piece) < limits::SOURCES_PER_PIECE
                };
                if is_worth_it && may_request() {
                    latest = latest.max(Some((left, piece)));
                }
            }
        }
        latest.map(|(_, piece)| piece)
    }

    fn is_in_use(&self, endpoint: SocketAddr) -> bool {
        self.sources.get(endpoint).is_some_and(|source| source.connection.is_some())
    }

    fn open(&mut self, now: Instant, endpoint: SocketAddr) {
        if let Some(source) = self.sources.get_mut(endpoint) {
            source.connection = Some(Connection::new(now));
            self.actions.push_back(Action::Open(endpoint));
        }
    }

    fn request(&mut self, now: Instant, source: SocketAddr, piece: u32) {
        if let Some(connection) = self.sources.connection_mut(source) {
            connection.request(now, piece);
            self.pieces.request(piece);
            self.actions.push_back(Action::Fetch { source, piece });
        }
    }

    /// Ends the round: no source can get a request and no piece is being verified. If a piece was verified in
    /// it, the retries are counted from 0 again: a download goes on as long as each retry brings something.
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

/// True if a byte of the source is overdue for so long that its pieces are requested from others.
fn is_stalled(connection: &Connection, now: Instant) -> bool {
    connection.silence(now) >= limits::ms(limits::SOURCE_STALL_MS)
}
