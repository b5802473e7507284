//! One download as a machine: which source to use, which piece to ask it for, when to leave it, when to search again, when to end.
//!
//! It is told what happened and says what to do; it moves no byte and waits for nothing. Each piece is in one state, moved here alone:
//! missing -> asked (of one source) -> done, or back to missing when its source is left. Done pieces are never asked for again.

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::logic::backoff::retry_pause;
use crate::types::limits;

/// Pieces asked of a source ahead of the one that is arriving, so that its next piece is always on the wire.
const ASKED_AHEAD: usize = 4;

/// What to do next. Each is said once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Find and rank the holders anew; answer with [`Event::Ranked`].
    Search,
    /// Connect to this source.
    Open(SocketAddr),
    /// Ask this source for this piece.
    Fetch { source: SocketAddr, piece: u32 },
    /// Close the connection to this source; nothing that still comes from it counts.
    Leave { source: SocketAddr, why: String },
    /// All sources have failed; the next search follows after `pause`.
    Pause { round: u32, of: u32, pause: Duration },
    /// Every piece is done.
    Finish,
    /// No source is left and no round; see [`Transfer::failures`].
    GiveUp,
}

/// What has happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The holders that answered, best first. May be empty.
    Ranked(Vec<SocketAddr>),
    /// A piece has arrived, is right, and is written.
    Verified { source: SocketAddr, piece: u32 },
    /// A piece has arrived and is not the right one.
    Wrong { source: SocketAddr, piece: u32, why: String },
    /// The source refused, died, stalled, or gave a false manifest.
    Failed { source: SocketAddr, why: String, by_digest: bool },
    /// So many bytes have come from the source since it was opened. `held_back`: its replies are kept from us for so long on purpose
    /// (an emulated latency), which is no fault of its.
    Received { source: SocketAddr, bytes: u64, held_back: Duration },
}

/// One try of a source that came to nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub source: SocketAddr,
    pub why: String,
    /// True if it was digests that did not match.
    pub by_digest: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Piece {
    Missing,
    Asked,
    Done,
}

/// A source that may still be used in this round.
#[derive(Debug)]
struct Source {
    endpoint: SocketAddr,
    wrong_pieces: u32,
}

/// The source that pieces are fetched from.
#[derive(Debug)]
struct Current {
    source: Source,
    asked: BTreeSet<u32>,
    /// When how many bytes had come; covers the last [`limits::SOURCE_RATE_WINDOW_MS`].
    samples: VecDeque<(Instant, u64)>,
}

#[derive(Debug, PartialEq, Eq)]
enum Phase {
    /// A search is under way.
    Searching,
    /// Sources are used, in order, until none is left.
    Fetching,
    /// Until then nothing happens.
    Pausing(Instant),
    Ended,
}

/// The machine. Pieces: 1 byte each.
#[derive(Debug)]
pub struct Transfer {
    pieces: Vec<Piece>,
    done: usize,
    /// No piece before this one is missing.
    first_missing: usize,
    /// Those not yet used or put back, best first.
    waiting: VecDeque<Source>,
    current: Option<Current>,
    phase: Phase,
    round: u32,
    retries: u32,
    failures: Vec<Failure>,
    actions: VecDeque<Action>,
}

impl Transfer {
    /// A download of `pieces` pieces from `ranked`, best first, with `retries` further rounds.
    pub fn new(pieces: u32, ranked: &[SocketAddr], retries: u32) -> Transfer {
        let mut transfer = Transfer {
            pieces: vec![Piece::Missing; pieces as usize],
            done: 0,
            first_missing: 0,
            waiting: VecDeque::new(),
            current: None,
            phase: Phase::Fetching,
            round: 0,
            retries,
            failures: Vec::new(),
            actions: VecDeque::new(),
        };
        transfer.take_ranking(ranked);
        transfer
    }

    /// What to do now. Empty: wait for an event, or until [`Transfer::next_wake`].
    pub fn next_actions(&mut self, now: Instant) -> Vec<Action> {
        self.advance(now);
        self.actions.drain(..).collect()
    }

    /// Until when, at most, to wait for an event.
    pub fn next_wake(&self, now: Instant) -> Option<Instant> {
        match (&self.phase, &self.current) {
            (Phase::Pausing(until), _) => Some(*until),
            (Phase::Fetching, Some(_)) => Some(now + limits::ms(limits::SOURCE_RATE_WINDOW_MS) / 10),
            _ => None,
        }
    }

