//! The simulated node with its swarm, in virtual time: it executes the actions of the machine, and asserts
//! after every step what must always hold.

use super::*;

/// The end of a download, and its cost.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) is_finished: bool,
    pub(super) time: Duration,
    /// Bytes of complete pieces that came twice or were wrong.
    pub(super) wasted: u64,
    /// The number of right pieces that each peer sent.
    pub(super) sent_right: BTreeMap<SocketAddr, u64>,
    pub(super) pauses_since_progress: u32,
    /// Only the partial peers together had all pieces.
    pub(super) is_from_partial_peers: bool,
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
    /// The number of pieces that each peer has sent.
    pub(super) sent: BTreeMap<SocketAddr, u64>,
    pub(super) verifying: Vec<Verification>,
    pub(super) verify_takes: Duration,
    /// The pieces that each partial peer has reported last.
    pub(super) known_pieces: BTreeMap<SocketAddr, PieceSet>,
    pub(super) reported_at: Duration,
    /// When the answer to the search under way comes.
    pub(super) answer_at: Option<Duration>,
    pub(super) answer_takes: Duration,
    pub(super) answers_lost: f64,
    /// Number of free piece buffers; `None`: unlimited.
    pub(super) buffers: Option<usize>,
    /// When the manifest arrives or fails; `None`: it has arrived. Before that, nothing is verified.
    pub(super) manifest_at: Option<Duration>,
    pub(super) manifest_takes: Duration,
    /// How often the manifest still fails before it arrives.
    pub(super) manifest_fails: u32,
    pub(super) is_pausing: bool,
    /// The last wait, if no event but the time of `next_wake` ended it.
    pub(super) slept: Option<Duration>,
    pub(super) done: BTreeSet<u32>,
    pub(super) outcome: Outcome,
}

/// A piece that is being verified.
#[derive(Debug)]
pub(super) struct Verification {
    due: Duration,
    piece: u32,
    is_right: bool,
    /// The peer that sent it; `None`: an earlier download left it.
    sender: Option<SocketAddr>,
}

impl Swarm {
    pub(super) fn new(name: String, seed: u64, plan: Plan, peers: Vec<Peer>) -> Swarm {
        let base = clock::now();
        let mut rng = SmallRng::seed_from_u64(seed);
        let there = peers.iter().filter(|peer| peer.offered.start == Duration::ZERO);
        let ranked: Vec<_> = there.map(|peer| peer.ranked(plan.pieces, Duration::ZERO)).collect();
        let verifying = plan
            .marked
            .iter()
            .map(|piece| Verification {
                due: Duration::from_millis(rng.random_range(0..500)),
                piece: *piece,
                is_right: rng.random_ratio(2, 3),
                sender: None,
            })
            .collect();
        Swarm {
            name,
            rng,
            base,
            now: Duration::ZERO,
            known_pieces: known_pieces(&ranked),
            reported_at: Duration::ZERO,
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
            manifest_at: None,
            manifest_takes: Duration::ZERO,
            manifest_fails: 0,
            is_pausing: false,
            slept: None,
            done: BTreeSet::new(),
            outcome: Outcome::default(),
        }
    }

    /// The peers that were partial in their last ranking report their pieces.
    pub(super) fn report_pieces(&mut self) {
        self.reported_at = self.now;
        for source in self.known_pieces.keys().copied().collect::<Vec<_>>() {
            let peer = self.peers.iter().find(|peer| peer.endpoint == source && !peer.is_down(self.now));
            let all = || PieceSet::all(self.plan.pieces);
            if let Some(pieces) = peer.map(|peer| peer.has(self.plan.pieces, self.now).unwrap_or_else(all)) {
                self.known_pieces.insert(source, pieces.clone());
                self.report(Event::HasPieces { source, pieces });
            }
        }
    }

    pub(super) fn len(&self) -> u64 {
        self.plan.piece_len_bytes
    }

    pub(super) fn sent_by(&self, endpoint: SocketAddr) -> u64 {
        self.sent.get(&endpoint).copied().unwrap_or(0)
    }

    pub(super) fn report(&mut self, event: Event) {
        self.transfer.on_event(self.base + self.now, event);
    }

