//! A swarm in virtual time that drives the machine as a downloading node would: the simulation that the machine must survive, and how fast
//! it is against the ideal. It asserts, after every step, what must never happen.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use super::tests::source;
use super::*;
use crate::logic::select::{Candidate, LatencyOrigin};
use crate::rt::clock;
use crate::types::PieceSet;

/// How often those that have a part tell what they have, if anything happens then.
const TELL_EVERY: Duration = Duration::from_secs(1);
const FOREVER: Duration = Duration::from_secs(1 << 40);
const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// How one source behaves.
#[derive(Debug, Clone)]
pub(super) struct Peer {
    endpoint: SocketAddr,
    /// There and back.
    latency: Duration,
    bytes_per_s: u64,
    load: u32,
    /// Part of its pieces that are wrong.
    lies: f64,
    /// After each piece it closes the connection with this probability.
    breaks_off: f64,
    /// So many pieces are all that it ever sends; then it is silent.
    stalls_after: u64,
    /// It is in rankings from .. to.
    offered: (Duration, Duration),
    /// It is dead from .. to, though rankings may name it.
    down: (Duration, Duration),
    /// Of a hundred pieces it has so many at the start, and so many more each second.
    part: (u64, u64),
    /// What it tells to have and is asked for it does not have with this probability.
    lacks: f64,
}

impl Peer {
    fn honest(number: u16, latency: Duration, bytes_per_s: u64) -> Peer {
        Peer {
            endpoint: source(number),
            latency,
            bytes_per_s,
            load: 0,
            lies: 0.0,
            breaks_off: 0.0,
            stalls_after: u64::MAX,
            offered: (Duration::ZERO, FOREVER),
            down: (FOREVER, FOREVER),
            part: (100, 0),
            lacks: 0.0,
        }
    }

    /// Some of them honest, most of them not.
    fn random(rng: &mut SmallRng, number: u16) -> Peer {
        let latency = Duration::from_micros(*[100, 1000, 5000, 20_000, 200_000].choose(rng).expect("some"));
        let rate = *[MIB, 8 * MIB, 20 * MIB, 100 * MIB].choose(rng).expect("some");
        let mut peer = Peer::honest(number, latency, rate);
        peer.load = *[0, 0, 1, 3, 30].choose(rng).expect("some");
        let time = |rng: &mut SmallRng| Duration::from_millis(rng.random_range(0..20_000));
        match rng.random_range(0..9) {
            0 => peer.lies = *[0.05, 0.5, 1.0].choose(rng).expect("some"),
            1 => peer.stalls_after = rng.random_range(0..10),
            2 => {
                let from = time(rng);
                peer.down = (from, if rng.random() { FOREVER } else { from + time(rng) });
            }
            3 => peer.breaks_off = *[0.1, 0.5, 1.0].choose(rng).expect("some"),
            4 => peer.offered.0 = time(rng),
            5 => peer.offered.1 = time(rng),
            6 => peer.bytes_per_s = *[0, 10 * KIB].choose(rng).expect("some"),
            _ => {}
        }
        if rng.random_ratio(1, 3) {
            peer.part = (rng.random_range(0..100), *[0, 0, 1, 10].choose(rng).expect("some"));
            peer.lacks = *[0.0, 0.0, 0.1, 1.0].choose(rng).expect("some");
        }
        peer
    }

    /// It has everything, and brings it.
    fn is_honest(&self) -> bool {
        self.part.0 >= 100 && self.brings_what_it_has()
    }

    /// Whatever it tells to have.
    fn brings_what_it_has(&self) -> bool {
        self.lies == 0.0
            && self.breaks_off == 0.0
            && self.lacks == 0.0
            && self.is_always_there()
            && self.bytes_per_s >= MIB
    }

    /// It alone is enough where a round can be tried again.
    fn brings_something_each_time(&self) -> bool {
        self.part.0 >= 100 && self.lies == 0.0 && self.is_always_there() && self.bytes_per_s >= MIB
    }