    /// Takes in what has happened. News from a source that is not in use is void.
    pub fn on_event(&mut self, now: Instant, event: Event) {
        match event {
            Event::Ranked(ranked) => {
                if self.phase == Phase::Searching {
                    self.phase = Phase::Fetching;
                    self.take_ranking(&ranked);
                }
            }
            Event::Verified { source, piece } => {
                if self.is_asked(source, piece) {
                    self.set(piece, Piece::Done);
                }
            }
            Event::Wrong { source, piece, why } => {
                if self.is_asked(source, piece) {
                    self.blame(source, why);
                }
            }
            Event::Failed { source, why, by_digest } => {
                if self.is_current(source) {
                    self.leave(why, by_digest);
                }
            }
            Event::Received { source, bytes, held_back } => {
                if self.is_current(source) {
                    self.judge_rate(now, bytes, held_back);
                }
            }
        }
    }

    /// Number of pieces done.
    pub fn done(&self) -> usize {
        self.done
    }

    /// Every failed try so far, oldest first.
    pub fn failures(&self) -> &[Failure] {
        &self.failures
    }

    fn take_ranking(&mut self, ranked: &[SocketAddr]) {
        self.waiting =
            ranked.iter().map(|endpoint| Source { endpoint: *endpoint, wrong_pieces: 0 }).collect();
    }

    fn is_current(&self, source: SocketAddr) -> bool {
        self.current.as_ref().is_some_and(|current| current.source.endpoint == source)
    }

    fn is_asked(&self, source: SocketAddr, piece: u32) -> bool {
        self.current
            .as_ref()
            .is_some_and(|current| current.source.endpoint == source && current.asked.contains(&piece))
    }

    /// The one place where a piece changes its state.
    fn set(&mut self, piece: u32, state: Piece) {
        let index = piece as usize;
        self.pieces[index] = state;
        match state {
            Piece::Missing => self.first_missing = self.first_missing.min(index),
            Piece::Asked => {
                if let Some(current) = &mut self.current {
                    current.asked.insert(piece);
                }
            }
            Piece::Done => {
                self.done += 1;
                if let Some(current) = &mut self.current {
                    current.asked.remove(&piece);
                }
            }
        }
    }

    /// First wrong piece: to the back of the ranking. Another one: dropped until the next round.
    fn blame(&mut self, endpoint: SocketAddr, why: String) {
        let Some(current) = &mut self.current else { return };
        current.source.wrong_pieces += 1;
        let wrong_pieces = current.source.wrong_pieces;
        self.leave(why, true);
        if wrong_pieces < limits::WRONG_PIECES_MAX {
            self.waiting.push_back(Source { endpoint, wrong_pieces });
        }
    }

    /// Ends the use of the current source; what it was asked for is missing again.
    fn leave(&mut self, why: String, by_digest: bool) {
        let Some(current) = self.current.take() else { return };
        let endpoint = current.source.endpoint;
        for piece in current.asked {
            self.set(piece, Piece::Missing);
        }
        self.failures.push(Failure { source: endpoint, why: why.clone(), by_digest });
        self.actions.push_back(Action::Leave { source: endpoint, why });
    }

    /// Leaves a source that crawls, if there is another one to go to.
    fn judge_rate(&mut self, now: Instant, bytes: u64, held_back: Duration) {
        let window = limits::ms(limits::SOURCE_RATE_WINDOW_MS) + held_back;
        let Some(current) = &mut self.current else { return };
        current.samples.push_back((now, bytes));
        // The newest sample that is a whole window old stays, as the base to compare with.
        while current.samples.get(1).is_some_and(|(at, _)| now.saturating_duration_since(*at) >= window) {
            current.samples.pop_front();
        }
        let Some(&(since, base)) = current.samples.front() else { return };
        let expected = limits::SOURCE_RATE_MIN_BYTES_PER_S * limits::SOURCE_RATE_WINDOW_MS / 1000;
        let crawls = now.saturating_duration_since(since) >= window && bytes.saturating_sub(base) < expected;
        if crawls && !self.waiting.is_empty() {
            let rate = limits::SOURCE_RATE_MIN_BYTES_PER_S >> 10;
            self.leave(format!("slower than {rate} KiB/s, and another source is left"), false);
        }
    }

    fn advance(&mut self, now: Instant) {
        if let Phase::Pausing(until) = self.phase
            && until <= now
        {
            self.phase = Phase::Searching;
            self.actions.push_back(Action::Search);
        }
        if self.phase != Phase::Fetching {
            return;
        }
        if self.done == self.pieces.len() {
            self.phase = Phase::Ended;
            self.actions.push_back(Action::Finish);
            return;
        }
        if self.current.is_none() {
            let Some(source) = self.waiting.pop_front() else { return self.end_round(now) };
            self.actions.push_back(Action::Open(source.endpoint));
            self.current =
                Some(Current { source, asked: BTreeSet::new(), samples: VecDeque::from([(now, 0)]) });
        }
        self.ask_ahead();
    }