    pub(super) fn run(mut self) -> Outcome {
        for _ in 0..100_000 {
            let actions = self.transfer.next_actions(self.base + self.now);
            let is_waiting = actions.is_empty();
            let has_just_slept = self.slept.take().is_some_and(|slept| slept < RATE_CHECK_AT_END);
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
                let peer = peer.unwrap_or_else(|| panic!("{name}: {endpoint} is not a peer")).clone();
                assert!(peer.offered.start <= self.now, "{name}: {endpoint} has not been offered");
                let up_at = self.now + 2 * peer.latency;
                let link = Link {
                    peer,
                    opened_at: self.now,
                    requested: VecDeque::new(),
                    free_at: up_at,
                    bytes: 0,
                    last_byte_at: up_at,
                    has_buffer: self.buffers.is_none(),
                    breaks_after_this: false,
                };
                assert!(self.links.insert(endpoint, link).is_none(), "{name}: {endpoint} is open");
            }
            Action::Fetch { source, piece } => {
                assert!(piece < self.plan.pieces, "{name}: there is no piece {piece}");
                assert!(!self.done.contains(&piece), "{name}: piece {piece} is done");
                let has = self.known_pieces.get(&source).is_none_or(|has| has.contains(piece));
                assert!(has, "{name}: {source} does not have piece {piece}");
                let is_being_verified = self.verifying.iter().any(|one| one.piece == piece);
                assert!(!is_being_verified, "{name}: piece {piece} is being verified");
                let holders = self
                    .links
                    .values()
                    .flat_map(|link| &link.requested)
                    .filter(|(requested, _)| *requested == piece);
                assert!(
                    holders.count() < limits::SOURCES_PER_PIECE,
                    "{name}: piece {piece} is requested from two already"
                );
                let link =
                    self.links.get_mut(&source).unwrap_or_else(|| panic!("{name}: {source} is closed"));
                assert!(
                    link.requested.iter().all(|(requested, _)| *requested != piece),
                    "{name}: {piece} is requested twice"
                );
                link.requested.push_back((piece, self.now));
                assert!(
                    link.requested.len() <= limits::PIECES_ON_THE_WIRE,
                    "{name}: too much is requested from {source}"
                );
                let way = link.peer.latency.max(Duration::from_millis(50));
                let under_way = (u128::from(link.peer.bytes_per_s) * way.as_micros() / 1_000_000) as u64;
                // The machine measures the rate: some pieces more are allowed.
                let enough = (under_way * 5 / 4).div_ceil(self.plan.piece_len_bytes).max(1) + 2;
                assert!(
                    link.requested.len() as u64 <= enough,
                    "{name}: more is requested from {source} than its rate needs"
                );
            }
            Action::Leave { source, .. } => {
                let link = self.links.remove(&source);
                let link = link.unwrap_or_else(|| panic!("{name}: {source} was not open"));
                self.free(usize::from(link.has_buffer));
            }
            Action::Pause { round, of, pause } => {
                assert!(self.links.is_empty() && self.verifying.is_empty(), "{name}: a pause during work");
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
        assert_eq!(self.transfer.in_flight(), requested, "{name}");
        for Verification { piece, .. } in &self.verifying {
            assert!(!self.transfer.wants(*piece), "{name}: {piece} is being verified");
        }
        // Neither a lack of buffers nor of the manifest may look like a fault of an honest peer.
        for failure in self.transfer.failures() {
            let honest = |peer: &Peer| {
                let is_too_little =
                    peer.part.percent < 100 && failure.why.ends_with("none that is missing here");
                peer.endpoint == failure.source && peer.sends_what_it_reports() && !is_too_little
            };
            assert!(!self.peers.iter().any(honest), "{name}: blamed at {:?}: {failure:?}", self.now);
        }
    }

    pub(super) fn free(&mut self, count: usize) {
        if let Some(buffers) = &mut self.buffers {
            *buffers += count;
        }
    }

    /// The connections whose bytes have waited longest get the free buffers.
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

    /// Moves the time to the next event, and reports what has happened.
    pub(super) fn wait(&mut self) {
        let len = self.len();
        let wake = self.transfer.next_wake(self.base + self.now).map(|at| at - self.base);
        assert!(wake.is_none_or(|at| at > self.now), "{}: a wake-up for nothing", self.name);
        let ends = self.links.values().filter_map(|link| link.ends_at(self.sent_by(link.peer.endpoint), len));
        let fails = self.links.values().filter_map(|link| Some(link.fails_at()?.0));
        let verified = self.verifying.iter().filter(|_| self.manifest_at.is_none()).map(|one| one.due);
        let waits = self.links.values().filter_map(|link| link.waits_at(self.sent_by(link.peer.endpoint)));
        let waits = waits.filter(|at| *at > self.now);
        let event = ends
            .chain(fails)
            .chain(verified)
            .chain(waits)
            .chain(self.answer_at)
            .chain(self.manifest_at)
            .min();
        self.slept = wake.filter(|at| event.is_none_or(|event| *at < event)).map(|at| at - self.now);
        let next = event.into_iter().chain(wake).min().filter(|at| *at < FOREVER);
        let next =
            next.unwrap_or_else(|| panic!("{}: nothing will ever happen: {:?}", self.name, self.transfer));
        self.now = self.now.max(next);

        if self.answer_at.is_some_and(|at| at <= self.now) {
            self.answer_at = None;
            let now = self.now;
            if self.rng.random_bool(self.answers_lost / 2.0) {
                return self.report(Event::Unranked);
            }
            let is_live =
                |peer: &&Peer| peer.offered.start <= now && now < peer.offered.end && !peer.is_down(now);
            let live = self.peers.iter().filter(is_live);
            let ranked: Vec<_> = live.map(|peer| peer.ranked(self.plan.pieces, now)).collect();
            self.known_pieces.retain(|source, _| ranked.iter().all(|(one, _)| one.endpoint != *source));
            self.known_pieces.extend(known_pieces(&ranked));
            self.report(Event::Ranked(ranked));
        }
        if self.now >= self.reported_at + REPORT_EVERY {
            self.report_pieces();
        }
        self.receive_manifest();
        self.verify();
        self.hand_out_buffers();
        for endpoint in self.links.keys().copied().collect::<Vec<_>>() {
            self.deliver(endpoint);
        }
        self.hand_out_buffers();
    }

    /// The manifest arrives, or fails. If it fails, the pieces that have arrived are dropped and it is
    /// requested again.
    pub(super) fn receive_manifest(&mut self) {
        if self.manifest_at.is_none_or(|at| at > self.now) {
            return;
        }
        self.manifest_at = (self.manifest_fails > 0).then_some(self.now + self.manifest_takes);
        if self.manifest_at.is_some() {
            self.manifest_fails -= 1;
            for Verification { piece, sender, .. } in std::mem::take(&mut self.verifying) {
                self.free(usize::from(sender.is_some()));
                self.report(Event::Dropped { piece });
            }
        }
    }

    pub(super) fn verify(&mut self) {
        let now = self.now;
        let has_manifest = self.manifest_at.is_none();
        let due: Vec<_> = self.verifying.extract_if(.., |one| has_manifest && one.due <= now).collect();
        for Verification { piece, is_right, sender, .. } in due {
            self.free(usize::from(sender.is_some()));
            if is_right {
                assert!(self.done.insert(piece), "{}: {piece} done twice", self.name);
                if let Some(sender) = sender {
                    self.outcome.pauses_since_progress = 0;
                    *self.outcome.sent_right.entry(sender).or_default() += 1;
                }
                self.report(Event::Verified { piece });
            } else {
                self.outcome.wasted += if sender.is_some() { self.len() } else { 0 };
                self.report(Event::Wrong { piece, why: "wrong bytes".into() });
            }
        }
    }

    /// Reports what has happened on one connection up to now.
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
            reply_delay: Duration::ZERO,
            waits_for_us,
        };
        if let Some(ends_at) = link.ends_at(sent, len).filter(|at| *at <= now) {
            let (piece, _) = link.requested.pop_front().expect("a piece ends");
            link.free_at = ends_at;
            if let Some(known_pieces) = self.known_pieces.get_mut(&endpoint)
                && self.rng.random_bool(link.peer.lacks)
            {
                *known_pieces = PieceSet::none(known_pieces.count());
                link.has_buffer = self.buffers.is_none();
                self.free(1);
                return self.report(Event::LacksPiece { source: endpoint, piece });
            }
            link.bytes += len;
            link.has_buffer = self.buffers.is_none();
            link.breaks_after_this = self.rng.random_bool(link.peer.breaks_off);
            let is_right = !self.rng.random_bool(link.peer.lies);
            self.sent.insert(endpoint, sent + 1);
            if self.transfer.wants(piece) {
                // Pieces that arrive while others wait are verified with them. A full batch is verified at
                // once.
                let fetched = || self.verifying.iter().filter(|one| one.sender.is_some());
                let is_full = fetched().count() + 1 >= limits::VERIFY_BATCH;
                let due = fetched().map(|one| one.due).min().unwrap_or(now + self.verify_takes);
                self.verifying.push(Verification { due, piece, is_right, sender: Some(endpoint) });
                for one in self.verifying.iter_mut().filter(|one| is_full && one.sender.is_some()) {
                    one.due = now;
                }
            } else {
                self.outcome.wasted += len;
                self.free(1);
            }
            self.report(received);
            self.report(Event::Arrived { source: endpoint, piece });
            return;
        }
        let failure = link.fails_at().filter(|(at, _)| *at <= now);
        self.report(received);
        if let Some((_, why)) = failure {
            self.report(Event::Failed { source: endpoint, why: why.to_owned(), sent_wrong_data: false });
        }
    }
}

/// The partial peers in a ranking, with their pieces.
fn known_pieces(ranked: &[RankedSource]) -> BTreeMap<SocketAddr, PieceSet> {
    ranked.iter().filter_map(|(one, has)| Some((one.endpoint, has.clone()?))).collect()
}