    /// What it tells to have at a time; `None`: everything.
    fn has(&self, pieces: u32, at: Duration) -> Option<PieceSet> {
        let part = self.part.0 + self.part.1 * at.as_secs().min(100);
        // Which ones differs from peer to peer.
        let is_there =
            |piece: &u32| (u64::from(*piece) * 61 + u64::from(self.endpoint.port()) * 17) % 100 < part;
        let mut has = PieceSet::none(pieces);
        (0..pieces).filter(is_there).for_each(|piece| has.set(piece, true));
        (part < 100).then_some(has)
    }

    fn is_always_there(&self) -> bool {
        self.stalls_after == u64::MAX
            && self.offered == (Duration::ZERO, FOREVER)
            && self.down == (FOREVER, FOREVER)
    }

    fn is_down(&self, at: Duration) -> bool {
        self.down.0 <= at && at < self.down.1
    }

    fn candidate(&self) -> Candidate {
        Candidate {
            endpoint: self.endpoint,
            latency: self.latency.into(),
            latency_origin: LatencyOrigin::Measured,
            load: self.load,
            yours: 0,
        }
    }

    fn ranked(&self, pieces: u32, at: Duration) -> Ranked {
        (self.candidate(), self.has(pieces, at))
    }
}

/// An open connection.
#[derive(Debug)]
struct Link {
    peer: Peer,
    opened_at: Duration,
    asked: VecDeque<(u32, Duration)>,
    /// When the last piece was complete, or the connection up.
    free_at: Duration,
    /// Bytes of complete pieces.
    bytes: u64,
    last_byte_at: Duration,
    /// It may send the piece in front; without one its first byte waits for us.
    has_buffer: bool,
    breaks_now: bool,
}

impl Link {
    /// When the first byte of the piece in front comes.
    fn begins_at(&self, sent: u64) -> Option<Duration> {
        let (_, asked_at) = self.asked.front()?;
        (sent < self.peer.stalls_after && self.peer.bytes_per_s > 0)
            .then(|| self.free_at.max(*asked_at + self.peer.latency))
    }

    fn ends_at(&self, sent: u64, len: u64) -> Option<Duration> {
        Some(
            self.begins_at(sent).filter(|_| self.has_buffer)?
                + Duration::from_micros(len * 1_000_000 / self.peer.bytes_per_s),
        )
    }

    /// Since when its bytes have waited for us, or when they will.
    fn waits_at(&self, sent: u64) -> Option<Duration> {
        self.begins_at(sent).filter(|_| !self.has_buffer)
    }

    fn partial(&self, sent: u64, len: u64, now: Duration) -> u64 {
        let Some(begins_at) = self.begins_at(sent).filter(|_| self.has_buffer) else { return 0 };
        let micros = now.saturating_sub(begins_at).as_micros() as u64;
        len.min(micros * self.peer.bytes_per_s / 1_000_000)
    }

    /// When this connection fails of itself, and why.
    fn fails_at(&self) -> Option<(Duration, &'static str)> {
        if self.breaks_now {
            return Some((self.free_at, "broke off"));
        }
        let dies_at = self.peer.down.0.max(self.opened_at + self.peer.latency);
        let is_dying = dies_at < self.peer.down.1 && self.opened_at < self.peer.down.1;
        let silent = self.asked.front().map(|(_, asked_at)| {
            (self.last_byte_at.max(*asked_at) + limits::ms(limits::SOURCE_SILENCE_MS), "silent")
        });
        is_dying.then_some((dies_at, "reset")).into_iter().chain(silent).min()
    }
}

/// How it ended, and at what cost.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) is_finished: bool,
    pub(super) time: Duration,
    /// Complete pieces that came for nothing: twice or wrong.
    pub(super) wasted: u64,
    /// Of the peers, by their place: right pieces that each brought.
    pub(super) brought: BTreeMap<SocketAddr, u64>,
    pauses_since_progress: u32,
    /// Those that have a part only were enough, and nobody else.
    is_by_parts: bool,
}

