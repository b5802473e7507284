//! The rules of the machine, one by one.

mod failing;
mod pace;
mod parts;
mod requests;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::machine::{RATE_CHECK, RATE_CHECK_AT_END, REST_MAX};
use super::*;
use crate::logic::select::Candidate;
use crate::rt::clock;
use crate::types::{LatencyOrigin, Millis, PieceSet, limits};

const LEN: u64 = 1 << 20;

const NO_TIME: Duration = Duration::ZERO;

pub(super) fn source(number: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 5000 + number))
}

fn candidate(number: u16, latency_ms: u64, load: u32) -> Candidate {
    Candidate {
        endpoint: source(number),
        latency: Millis::from_ms(latency_ms),
        latency_origin: LatencyOrigin::Table,
        load,
        yours: 0,
    }
}

fn plan(pieces: u32) -> Plan {
    Plan {
        pieces,
        piece_len_bytes: LEN,
        marked: Vec::new(),
        first_piece: 0,
        seed: 0,
        sources_max: 8,
        load_weight: Millis::from_ms(10),
        retries: 0,
    }
}

/// A machine with its clock.
struct World {
    transfer: Transfer,
    now: Instant,
}

impl World {
    /// A machine whose sources have all pieces.
    fn new(plan: Plan, full: &[Candidate]) -> World {
        World::with(plan, full.iter().map(|one| (*one, None)).collect())
    }

    fn with(plan: Plan, ranked: Vec<RankedSource>) -> World {
        let now = clock::now();
        World { transfer: Transfer::new(plan, ranked, now), now }
    }

    /// Lets the machine run for `time`, one pass a second: a search finds `found`, and a piece that is
    /// requested from a source for which `sends` is true arrives at once and is right. Returns all actions.
    fn run_for(
        &mut self,
        time: Duration,
        found: &[RankedSource],
        sends: impl Fn(SocketAddr) -> bool,
    ) -> Vec<Action> {
        let mut actions = Vec::new();
        for _ in 0..time.as_secs() {
            let mut to_do = VecDeque::from(self.actions());
            while let Some(action) = to_do.pop_front() {
                match &action {
                    Action::Search => to_do.extend(self.report(Event::Ranked(found.to_vec()))),
                    Action::Fetch { source, piece } if sends(*source) => {
                        let (source, piece) = (*source, *piece);
                        to_do.extend(self.report(Event::Arrived { source, piece }));
                        to_do.extend(self.report(Event::Verified { piece }));
                    }
                    _ => {}
                }
                actions.push(action);
            }
            self.now += Duration::from_secs(1);
        }
        actions
    }

    fn actions(&mut self) -> Vec<Action> {
        self.transfer.next_actions(self.now)
    }

    fn report(&mut self, event: Event) -> Vec<Action> {
        self.transfer.on_event(self.now, event);
        self.actions()
    }

    fn pass(&mut self, time: Duration) -> Vec<Action> {
        self.now += time;
        self.actions()
    }

    fn arrive(&mut self, number: u16, piece: u32) -> Vec<Action> {
        self.report(Event::Arrived { source: source(number), piece })
    }

    fn deliver(&mut self, number: u16, piece: u32) -> Vec<Action> {
        let mut actions = self.arrive(number, piece);
        actions.extend(self.report(Event::Verified { piece }));
        actions
    }

    fn wrong(&mut self, piece: u32) -> Vec<Action> {
        self.report(Event::Wrong { piece, why: "wrong bytes".into() })
    }

    fn fail(&mut self, number: u16) -> Vec<Action> {
        self.report(Event::Failed { source: source(number), why: "reset".into(), sent_wrong_data: false })
    }

    fn receive(&mut self, number: u16, bytes: u64, reply_delay: Duration) {
        let source = source(number);
        self.transfer.on_event(self.now, Event::Received { source, bytes, reply_delay, waits_for_us: false });
    }

    /// Reports that `bytes` have arrived from the source and that more wait for a buffer here.
    fn report_waiting_bytes(&mut self, number: u16, bytes: u64) -> Vec<Action> {
        let source = source(number);
        self.report(Event::Received { source, bytes, reply_delay: NO_TIME, waits_for_us: true })
    }
}

/// The actions without the searches, which come with time alone.
fn without_search(mut actions: Vec<Action>) -> Vec<Action> {
    actions.retain(|action| *action != Action::Search);
    actions
}

fn open(number: u16) -> Action {
    Action::Open(source(number))
}

fn fetch(number: u16, piece: u32) -> Action {
    Action::Fetch { source: source(number), piece }
}

fn leave(number: u16, why: &str) -> Action {
    Action::Leave { source: source(number), why: Some(why.to_owned()) }
}

/// The action that leaves a source without a fault.
fn leave_without_fault(number: u16) -> Action {
    Action::Leave { source: source(number), why: None }
}

/// The event that ranks these sources, which have all pieces.
fn ranked(full: &[Candidate]) -> Event {
    Event::Ranked(full.iter().map(|one| (*one, None)).collect())
}

fn set(count: u32, pieces: impl IntoIterator<Item = u32>) -> PieceSet {
    let mut set = PieceSet::none(count);
    pieces.into_iter().for_each(|piece| set.set(piece, true));
    set
}

/// An idle source at this latency that has these of `count` pieces.
fn part(number: u16, latency_ms: u64, count: u32, pieces: impl IntoIterator<Item = u32>) -> RankedSource {
    (candidate(number, latency_ms, 0), Some(set(count, pieces)))
}

/// An idle source at this latency that has all pieces.
fn full(number: u16, latency_ms: u64) -> RankedSource {
    (candidate(number, latency_ms, 0), None)
}

fn has(number: u16, count: u32, pieces: impl IntoIterator<Item = u32>) -> Event {
    Event::HasPieces { source: source(number), pieces: set(count, pieces) }
}

fn lacks(number: u16, piece: u32) -> Event {
    Event::LacksPiece { source: source(number), piece }
}
