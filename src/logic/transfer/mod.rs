//! One download from many sources as a machine: which source to ask for which piece, whom to open and leave, when to search, when to end.
//!
//! It is told what happened and says what to do; it moves no byte and waits for nothing. A missing piece belongs to nobody: on each look
//! all of them are shared out anew by the selection rule, so that they move freely as scores change. Done pieces are never asked for again,
//! and no piece is asked of more than two sources at once.
//!
//! A partial source is asked only for pieces that it has told of, and left when it has had none that is wanted for a while. Others are
//! asked for what no partial source has, and at random, so that those who fetch a content together come to have different pieces.

mod dialogue;
mod pieces;
mod roster;
mod shares;
mod wire;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::SmallRng;

use self::pieces::{Pieces, State};
use self::roster::Roster;
use self::wire::Wire;
use crate::logic::backoff::retry_pause;
use crate::logic::select::{Candidate, Sharer};
use crate::types::{Millis, limits};

pub use self::dialogue::{Action, Event, Plan};
pub use self::roster::Failure;

/// In the end game a piece is asked of a second source if it is expected there so many times sooner ...
const HEDGE_GAIN: u32 = 2;
/// ... and sooner by this.
const HEDGE_GAIN_MIN: Duration = Duration::from_millis(200);
/// How often rates are looked at while something is asked of a source.
const LOOK: Duration = Duration::from_secs(1);
/// The same in the end game.
const LOOK_AT_END: Duration = Duration::from_millis(100);
/// A partial source that has nothing for us is left after this, or when its place is needed: it may have more soon.
const REST: Duration = Duration::from_millis(limits::SEARCH_AGAIN_MS);
const NOT_OF_USE: &str = "it has no piece that is missing here";

#[derive(Debug, PartialEq, Eq)]
enum Phase {
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
    pieces: Pieces,
    piece_len_bytes: u64,
    roster: Roster,
    rng: SmallRng,
    sources_max: usize,
    load_weight: Millis,
    phase: Phase,
    /// When to search again while fetching; `None` while an answer is awaited.
    search_at: Option<Instant>,
    round: u32,
    retries: u32,
    /// True if a fetched piece was done in this round.
    has_progressed: bool,
    actions: VecDeque<Action>,
}