/// The simulated node with its swarm.
struct Swarm {
    name: String,
    rng: SmallRng,
    base: Instant,
    now: Duration,
    plan: Plan,
    transfer: Transfer,
    peers: Vec<Peer>,
    links: BTreeMap<SocketAddr, Link>,
    /// Pieces each peer has sent.
    sent: BTreeMap<SocketAddr, u64>,
    /// Being verified: due, piece, right?, from whom.
    verifying: Vec<(Duration, u32, bool, Option<SocketAddr>)>,
    verify_takes: Duration,
    /// What partial peers have told to have, in the last ranking that named them.
    told: BTreeMap<SocketAddr, PieceSet>,
    told_at: Duration,
    /// When the answer to a search comes.
    answer_at: Option<Duration>,
    answer_takes: Duration,
    answers_lost: f64,
    /// Free piece buffers; `None`: one for whatever comes.
    buffers: Option<usize>,
    /// When the piece list is there or has failed once more; nothing is verified before it is there.
    list_at: Option<Duration>,
    list_takes: Duration,
    /// So often it fails before it comes.
    list_fails: u32,
    is_pausing: bool,
    /// How long nothing happened until the machine wanted to look at the clock.
    slept: Option<Duration>,
    done: BTreeSet<u32>,
    outcome: Outcome,
}

impl Swarm {
    fn new(name: String, seed: u64, plan: Plan, peers: Vec<Peer>) -> Swarm {
        let base = clock::now();
        let mut rng = SmallRng::seed_from_u64(seed);
        let there = peers.iter().filter(|peer| peer.offered.0 == Duration::ZERO);
        let ranked: Vec<_> = there.map(|peer| peer.ranked(plan.pieces, Duration::ZERO)).collect();
        let verifying = plan
            .marked
            .iter()
            .map(|piece| {
                (Duration::from_millis(rng.random_range(0..500)), *piece, rng.random_ratio(2, 3), None)
            })
            .collect();
        Swarm {
            name,
            rng,
            base,
            now: Duration::ZERO,
            told: told(&ranked),
            told_at: Duration::ZERO,
            transfer: Transfer::new(plan.clone(), ranked, base),
            plan,
            peers,
            links: BTreeMap::new(),
            sent: BTreeMap::new(),
            verifying,
            verify_takes: limits::ms(limits::VERIFY_WAIT_MS),
            answer_at: None,
            answer_takes: Duration::from_millis(300),
            answers_lost: 0.0,
            buffers: None,
            list_at: None,
            list_takes: Duration::ZERO,
            list_fails: 0,
            is_pausing: false,
            slept: None,
            done: BTreeSet::new(),
            outcome: Outcome::default(),
        }
    }

    /// What those of the last ranking have that had a part then.
    fn tell_parts(&mut self) {
        self.told_at = self.now;
        for source in self.told.keys().copied().collect::<Vec<_>>() {
            let peer = self.peers.iter().find(|peer| peer.endpoint == source && !peer.is_down(self.now));
            let all = || PieceSet::all(self.plan.pieces);
            if let Some(pieces) = peer.map(|peer| peer.has(self.plan.pieces, self.now).unwrap_or_else(all)) {
                self.told.insert(source, pieces.clone());
                self.tell(Event::Has { source, pieces });
            }
        }
    }

    fn len(&self) -> u64 {
        self.plan.piece_len_bytes
    }

    fn sent_by(&self, endpoint: SocketAddr) -> u64 {
        self.sent.get(&endpoint).copied().unwrap_or(0)
    }

    fn tell(&mut self, event: Event) {
        self.transfer.on_event(self.base + self.now, event);
    }

