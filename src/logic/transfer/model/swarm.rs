//! The simulated node with its swarm, in virtual time: carries out what the machine says, and asserts after
//! every step what must never happen.

use super::*;

/// How it ended, and at what cost.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) is_finished: bool,
    pub(super) time: Duration,
    /// Complete pieces that came for nothing: twice or wrong.
    pub(super) wasted: u64,
    /// Of the peers, by their place: right pieces that each brought.
    pub(super) brought: BTreeMap<SocketAddr, u64>,
    pub(super) pauses_since_progress: u32,
    /// Those that have a part only were enough, and nobody else.
    pub(super) is_by_parts: bool,
}

/// The simulated node with its swarm.
pub(super) struct Swarm {
    pub(super) name: String,
    pub(super) rng: SmallRng,
    pub(super) base: Instant,
    pub(super) now: Duration,
    pub(super) plan: Plan,
    pub(super) transfer: Transfer,
    pub(super) peers: Vec<Peer>,
    pub(super) links: BTreeMap<SocketAddr, Link>,
    /// Pieces each peer has sent.
    pub(super) sent: BTreeMap<SocketAddr, u64>,
    /// Being verified: due, piece, right?, from whom.
    pub(super) verifying: Vec<(Duration, u32, bool, Option<SocketAddr>)>,
    pub(super) verify_takes: Duration,
    /// What partial peers have told to have, in the last ranking that named them.
    pub(super) known_pieces: BTreeMap<SocketAddr, PieceSet>,
    pub(super) updated_at: Duration,
    /// When the answer to a search comes.
    pub(super) answer_at: Option<Duration>,
    pub(super) answer_takes: Duration,
    pub(super) answers_lost: f64,
    /// Free piece buffers; `None`: one for whatever comes.
    pub(super) buffers: Option<usize>,
    /// When the piece list is there or has failed once more; nothing is verified before it is there.
    pub(super) list_at: Option<Duration>,
    pub(super) list_takes: Duration,
    /// So often it fails before it comes.
    pub(super) list_fails: u32,
    pub(super) is_pausing: bool,
    /// How long nothing happened until the machine wanted to look at the clock.
    pub(super) slept: Option<Duration>,
    pub(super) done: BTreeSet<u32>,
    pub(super) outcome: Outcome,
}