impl Transfer {
    /// A download from the sources in `ranked`, in any order; see [`Event::Ranked`].
    pub fn new(plan: Plan, ranked: &[Candidate], now: Instant) -> Transfer {
        let Plan { pieces, piece_len_bytes, marked, first_piece, seed, sources_max, load_weight, retries } =
            plan;
        let mut roster = Roster::new();
        roster.refresh(ranked, |_| false);
        Transfer {
            pieces: Pieces::new(pieces, &marked, first_piece),
            piece_len_bytes: piece_len_bytes.max(1),
            roster,
            rng: SmallRng::seed_from_u64(seed),
            sources_max: sources_max.max(1),
            load_weight,
            phase: Phase::Fetching,
            search_at: Some(now + limits::ms(limits::SEARCH_AGAIN_MS)),
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
                look.into_iter().chain(self.search_at).min()
            }
            Phase::Searching | Phase::Ended => None,
        }
    }

    /// Takes in what has happened. Void are failures and byte counts of a source that is not in use, verdicts on a piece that is not being
    /// verified, and everything about sources that no ranking has named.
    pub fn on_event(&mut self, now: Instant, event: Event) {
        if self.phase == Phase::Ended {
            return;
        }
        match event {
            Event::Ranked(ranked) => self.take_ranking(now, &ranked),
            Event::Unranked => self.search_has_ended(now),
            Event::Has { source, pieces } => self.take_parts(source, pieces),
            Event::Lacks { source, piece } => self.take_lack(now, source, piece),
            Event::Arrived { source, piece } => self.take_piece(now, source, piece),
            Event::Verified { piece } => {
                if self.pieces.state(piece) == Some(State::Arrived) {
                    self.has_progressed |= self.pieces.accept(piece).is_some();
                }
            }
            Event::Wrong { piece, why } => {
                if self.pieces.state(piece) == Some(State::Arrived) {
                    let is_asked = self.roster.times_asked(piece) > 0;
                    if let Some(sender) = self.pieces.reject(piece, is_asked) {
                        self.blame(sender, why);
                    }
                }
            }
            Event::Dropped { piece } => {
                if self.pieces.state(piece) == Some(State::Arrived) {
                    let is_asked = self.roster.times_asked(piece) > 0;
                    let _nobody_is_blamed = self.pieces.reject(piece, is_asked);
                }
            }
            Event::NoList { source, why, by_digest } => {
                if self.roster.get(source).is_some() {
                    self.fail(source, why, by_digest);
                }
            }
            Event::Failed { source, why, by_digest } => self.take_failure(source, why, by_digest),
            Event::Received { source, bytes, held_back, waits_for_us } => {
                if let Some(wire) = self.roster.wire_mut(source) {
                    wire.receive(now, bytes, held_back, waits_for_us);
                }
            }
        }
    }

    /// True if bytes of this piece that arrive now are worth verifying: it is neither done nor being verified.
    pub fn wants(&self, piece: u32) -> bool {
        matches!(self.pieces.state(piece), Some(State::Missing | State::Asked))
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
    pub fn failures(&self) -> &[Failure] {
        self.roster.failures()
    }

    /// Number of sources open.
    pub fn sources_in_use(&self) -> usize {
        self.roster.in_use().count()
    }

    fn take_ranking(&mut self, now: Instant, ranked: &[Candidate]) {
        self.search_has_ended(now);
        self.roster.refresh(ranked, |source| self.pieces.is_sender(source));
    }

    fn search_has_ended(&mut self, now: Instant) {
        if self.phase == Phase::Searching {
            self.phase = Phase::Fetching;
            self.roster.forgive();
        }
        self.search_at = Some(now + limits::ms(limits::SEARCH_AGAIN_MS));
    }

    fn take_piece(&mut self, now: Instant, source: SocketAddr, piece: u32) {
        let len = self.piece_len_bytes;
        if let Some(wire) = self.roster.wire_mut(source) {
            wire.arrive(now, piece, len);
        }
        // Also from a source that is being left: what `wants` has called worth verifying is on its way there.
        if self.roster.get(source).is_some() && self.wants(piece) {
            self.pieces.arrive(piece, source);
        }
    }

    fn take_failure(&mut self, endpoint: SocketAddr, why: String, by_digest: bool) {
        let Some(source) = self.roster.get(endpoint) else { return };
        match &source.wire {
            // Its end has closed a connection that was of no use to us any more.
            Some(wire) if wire.is_idle() && wire.has_delivered() && !by_digest => self.close(endpoint, why),
            // The last words of a connection that was closed say nothing; a digest does.
            None if !by_digest => {}
            _ => self.fail(endpoint, why, by_digest),
        }
    }

    /// The source is not used again in this round.
    fn fail(&mut self, endpoint: SocketAddr, why: String, by_digest: bool) {
        if let Some(source) = self.roster.get_mut(endpoint) {
            source.has_failed = true;
            self.roster.record(Failure { source: endpoint, why: why.clone(), by_digest });
            self.close(endpoint, why);
        }
    }

    /// First wrong piece: left and put last. Another one: dropped until the next round.
    fn blame(&mut self, endpoint: SocketAddr, why: String) {
        let Some(source) = self.roster.get_mut(endpoint) else { return };
        source.wrong_pieces += 1;
        self.roster.record(Failure { source: endpoint, why: why.clone(), by_digest: true });
        self.close(endpoint, why);
    }

    /// Ends the use of a source, if it is in use; what it alone was asked for is missing again.
    fn close(&mut self, endpoint: SocketAddr, why: String) {
        let Some(wire) = self.roster.get_mut(endpoint).and_then(|source| source.wire.take()) else { return };
        for piece in wire.asked() {
            if self.pieces.state(piece) == Some(State::Asked) && self.roster.times_asked(piece) == 0 {
                self.pieces.miss(piece);
            }
        }
        self.actions.push_back(Action::Leave { source: endpoint, why });
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
        self.leave_the_slow_and_the_replaced(now);
        if self.pieces.all_done() {
            self.phase = Phase::Ended;
            self.actions.push_back(Action::Finish);
            return;
        }
        self.open_and_ask(now);
        if self.pieces.missing() == 0 {
            self.ask_twice(now);
        }
        if self.on_the_wire() == 0 && self.pieces.arrived() == 0 {
            return self.end_round(now);
        }
        if self.search_at.is_some_and(|at| at <= now) {
            self.search_at = None;
            self.actions.push_back(Action::Search);
        }
    }

    fn leave_the_slow_and_the_replaced(&mut self, now: Instant) {
        let in_use: Vec<_> = self.roster.in_use().map(|(endpoint, ..)| endpoint).collect();
        let is_full = in_use.len() >= self.sources_max;
        for endpoint in in_use {
            let Some(source) = self.roster.get(endpoint) else { continue };
            let Some(wire) = &source.wire else { continue };
            if !source.is_of_use && wire.is_idle() && (is_full || wire.rest(now) >= REST) {
                self.close(endpoint, NOT_OF_USE.to_owned());
            } else if source.wrong_pieces > 0 && wire.is_idle() && self.roster.has_clean() {
                self.close(endpoint, "a source that sent no wrong piece is there".to_owned());
            } else if is_stalled(wire, now) && wire.asked().all(|piece| !self.wants(piece)) {
                let silence_s = limits::SOURCE_STALL_MS / 1000;
                let why = format!("stalled: no byte in {silence_s} s, others sent its pieces");
                self.take_failure(endpoint, why, false);
            } else if wire.crawls(now) && self.others_suffice(|other, _| other == endpoint) {
                let rate = limits::SOURCE_RATE_MIN_BYTES_PER_S >> 10;
                let why = format!("slower than {rate} KiB/s, and another source is left");
                self.take_failure(endpoint, why, false);
            }
        }
    }

    /// Shares out the missing pieces among all sources that may have some, opens those of them that are not in use, best first, until there
    /// are `sources_max`, and asks each in use for as much of its share as it has room for.
    fn open_and_ask(&mut self, now: Instant) {
        if self.pieces.missing() == 0 {
            return;
        }
        let shares = loop {
            let is_full = self.sources_in_use() >= self.sources_max;
            let shares = self.shares(now, is_full);
            let to_open = shares.iter().find(|(endpoint, share)| *share > 0 && !self.is_in_use(*endpoint));
            match to_open {
                Some((endpoint, _)) => self.open(now, *endpoint),
                None => break shares,
            }
        };
        // Also of those that are of no use now: they will have more.
        let elsewhere = Transfer::parts(self.roster.all());
        for (endpoint, share) in shares {
            let Some(source) = self.roster.get(endpoint) else { continue };
            let Some(wire) = &source.wire else { continue };
            let room = wire.room(now, source.latency, self.piece_len_bytes) as u64;
            for _ in 0..room.min(share) {
                let Some(piece) = self.next_piece_of(endpoint, elsewhere.as_ref()) else { break };
                self.ask(now, endpoint, piece);
            }
        }
    }

    /// The order of the selection rule.
    fn first_score(&self, sharer: &Sharer) -> (Millis, Millis, SocketAddr) {
        (sharer.score(self.load_weight), sharer.latency, sharer.endpoint)
    }

    /// The end game: idle sources are asked for what is expected much later from another, the worst of it first. Where no source in use is
    /// idle, one more is opened for what comes from a silent one.
    fn ask_twice(&mut self, now: Instant) {
        let piece_len = self.piece_len_bytes;
        let mut idle: Vec<(SocketAddr, Option<Duration>)> = self
            .roster
            .eligible()
            .filter_map(|(endpoint, source)| Some((endpoint, source, source.wire.as_ref()?)))
            .filter(|(_, _, wire)| wire.is_idle())
            .map(|(endpoint, source, wire)| (endpoint, wire.time_for_one(now, source.latency, piece_len)))
            .collect();
        idle.sort_by_key(|(endpoint, time)| (time.unwrap_or(Duration::MAX), *endpoint));
        if idle.is_empty() && self.sources_in_use() < self.sources_max {
            let closed = self.roster.eligible().filter(|(endpoint, source)| {
                source.wire.is_none() && self.worst_piece(now, *endpoint, None).is_some()
            });
            let best = closed
                .map(|(endpoint, source)| Sharer { endpoint, latency: source.latency, load: source.load })
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

    /// The piece on the wire that is expected last, of those that `second` has and that are worth asking of it if it needs `time` for one.
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

    /// Nobody can be asked for anything and nothing is being verified. A round that brought something gives the retries back: a source that
    /// breaks off every time still gets us to the end.
    fn end_round(&mut self, now: Instant) {
        let in_use: Vec<_> = self.roster.in_use().map(|(endpoint, ..)| endpoint).collect();
        in_use.into_iter().for_each(|endpoint| self.close(endpoint, NOT_OF_USE.to_owned()));
        if std::mem::take(&mut self.has_progressed) {
            self.round = 0;
        }
        if self.round == self.retries {
            self.phase = Phase::Ended;
            self.actions.push_back(Action::GiveUp);
            return;
        }
        self.round += 1;
        let pause = retry_pause(self.round - 1);
        self.phase = Phase::Pausing(now + pause);
        self.actions.push_back(Action::Pause { round: self.round, of: self.retries, pause });
    }
}

/// True if a source has owed us a byte for so long that others are asked for what it was to send; in the end game even one of unknown rate.
fn is_stalled(wire: &Wire, now: Instant) -> bool {
    wire.silence(now) >= limits::ms(limits::SOURCE_STALL_MS)
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