    fn run(mut self) -> Outcome {
        for _ in 0..100_000 {
            let actions = self.transfer.next_actions(self.base + self.now);
            let is_waiting = actions.is_empty();
            let has_just_slept = self.slept.take().is_some_and(|slept| slept < LOOK_AT_END);
            assert!(!(is_waiting && has_just_slept), "{}: woken for nothing at {:?}", self.name, self.now);
            for action in actions {
                self.carry_out(&action);
            }
            self.check();
            if self.outcome.time > Duration::ZERO {
                return self.outcome;
            }
            if is_waiting {
                self.wait();
            }
        }
        panic!("{}: no end in sight at {:?}: {:?}", self.name, self.now, self.transfer);
    }

    fn carry_out(&mut self, action: &Action) {
        let name = &self.name;
        match *action {
            Action::Search => {
                assert!(self.answer_at.is_none() || self.is_pausing, "{name}: a search is under way");
                let is_lost = !self.is_pausing && self.rng.random_bool(self.answers_lost);
                self.answer_at = Some(if is_lost { FOREVER } else { self.now + self.answer_takes });
                self.is_pausing = false;
            }
            Action::Open(endpoint) => {
                assert!(self.links.len() < self.plan.sources_max, "{name}: too many sources");
                let peer = self.peers.iter().find(|peer| peer.endpoint == endpoint);
                let peer = peer.unwrap_or_else(|| panic!("{name}: {endpoint} is nobody")).clone();
                assert!(peer.offered.0 <= self.now, "{name}: {endpoint} has not been offered");
                let up_at = self.now + 2 * peer.latency;
                let link = Link {
                    peer,
                    opened_at: self.now,
                    asked: VecDeque::new(),
                    free_at: up_at,
                    bytes: 0,
                    last_byte_at: up_at,
                    has_buffer: self.buffers.is_none(),
                    breaks_now: false,
                };
                assert!(self.links.insert(endpoint, link).is_none(), "{name}: {endpoint} is open");
            }
            Action::Fetch { source, piece } => {
                assert!(piece < self.plan.pieces, "{name}: there is no piece {piece}");
                assert!(!self.done.contains(&piece), "{name}: piece {piece} is done");
                let has = self.told.get(&source).is_none_or(|has| has.contains(piece));
                assert!(has, "{name}: {source} does not have piece {piece}");
                let is_here = self.verifying.iter().any(|(_, here, ..)| *here == piece);
                assert!(!is_here, "{name}: piece {piece} is being verified");
                let holders =
                    self.links.values().flat_map(|link| &link.asked).filter(|(asked, _)| *asked == piece);
                assert!(
                    holders.count() < limits::SOURCES_PER_PIECE,
                    "{name}: piece {piece} is asked of two already"
                );
                let link =
                    self.links.get_mut(&source).unwrap_or_else(|| panic!("{name}: {source} is closed"));
                assert!(link.asked.iter().all(|(asked, _)| *asked != piece), "{name}: {piece} asked twice");
                link.asked.push_back((piece, self.now));
                assert!(
                    link.asked.len() <= limits::PIECES_ON_THE_WIRE,
                    "{name}: {source} is asked for too much"
                );
                let way = link.peer.latency.max(Duration::from_millis(50));
                let under_way = (u128::from(link.peer.bytes_per_s) * way.as_micros() / 1_000_000) as u64;
                // Its true rate, with some room for how it is measured.
                let enough = (under_way * 5 / 4).div_ceil(self.plan.piece_len_bytes).max(1) + 2;
                assert!(
                    link.asked.len() as u64 <= enough,
                    "{name}: {source} is asked for more than it needs"
                );
            }
            Action::Leave { source, .. } => {
                let link = self.links.remove(&source);
                let link = link.unwrap_or_else(|| panic!("{name}: {source} was not open"));
                self.free(usize::from(link.has_buffer));
            }
            Action::Pause { round, of, pause } => {
                assert!(self.links.is_empty() && self.verifying.is_empty(), "{name}: a pause amid work");
                assert!(
                    (1..=of).contains(&round) && of == self.plan.retries,
                    "{name}: round {round} of {of}"
                );
                assert_eq!(pause, retry_pause(round - 1), "{name}");
                self.is_pausing = true;
                self.outcome.pauses_since_progress += 1;
            }
            Action::Finish | Action::GiveUp => {
                self.outcome.is_finished = *action == Action::Finish;
                self.outcome.time = self.now.max(Duration::from_micros(1));
                let is_whole = self.done.len() == self.plan.pieces as usize;
                assert_eq!(self.outcome.is_finished, is_whole, "{name}: {action:?}");
            }
        }
    }

