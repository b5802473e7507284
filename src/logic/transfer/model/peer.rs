//! A source of the model and a connection to it.

use super::*;

/// How one source behaves.
#[derive(Debug, Clone)]
pub(super) struct Peer {
    pub(super) endpoint: SocketAddr,
    /// There and back.
    pub(super) latency: Duration,
    pub(super) bytes_per_s: u64,
    pub(super) load: u32,
    /// Part of its pieces that are wrong.
    pub(super) lies: f64,
    /// After each piece it closes the connection with this probability.
    pub(super) breaks_off: f64,
    /// So many pieces are all that it ever sends; then it is silent.
    pub(super) stalls_after: u64,
    /// It is in rankings from .. to.
    pub(super) offered: (Duration, Duration),
    /// It is dead from .. to, though rankings may name it.
    pub(super) down: (Duration, Duration),
    /// Of a hundred pieces it has so many at the start, and so many more each second.
    pub(super) part: (u64, u64),
    /// What it tells to have and is asked for it does not have with this probability.
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
            offered: (Duration::ZERO, FOREVER),
            down: (FOREVER, FOREVER),
            part: (100, 0),
            lacks: 0.0,
        }
    }

    /// Some of them honest, most of them not.
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
    pub(super) fn is_honest(&self) -> bool {
        self.part.0 >= 100 && self.brings_what_it_has()
    }

    /// Whatever it tells to have.
    pub(super) fn brings_what_it_has(&self) -> bool {
        self.lies == 0.0
            && self.breaks_off == 0.0
            && self.lacks == 0.0
            && self.is_always_there()
            && self.bytes_per_s >= MIB
    }

    /// It alone is enough where a round can be tried again.
    pub(super) fn brings_something_each_time(&self) -> bool {
        self.part.0 >= 100 && self.lies == 0.0 && self.is_always_there() && self.bytes_per_s >= MIB
    }

    /// What it tells to have at a time; `None`: everything.
    pub(super) fn has(&self, pieces: u32, at: Duration) -> Option<PieceSet> {
        let part = self.part.0 + self.part.1 * at.as_secs().min(100);
        // Which ones differs from peer to peer.
        let is_there =
            |piece: &u32| (u64::from(*piece) * 61 + u64::from(self.endpoint.port()) * 17) % 100 < part;
        let mut has = PieceSet::none(pieces);
        (0..pieces).filter(is_there).for_each(|piece| has.set(piece, true));
        (part < 100).then_some(has)
    }

    pub(super) fn is_always_there(&self) -> bool {
        self.stalls_after == u64::MAX
            && self.offered == (Duration::ZERO, FOREVER)
            && self.down == (FOREVER, FOREVER)
    }

    pub(super) fn is_down(&self, at: Duration) -> bool {
        self.down.0 <= at && at < self.down.1
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
    /// When the last piece was complete, or the connection up.
    pub(super) free_at: Duration,
    /// Bytes of complete pieces.
    pub(super) bytes: u64,
    pub(super) last_byte_at: Duration,
    /// It may send the piece in front; without one its first byte waits for us.
    pub(super) has_buffer: bool,
    pub(super) breaks_now: bool,
}

impl Link {
    /// When the first byte of the piece in front comes.
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

    /// Since when its bytes have waited for us, or when they will.
    pub(super) fn waits_at(&self, sent: u64) -> Option<Duration> {
        self.begins_at(sent).filter(|_| !self.has_buffer)
    }

    pub(super) fn partial(&self, sent: u64, len: u64, now: Duration) -> u64 {
        let Some(begins_at) = self.begins_at(sent).filter(|_| self.has_buffer) else { return 0 };
        let micros = now.saturating_sub(begins_at).as_micros() as u64;
        len.min(micros * self.peer.bytes_per_s / 1_000_000)
    }

    /// When this connection fails of itself, and why.
    pub(super) fn fails_at(&self) -> Option<(Duration, &'static str)> {
        if self.breaks_now {
            return Some((self.free_at, "broke off"));
        }
        let dies_at = self.peer.down.0.max(self.opened_at + self.peer.latency);
        let is_dying = dies_at < self.peer.down.1 && self.opened_at < self.peer.down.1;
        let silent = self.requested.front().map(|(_, requested_at)| {
            (self.last_byte_at.max(*requested_at) + limits::ms(limits::SOURCE_SILENCE_MS), "silent")
        });
        is_dying.then_some((dies_at, "reset")).into_iter().chain(silent).min()
    }
}