impl Swarm {
    pub(super) fn new(name: String, seed: u64, plan: Plan, peers: Vec<Peer>) -> Swarm {
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
            known_pieces: known_pieces(&ranked),
            updated_at: Duration::ZERO,
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
    pub(super) fn tell_parts(&mut self) {
        self.updated_at = self.now;
        for source in self.known_pieces.keys().copied().collect::<Vec<_>>() {
            let peer = self.peers.iter().find(|peer| peer.endpoint == source && !peer.is_down(self.now));
            let all = || PieceSet::all(self.plan.pieces);
            if let Some(pieces) = peer.map(|peer| peer.has(self.plan.pieces, self.now).unwrap_or_else(all)) {
                self.known_pieces.insert(source, pieces.clone());
                self.record_pieces(Event::Has { source, pieces });
            }
        }
    }

    pub(super) fn len(&self) -> u64 {
        self.plan.piece_len_bytes
    }

    pub(super) fn sent_by(&self, endpoint: SocketAddr) -> u64 {
        self.sent.get(&endpoint).copied().unwrap_or(0)
    }

    pub(super) fn record_pieces(&mut self, event: Event) {
        self.transfer.on_event(self.base + self.now, event);
    }

    pub(super) fn run(mut self) -> Outcome {
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

    pub(super) fn carry_out(&mut self, action: &Action) {
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
                    requested: VecDeque::new(),
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
                let has = self.known_pieces.get(&source).is_none_or(|has| has.contains(piece));
                assert!(has, "{name}: {source} does not have piece {piece}");
                let is_here = self.verifying.iter().any(|(_, here, ..)| *here == piece);
                assert!(!is_here, "{name}: piece {piece} is being verified");
                let holders = self
                    .links
                    .values()
                    .flat_map(|link| &link.requested)
                    .filter(|(requested, _)| *requested == piece);
                assert!(
                    holders.count() < limits::SOURCES_PER_PIECE,
                    "{name}: piece {piece} is asked of two already"
                );
                let link =
                    self.links.get_mut(&source).unwrap_or_else(|| panic!("{name}: {source} is closed"));
                assert!(
                    link.requested.iter().all(|(requested, _)| *requested != piece),
                    "{name}: {piece} asked twice"
                );
                link.requested.push_back((piece, self.now));
                assert!(
                    link.requested.len() <= limits::PIECES_ON_THE_WIRE,
                    "{name}: {source} is asked for too much"
                );
                let way = link.peer.latency.max(Duration::from_millis(50));
                let under_way = (u128::from(link.peer.bytes_per_s) * way.as_micros() / 1_000_000) as u64;
                // Its true rate, with some room for how it is measured.
                let enough = (under_way * 5 / 4).div_ceil(self.plan.piece_len_bytes).max(1) + 2;
                assert!(
                    link.requested.len() as u64 <= enough,
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

    pub(super) fn check(&self) {
        let name = &self.name;
        assert_eq!(self.transfer.done(), self.done.len(), "{name}");
        assert_eq!(self.transfer.sources_in_use(), self.links.len(), "{name}");
        let requested: usize = self.links.values().map(|link| link.requested.len()).sum();
        assert_eq!(self.transfer.on_the_wire(), requested, "{name}");
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

    pub(super) fn free(&mut self, count: usize) {
        if let Some(buffers) = &mut self.buffers {
            *buffers += count;
        }
    }

    /// Those whose bytes have waited longest get the buffers that are free.
    pub(super) fn hand_out_buffers(&mut self) {
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
    pub(super) fn wait(&mut self) {
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
                return self.record_pieces(Event::Unranked);
            }
            let there = |peer: &&Peer| peer.offered.0 <= now && now < peer.offered.1 && !peer.is_down(now);
            let there = self.peers.iter().filter(there);
            let ranked: Vec<_> = there.map(|peer| peer.ranked(self.plan.pieces, now)).collect();
            self.known_pieces.retain(|source, _| ranked.iter().all(|(one, _)| one.endpoint != *source));
            self.known_pieces.extend(known_pieces(&ranked));
            self.record_pieces(Event::Ranked(ranked));
        }
        if self.now >= self.updated_at + TELL_EVERY {
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
    pub(super) fn list_pieces(&mut self) {
        if self.list_at.is_none_or(|at| at > self.now) {
            return;
        }
        self.list_at = (self.list_fails > 0).then_some(self.now + self.list_takes);
        if self.list_at.is_some() {
            self.list_fails -= 1;
            for (_, piece, _, from) in std::mem::take(&mut self.verifying) {
                self.free(usize::from(from.is_some()));
                self.record_pieces(Event::Dropped { piece });
            }
        }
    }

    pub(super) fn verify(&mut self) {
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
                self.record_pieces(Event::Verified { piece });
            } else {
                self.outcome.wasted += if from.is_some() { self.len() } else { 0 };
                self.record_pieces(Event::Wrong { piece, why: "wrong bytes".into() });
            }
        }
    }

    /// What has happened on one connection up to now.
    pub(super) fn deliver(&mut self, endpoint: SocketAddr) {
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
            let (piece, _) = link.requested.pop_front().expect("it ends");
            link.free_at = ends_at;
            if let Some(known_pieces) = self.known_pieces.get_mut(&endpoint)
                && self.rng.random_bool(link.peer.lacks)
            {
                *known_pieces = PieceSet::none(known_pieces.count());
                link.has_buffer = self.buffers.is_none();
                self.free(1);
                return self.record_pieces(Event::Lacks { source: endpoint, piece });
            }
            link.bytes += len;
            link.has_buffer = self.buffers.is_none();
            link.breaks_now = self.rng.random_bool(link.peer.breaks_off);
            let is_right = !self.rng.random_bool(link.peer.lies);
            self.sent.insert(endpoint, sent + 1);
            if self.transfer.wants(piece) {
                // Those that arrive while some wait are verified with them, a full batch at once.
                let fetched = || self.verifying.iter().filter(|(.., from)| from.is_some());
                let is_full = fetched().count() + 1 >= limits::VERIFY_BATCH;
                let due = fetched().map(|(due, ..)| *due).min().unwrap_or(now + self.verify_takes);
                self.verifying.push((due, piece, is_right, Some(endpoint)));
                for (due, ..) in self.verifying.iter_mut().filter(|(.., from)| is_full && from.is_some()) {
                    *due = now;
                }
            } else {
                self.outcome.wasted += len;
                self.free(1);
            }
            self.record_pieces(received);
            self.record_pieces(Event::Arrived { source: endpoint, piece });
            return;
        }
        let failure = link.fails_at().filter(|(at, _)| *at <= now);
        self.record_pieces(received);
        if let Some((_, why)) = failure {
            self.record_pieces(Event::Failed { source: endpoint, why: why.to_owned(), by_digest: false });
        }
    }
}

/// What they tell who have a part only.
fn known_pieces(ranked: &[RankedSource]) -> BTreeMap<SocketAddr, PieceSet> {
    ranked.iter().filter_map(|(one, has)| Some((one.endpoint, has.clone()?))).collect()
}