    fn check(&self) {
        let name = &self.name;
        assert_eq!(self.transfer.done(), self.done.len(), "{name}");
        assert_eq!(self.transfer.sources_in_use(), self.links.len(), "{name}");
        let asked: usize = self.links.values().map(|link| link.asked.len()).sum();
        assert_eq!(self.transfer.on_the_wire(), asked, "{name}");
        for (_, piece, ..) in &self.verifying {
            assert!(!self.transfer.wants(*piece), "{name}: {piece} is being verified");
        }
        // Whatever our buffers or the piece list were busy with.
        for failure in self.transfer.failures() {
            let honest = |peer: &Peer| {
                let is_too_little = peer.part.0 < 100 && failure.why.ends_with("none that is missing here");
                peer.endpoint == failure.source && peer.brings_what_it_has() && !is_too_little
            };
            assert!(!self.peers.iter().any(honest), "{name}: blamed at {:?}: {failure:?}", self.now);
        }
    }

    fn free(&mut self, count: usize) {
        if let Some(buffers) = &mut self.buffers {
            *buffers += count;
        }
    }

    /// Those whose bytes have waited longest get the buffers that are free.
    fn hand_out_buffers(&mut self) {
        let (now, sent) = (self.now, &self.sent);
        let Some(buffers) = &mut self.buffers else { return };
        let sent_by = |link: &Link| sent.get(&link.peer.endpoint).copied().unwrap_or(0);
        let mut waiting: Vec<_> = self
            .links
            .values_mut()
            .filter_map(|link| Some((link.waits_at(sent_by(link)).filter(|at| *at <= now)?, link)))
            .collect();
        waiting.sort_by_key(|(since, _)| *since);
        for (_, link) in waiting.into_iter().take(*buffers) {
            *buffers -= 1;
            (link.has_buffer, link.free_at, link.last_byte_at) = (true, now, now);
        }
    }

    /// Lets time pass until something happens, and tells it.
    fn wait(&mut self) {
        let len = self.len();
        let wake = self.transfer.next_wake(self.base + self.now).map(|at| at - self.base);
        assert!(wake.is_none_or(|at| at > self.now), "{}: a wake-up for nothing", self.name);
        let ends = self.links.values().filter_map(|link| link.ends_at(self.sent_by(link.peer.endpoint), len));
        let fails = self.links.values().filter_map(|link| Some(link.fails_at()?.0));
        let verified = self.verifying.iter().filter(|_| self.list_at.is_none()).map(|(due, ..)| *due);
        let waits = self.links.values().filter_map(|link| link.waits_at(self.sent_by(link.peer.endpoint)));
        let waits = waits.filter(|at| *at > self.now);
        let event =
            ends.chain(fails).chain(verified).chain(waits).chain(self.answer_at).chain(self.list_at).min();
        self.slept = wake.filter(|at| event.is_none_or(|event| *at < event)).map(|at| at - self.now);
        let next = event.into_iter().chain(wake).min().filter(|at| *at < FOREVER);
        let next = next.unwrap_or_else(|| panic!("{}: it waits for nothing: {:?}", self.name, self.transfer));
        self.now = self.now.max(next);

        if self.answer_at.is_some_and(|at| at <= self.now) {
            self.answer_at = None;
            let now = self.now;
            if self.rng.random_bool(self.answers_lost / 2.0) {
                return self.tell(Event::Unranked);
            }
            let there = |peer: &&Peer| peer.offered.0 <= now && now < peer.offered.1 && !peer.is_down(now);
            let there = self.peers.iter().filter(there);
            let ranked: Vec<_> = there.map(|peer| peer.ranked(self.plan.pieces, now)).collect();
            self.told.retain(|source, _| ranked.iter().all(|(one, _)| one.endpoint != *source));
            self.told.extend(told(&ranked));
            self.tell(Event::Ranked(ranked));
        }
        if self.now >= self.told_at + TELL_EVERY {
            self.tell_parts();
        }
        self.list_pieces();
        self.verify();
        self.hand_out_buffers();
        for endpoint in self.links.keys().copied().collect::<Vec<_>>() {
            self.deliver(endpoint);
        }
        self.hand_out_buffers();
    }

