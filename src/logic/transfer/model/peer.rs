//! A peer of the simulated swarm, and a connection to it.

use std::ops::Range;

use super::*;

/// The pieces that a peer has, in percent of all, and how many more it gets each second.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part {
    pub(super) percent: u64,
    pub(super) growth_per_s: u64,
}

/// How one peer behaves.
#[derive(Debug, Clone)]
pub(super) struct Peer {
    pub(super) endpoint: SocketAddr,
    /// Of a request and its reply together.
    pub(super) latency: Duration,
    pub(super) bytes_per_s: u64,
    pub(super) load: u32,
    /// The probability that a piece is wrong.
    pub(super) lies: f64,
    /// The probability that it closes the connection after a piece.
    pub(super) breaks_off: f64,
    /// After this number of pieces it is silent for ever.
    pub(super) stalls_after: u64,
    /// When rankings name it.
    pub(super) offered: Range<Duration>,
    /// When it is down, though rankings may name it.
    pub(super) down: Range<Duration>,
    pub(super) part: Part,
    /// The probability that it lacks a requested piece that it had reported.
    pub(super) lacks: f64,
}

impl Peer {
    pub(super) fn honest(number: u16, latency: Duration, bytes_per_s: u64) -> Peer {
        Peer {
            endpoint: source(number),
            latency,
            bytes_per_s,
            load: 0,
            lies: 0.0,
            breaks_off: 0.0,
            stalls_after: u64::MAX,
            offered: Duration::ZERO..FOREVER,
            down: FOREVER..FOREVER,
            part: Part { percent: 100, growth_per_s: 0 },
            lacks: 0.0,
        }
    }

    /// A random peer. Some are honest, most have a fault.
    pub(super) fn random(rng: &mut SmallRng, number: u16) -> Peer {
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
                peer.down = from..if rng.random() { FOREVER } else { from + time(rng) };
            }
            3 => peer.breaks_off = *[0.1, 0.5, 1.0].choose(rng).expect("some"),
            4 => peer.offered.start = time(rng),
            5 => peer.offered.end = time(rng),
            6 => peer.bytes_per_s = *[0, 10 * KIB].choose(rng).expect("some"),
            _ => {}
        }
        if rng.random_ratio(1, 3) {
            peer.part = Part {
                percent: rng.random_range(0..100),
                growth_per_s: *[0, 0, 1, 10].choose(rng).expect("some"),
            };
            peer.lacks = *[0.0, 0.0, 0.1, 1.0].choose(rng).expect("some");
        }
        peer
    }

    /// It has all pieces, and sends them.
    pub(super) fn is_honest(&self) -> bool {
        self.part.percent >= 100 && self.sends_what_it_reports()
    }

    /// It sends every piece that it reports.
    pub(super) fn sends_what_it_reports(&self) -> bool {
        self.lies == 0.0
            && self.breaks_off == 0.0
            && self.lacks == 0.0
            && self.is_always_up()
            && self.bytes_per_s >= MIB
    }

    /// It alone suffices if there is a retry after each round.
    pub(super) fn sends_something_in_each_round(&self) -> bool {
        self.part.percent >= 100 && self.lies == 0.0 && self.is_always_up() && self.bytes_per_s >= MIB
    }

    /// The pieces that it reports at a time; `None`: all.
    pub(super) fn has(&self, pieces: u32, at: Duration) -> Option<PieceSet> {
        let part = self.part.percent + self.part.growth_per_s * at.as_secs().min(100);
        // Different peers have different pieces.
        let is_held =
            |piece: &u32| (u64::from(*piece) * 61 + u64::from(self.endpoint.port()) * 17) % 100 < part;
        let mut has = PieceSet::none(pieces);
        (0..pieces).filter(is_held).for_each(|piece| has.set(piece, true));
        (part < 100).then_some(has)
    }

    pub(super) fn is_always_up(&self) -> bool {
        self.stalls_after == u64::MAX
            && self.offered == (Duration::ZERO..FOREVER)
            && self.down == (FOREVER..FOREVER)
    }

    pub(super) fn is_down(&self, at: Duration) -> bool {
        self.down.contains(&at)
    }

    pub(super) fn candidate(&self) -> Candidate {
        Candidate {
            endpoint: self.endpoint,
            latency: self.latency.into(),
            latency_origin: LatencyOrigin::Measured,
            load: self.load,
            yours: 0,
        }
    }

    pub(super) fn ranked(&self, pieces: u32, at: Duration) -> RankedSource {
        (self.candidate(), self.has(pieces, at))
    }
}

/// An open connection.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) peer: Peer,
    pub(super) opened_at: Duration,
    pub(super) requested: VecDeque<(u32, Duration)>,
    /// When the last piece was complete, or before that: when the connection was open.
    pub(super) free_at: Duration,
    /// Bytes of complete pieces.
    pub(super) bytes: u64,
    pub(super) last_byte_at: Duration,
    /// The oldest requested piece has a buffer here. Without a buffer its first byte waits.
    pub(super) has_buffer: bool,
    pub(super) breaks_after_this: bool,
}

impl Link {
    /// When the first byte of the oldest requested piece comes.
    pub(super) fn begins_at(&self, sent: u64) -> Option<Duration> {
        let (_, requested_at) = self.requested.front()?;
        (sent < self.peer.stalls_after && self.peer.bytes_per_s > 0)
            .then(|| self.free_at.max(*requested_at + self.peer.latency))
    }

    pub(super) fn ends_at(&self, sent: u64, len: u64) -> Option<Duration> {
        Some(
            self.begins_at(sent).filter(|_| self.has_buffer)?
                + Duration::from_micros(len * 1_000_000 / self.peer.bytes_per_s),
        )
    }

    /// When the bytes of the oldest requested piece begin to wait for a buffer.
    pub(super) fn waits_at(&self, sent: u64) -> Option<Duration> {
        self.begins_at(sent).filter(|_| !self.has_buffer)
    }

    pub(super) fn partial(&self, sent: u64, len: u64, now: Duration) -> u64 {
        let Some(begins_at) = self.begins_at(sent).filter(|_| self.has_buffer) else { return 0 };
        let micros = now.saturating_sub(begins_at).as_micros() as u64;
        len.min(micros * self.peer.bytes_per_s / 1_000_000)
    }

    /// When this connection fails without an action of the machine, and why.
    pub(super) fn fails_at(&self) -> Option<(Duration, &'static str)> {
        if self.breaks_after_this {
            return Some((self.free_at, "broke off"));
        }
        let dies_at = self.peer.down.start.max(self.opened_at + self.peer.latency);
        let is_dying = dies_at < self.peer.down.end && self.opened_at < self.peer.down.end;
        let silent = self.requested.front().map(|(_, requested_at)| {
            (self.last_byte_at.max(*requested_at) + limits::ms(limits::SOURCE_SILENCE_MS), "silent")
        });
        is_dying.then_some((dies_at, "reset")).into_iter().chain(silent).min()
    }
}