    fn ask_ahead(&mut self) {
        while let Some(current) = &self.current
            && current.asked.len() < ASKED_AHEAD
        {
            let source = current.source.endpoint;
            let Some(offset) =
                self.pieces[self.first_missing..].iter().position(|state| *state == Piece::Missing)
            else {
                return;
            };
            self.first_missing += offset;
            let piece = self.first_missing as u32;
            self.set(piece, Piece::Asked);
            self.actions.push_back(Action::Fetch { source, piece });
        }
    }

    fn end_round(&mut self, now: Instant) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rt::clock;
    use rand::rngs::SmallRng;
    use rand::seq::IndexedRandom;
    use rand::{Rng, SeedableRng};

    fn source(number: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 5000 + number))
    }

    fn fetches(actions: &[Action]) -> Vec<u32> {
        let piece = |action: &Action| match action {
            Action::Fetch { piece, .. } => Some(*piece),
            _ => None,
        };
        actions.iter().filter_map(piece).collect()
    }

    #[test]
    fn the_best_source_is_opened_and_asked_ahead() {
        let now = clock::now();
        let mut transfer = Transfer::new(6, &[source(1), source(2)], 0);
        let actions = transfer.next_actions(now);
        assert_eq!(actions[0], Action::Open(source(1)));
        assert_eq!(fetches(&actions), [0, 1, 2, 3]);
        assert_eq!(transfer.next_actions(now), []);
        for piece in 0..6 {
            transfer.on_event(now, Event::Verified { source: source(1), piece });
            let next = transfer.next_actions(now);
            match piece {
                0 | 1 => assert_eq!(fetches(&next), [piece + 4]),
                5 => assert_eq!(next, [Action::Finish]),
                _ => assert_eq!(next, []),
            }
        }
    }

    #[test]
    fn no_pieces_means_no_request() {
        assert_eq!(Transfer::new(0, &[source(1)], 0).next_actions(clock::now()), [Action::Finish]);
    }

    #[test]
    fn a_failed_source_is_left_for_the_next_and_verified_pieces_are_kept() {
        let now = clock::now();
        let mut transfer = Transfer::new(2, &[source(1), source(2)], 0);
        transfer.next_actions(now);
        transfer.on_event(now, Event::Verified { source: source(1), piece: 0 });
        transfer.on_event(now, Event::Failed { source: source(1), why: "reset".into(), by_digest: false });
        let actions = transfer.next_actions(now);
        assert_eq!(
            actions,
            [
                Action::Leave { source: source(1), why: "reset".into() },
                Action::Open(source(2)),
                Action::Fetch { source: source(2), piece: 1 }
            ]
        );
        // Late news from the source that was left changes nothing.
        transfer.on_event(now, Event::Verified { source: source(1), piece: 1 });
        assert_eq!((transfer.done(), transfer.next_actions(now)), (1, vec![]));
    }

    #[test]
    fn one_wrong_piece_puts_a_source_last_and_a_second_drops_it() {
        let now = clock::now();
        let mut transfer = Transfer::new(3, &[source(1), source(2)], 0);
        let wrong = |endpoint| Event::Wrong { source: endpoint, piece: 0, why: "wrong bytes".into() };
        transfer.next_actions(now);
        transfer.on_event(now, wrong(source(1)));
        assert!(transfer.next_actions(now).contains(&Action::Open(source(2))));
        transfer.on_event(now, wrong(source(2)));
        assert!(transfer.next_actions(now).contains(&Action::Open(source(1))));
        transfer.on_event(now, wrong(source(1)));
        assert!(transfer.next_actions(now).contains(&Action::Open(source(2))));
        transfer.on_event(now, wrong(source(2)));
        assert!(transfer.next_actions(now).ends_with(&[Action::GiveUp]));
        assert!(transfer.failures().iter().all(|failure| failure.by_digest));
        assert_eq!(transfer.failures().len(), 4);
    }

    #[test]
    fn when_all_have_failed_it_searches_again_after_growing_pauses() {
        let mut now = clock::now();
        let mut transfer = Transfer::new(1, &[], 2);
        for (round, seconds) in [(1, 1), (2, 2)] {
            let pause = Duration::from_secs(seconds);
            assert_eq!(transfer.next_actions(now), [Action::Pause { round, of: 2, pause }]);
            assert_eq!(transfer.next_wake(now), Some(now + pause));
            assert_eq!(transfer.next_actions(now + pause / 2), []);
            now += pause;
            assert_eq!(transfer.next_actions(now), [Action::Search]);
            transfer.on_event(now, Event::Ranked(vec![]));
        }
        assert_eq!(transfer.next_actions(now), [Action::GiveUp]);
    }

    #[test]
    fn a_crawling_source_is_left_only_if_there_is_another_one() {
        let window = limits::ms(limits::SOURCE_RATE_WINDOW_MS);
        let enough = limits::SOURCE_RATE_MIN_BYTES_PER_S * limits::SOURCE_RATE_WINDOW_MS / 1000;
        for (others, bytes, is_left) in [(1, enough - 1, true), (1, enough, false), (0, 0, false)] {
            let now = clock::now();
            let ranked: Vec<_> = (0..=others).map(source).collect();
            let mut transfer = Transfer::new(1, &ranked, 0);
            transfer.next_actions(now);
            let received = |bytes| Event::Received { source: source(0), bytes, held_back: Duration::ZERO };
            transfer.on_event(now + window / 2, received(bytes / 2));
            assert_eq!(transfer.next_actions(now + window / 2), []);
            transfer.on_event(now + window, received(bytes));
            let left = transfer.next_actions(now + window).iter().any(|a| matches!(a, Action::Leave { .. }));
            assert_eq!(left, is_left, "{others} others, {bytes} bytes");
        }
    }

    #[test]
    fn an_emulated_latency_is_no_crawl() {
        let now = clock::now();
        let held_back = Duration::from_secs(20);
        let window = limits::ms(limits::SOURCE_RATE_WINDOW_MS);
        let mut transfer = Transfer::new(1, &[source(0), source(1)], 0);
        transfer.next_actions(now);
        let nothing = || Event::Received { source: source(0), bytes: 0, held_back };
        transfer.on_event(now + held_back, nothing());
        assert_eq!(transfer.next_actions(now + held_back), []);
        transfer.on_event(now + held_back + window, nothing());
        assert!(transfer.next_actions(now + held_back + window).contains(&Action::Open(source(1))));
    }

    /// Sources that lie, fail, vanish and return at random: it always ends, with every piece done exactly when it says so.
    #[test]
    fn it_always_ends_and_never_asks_for_what_is_done() {
        for seed in 0..2000 {
            let mut rng = SmallRng::seed_from_u64(seed);
            let mut now = clock::now();
            let pieces = rng.random_range(0..20);
            let ranked = |rng: &mut SmallRng| (0..rng.random_range(0..4)).map(source).collect::<Vec<_>>();
            let mut transfer = Transfer::new(pieces, &ranked(&mut rng), 2);
            let mut done = BTreeSet::new();
            let mut asked: Vec<(SocketAddr, u32)> = Vec::new();
            let mut ended = None;
            for _ in 0..2000 {
                for action in transfer.next_actions(now) {
                    match action {
                        Action::Search => transfer.on_event(now, Event::Ranked(ranked(&mut rng))),
                        Action::Fetch { source, piece } => {
                            assert!(!done.contains(&piece), "seed {seed}: piece {piece} is done");
                            asked.push((source, piece));
                        }
                        Action::Leave { source, .. } => asked.retain(|(from, _)| *from != source),
                        Action::Finish | Action::GiveUp => ended = Some(action),
                        Action::Open(_) | Action::Pause { .. } => {}
                    }
                }
                if ended.is_some() {
                    break;
                }
                now += Duration::from_millis(rng.random_range(0..3000));
                let Some(&(source, piece)) = asked.choose(&mut rng) else { continue };
                let why = String::from("by the seed");
                transfer.on_event(
                    now,
                    match rng.random_range(0..10) {
                        0 => Event::Wrong { source, piece, why },
                        1 => Event::Failed { source, why, by_digest: false },
                        2 => Event::Received {
                            source,
                            bytes: rng.random_range(0..1 << 20),
                            held_back: Duration::ZERO,
                        },
                        _ => {
                            asked.retain(|pair| *pair != (source, piece));
                            done.insert(piece);
                            Event::Verified { source, piece }
                        }
                    },
                );
            }
            match ended {
                Some(Action::Finish) => assert_eq!(done.len(), pieces as usize, "seed {seed}"),
                Some(Action::GiveUp) => assert!(done.len() < pieces as usize, "seed {seed}"),
                other => panic!("seed {seed}: not ended: {other:?}"),
            }
        }
    }
}