    /// The piece list comes, or fails: then what has arrived is thrown away, and it is asked for again.
    fn list_pieces(&mut self) {
        if self.list_at.is_none_or(|at| at > self.now) {
            return;
        }
        self.list_at = (self.list_fails > 0).then_some(self.now + self.list_takes);
        if self.list_at.is_some() {
            self.list_fails -= 1;
            for (_, piece, _, from) in std::mem::take(&mut self.verifying) {
                self.free(usize::from(from.is_some()));
                self.tell(Event::Dropped { piece });
            }
        }
    }

    fn verify(&mut self) {
        let now = self.now;
        let has_list = self.list_at.is_none();
        let due: Vec<_> = self.verifying.extract_if(.., |one| has_list && one.0 <= now).collect();
        for (_, piece, is_right, from) in due {
            self.free(usize::from(from.is_some()));
            if is_right {
                assert!(self.done.insert(piece), "{}: {piece} done twice", self.name);
                if let Some(from) = from {
                    self.outcome.pauses_since_progress = 0;
                    *self.outcome.brought.entry(from).or_default() += 1;
                }
                self.tell(Event::Verified { piece });
            } else {
                self.outcome.wasted += if from.is_some() { self.len() } else { 0 };
                self.tell(Event::Wrong { piece, why: "wrong bytes".into() });
            }
        }
    }

    /// What has happened on one connection up to now.
    fn deliver(&mut self, endpoint: SocketAddr) {
        let (len, now, sent) = (self.len(), self.now, self.sent_by(endpoint));
        let Some(link) = self.links.get_mut(&endpoint) else { return };
        let partial = link.partial(sent, len, now);
        let waits_for_us = link.waits_at(sent).is_some_and(|at| at <= now);
        if waits_for_us {
            link.last_byte_at = now;
        }
        if partial > 0 {
            link.last_byte_at = now.min(link.ends_at(sent, len).unwrap_or(now));
        }
        let received = Event::Received {
            source: endpoint,
            bytes: link.bytes + partial,
            held_back: Duration::ZERO,
            waits_for_us,
        };
        if let Some(ends_at) = link.ends_at(sent, len).filter(|at| *at <= now) {
            let (piece, _) = link.asked.pop_front().expect("it ends");
            link.free_at = ends_at;
            if let Some(told) = self.told.get_mut(&endpoint)
                && self.rng.random_bool(link.peer.lacks)
            {
                *told = PieceSet::none(told.count());
                link.has_buffer = self.buffers.is_none();
                self.free(1);
                return self.tell(Event::Lacks { source: endpoint, piece });
            }
            link.bytes += len;
            link.has_buffer = self.buffers.is_none();
            link.breaks_now = self.rng.random_bool(link.peer.breaks_off);
            let is_right = !self.rng.random_bool(link.peer.lies);
            self.sent.insert(endpoint, sent + 1);
            match self.transfer.wants(piece) {
                true => {
                    // Those that arrive while some wait are verified with them, a full batch at once.
                    let fetched = || self.verifying.iter().filter(|(.., from)| from.is_some());
                    let is_full = fetched().count() + 1 >= limits::VERIFY_BATCH;
                    let due = fetched().map(|(due, ..)| *due).min().unwrap_or(now + self.verify_takes);
                    self.verifying.push((due, piece, is_right, Some(endpoint)));
                    for (due, ..) in self.verifying.iter_mut().filter(|(.., from)| is_full && from.is_some())
                    {
                        *due = now;
                    }
                }
                false => {
                    self.outcome.wasted += len;
                    self.free(1);
                }
            }
            self.tell(received);
            self.tell(Event::Arrived { source: endpoint, piece });
            return;
        }
        let failure = link.fails_at().filter(|(at, _)| *at <= now);
        self.tell(received);
        if let Some((_, why)) = failure {
            self.tell(Event::Failed { source: endpoint, why: why.to_owned(), by_digest: false });
        }
    }
}

/// What they tell who have a part only.
fn told(ranked: &[Ranked]) -> BTreeMap<SocketAddr, PieceSet> {
    ranked.iter().filter_map(|(one, has)| Some((one.endpoint, has.clone()?))).collect()
}

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

/// True if those that bring what they have, each a part only, have everything together: from the beginning, or so steadily more that they
/// are worth waiting for.
fn are_enough_together(peers: &[Peer], pieces: u32, answers_lost: f64) -> bool {
    let parts = || peers.iter().filter(|peer| peer.part.0 < 100 && peer.brings_what_it_has());
    let has = |peer: &Peer| peer.has(pieces, Duration::ZERO).unwrap_or_else(|| PieceSet::all(pieces));
    let is_had = |piece| parts().any(|peer| has(peer).contains(piece));
    let grows = |peer: &Peer| peer.part.1 > 0 && pieces >= 16;
    pieces > 0 && ((0..pieces).all(is_had) || answers_lost == 0.0 && parts().any(grows))
}

/// One random swarm and download; asserts what must hold at the end.
fn survive(seed: u64) -> Outcome {
    let mut rng = SmallRng::seed_from_u64(seed);
    let count = rng.random_range(0..=6);
    let mut peers: Vec<_> = (0..count).map(|number| Peer::random(&mut rng, number)).collect();
    if rng.random_ratio(1, 6) {
        // Nobody has everything yet.
        peers.iter_mut().for_each(|peer| peer.part.0 = peer.part.0.min(rng.random_range(0..100)));
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
        // As a node does, so that some are left for others where one fills slowly.
        plan.sources_max = plan.sources_max.min(buffers.div_ceil(2));
    }
    let is_list_late = rng.random_ratio(1, 2);
    let list_takes_ms = *[500, 30_000].choose(&mut rng).expect("some");
    let list_takes = Duration::from_millis(rng.random_range(0..=list_takes_ms));
    let list_fails = if is_list_late { *[0, 0, 1, 3].choose(&mut rng).expect("some") } else { 0 };

    // What one brings before it breaks off is nothing if it is thrown away.
    let is_enough = |peer: &Peer| list_fails == 0 && peer.brings_something_each_time();
    let must_finish = has_honest
        || are_enough_together(&peers, pieces, answers_lost)
        || plan.retries > 0 && peers.iter().any(is_enough);
    let mut swarm = Swarm::new(format!("seed {seed}"), seed, plan.clone(), peers.clone());
    (swarm.verify_takes, swarm.answers_lost, swarm.buffers) = (verify_takes, answers_lost, buffers);
    (swarm.list_at, swarm.list_takes) = (is_list_late.then_some(list_takes), list_takes);
    swarm.list_fails = list_fails;
    let mut outcome = swarm.run();
    outcome.is_by_parts = !has_honest && are_enough_together(&peers, pieces, answers_lost);

    assert!(outcome.is_finished || !must_finish, "seed {seed}: gave up, {plan:?} {peers:?} {outcome:?}");
    if !outcome.is_finished {
        assert_eq!(outcome.pauses_since_progress, plan.retries, "seed {seed}: gave up too soon or late");
    }
    assert!(outcome.time < Duration::from_secs(8 * 3600), "seed {seed}: took {:?}", outcome.time);
    if has_honest {
        let size = u64::from(pieces) * plan.piece_len_bytes;
        // Before the first verdict on a liar a full batch of its pieces can have come, before the list as much as there is room for.
        let unseen = if is_list_late { buffers.unwrap_or(usize::MAX).min(pieces as usize) } else { 0 };
        let unseen = unseen.max(limits::VERIFY_BATCH) as u64;
        let spent = |peer: &Peer| if peer.lies > 0.0 { unseen } else { 2 };
        let allowed = size / 4 + peers.iter().map(spent).sum::<u64>() * plan.piece_len_bytes;
        assert!(outcome.wasted <= allowed, "seed {seed}: wasted {} of {size}", outcome.wasted);
    }
    outcome
}

fn survive_all(seeds: std::ops::Range<u64>) {
    let outcomes: Vec<_> = seeds.map(survive).collect();
    let finished = outcomes.iter().filter(|outcome| outcome.is_finished).count();
    let wasteful = outcomes.iter().filter(|outcome| outcome.wasted > 0).count();
    assert!(
        finished > outcomes.len() / 2 && finished < outcomes.len() * 19 / 20,
        "too tame: {finished} finished"
    );
    assert!(wasteful > outcomes.len() / 50, "too tame: {wasteful} wasted anything");
    let by_parts = outcomes.iter().filter(|outcome| outcome.is_by_parts).count();
    assert!(by_parts > outcomes.len() / 50, "too tame: {by_parts} by parts alone");
}

// Two tests, for two cores.
#[test]
fn five_thousand_random_swarms_end_with_the_right_bytes_or_the_right_error() {
    survive_all(0..5_000);
}

#[test]
fn another_five_thousand_random_swarms_do() {
    survive_all(5_000..10_000);
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

/// What others have does not keep the one away that has the rest.
#[test]
fn what_near_ones_have_in_common_does_not_hold_up_the_rest() {
    let ms = Duration::from_millis;
    // The same half.
    let mut peers: Vec<_> = [100, 200, 300].map(|number| Peer::honest(number, ms(1), 20_000_000)).to_vec();
    peers.iter_mut().for_each(|peer| peer.part = (50, 0));
    let far = Peer::honest(3, ms(300), 20_000_000);
    let alone = Swarm::new("the far one alone".into(), 0, plan(120), vec![far.clone()]).run();
    peers.push(far);
    let outcome = Swarm::new("a half in common".into(), 0, Plan { sources_max: 3, ..plan(240) }, peers).run();
    // Half of them come from the far one, which has begun at once.
    assert!(
        outcome.is_finished && outcome.time < alone.time + ms(500),
        "{:?}, {:?}",
        outcome.time,
        alone.time
    );
}

#[test]
fn a_part_that_grows_slowly_is_enough() {
    for growth in [1, 10] {
        let mut peer = Peer::honest(0, Duration::from_millis(1), 20_000_000);
        peer.part = (10, growth);
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
fn a_source_that_breaks_off_after_every_piece_still_brings_all() {
    let mut peer = Peer::honest(0, Duration::from_millis(1), 10_000_000);
    peer.breaks_off = 1.0;
    let outcome = Swarm::new("breaks off".into(), 0, Plan { retries: 1, ..plan(20) }, vec![peer]).run();
    assert_eq!((outcome.is_finished, outcome.wasted), (true, 0));
}

/// One of four lies in a twentieth of its pieces.
#[test]
fn a_liar_costs_little() {
    for seed in 0..50 {
        let mut peers: Vec<_> =
            (0..4).map(|n| Peer::honest(n, Duration::from_millis(1), 20_000_000)).collect();
        peers[0].lies = 0.05;
        let outcome = Swarm::new(format!("liar, seed {seed}"), seed, plan(256), peers).run();
        assert!(outcome.is_finished && outcome.wasted <= 2 * 8 * MIB, "seed {seed}: {}", outcome.wasted);
    }
}
