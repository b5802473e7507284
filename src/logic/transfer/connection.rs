//! The connection to one source in use: requested pieces, delivery rate, and how many more pieces may be
//! requested.
//!
//! The rate is measured on the busy clock, which stops while no piece is requested and while bytes wait for a
//! free buffer here. So a source does not look slow because it is idle, or because this node is busy.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::types::{Millis, limits};

/// The time over which the rate is measured.
const RATE_WINDOW: Duration = Duration::from_secs(1);
/// Number of samples in a window. More would cost memory and make no decision better.
const SAMPLES: u32 = 20;
/// The requested pieces should last for at least this time. Between the arrival of a piece and the next
/// request, the thread of the source, the machine and a thread of the peer must run. If many programs share a
/// processor, that takes longer than the latency.
const TURNAROUND: Duration = Duration::from_millis(50);
/// At least this number of pieces is requested: the one that is arriving and the next one.
const DEPTH_MIN: usize = 2;

/// One connection to a source, from opening to end.
#[derive(Debug)]
pub(super) struct Connection {
    /// In the order of the requests, with the time of each.
    requested: Vec<(u32, Instant)>,
    /// Number of pieces that have arrived.
    delivered: u64,
    /// Number of bytes that have arrived, as last reported.
    bytes: u64,
    /// Number of bytes up to the end of the last complete piece. More than `bytes` if these are not reported
    /// yet.
    bytes_at_piece: u64,
    last_byte_at: Instant,
    /// The delay of replies that emulates a latency.
    reply_delay: Duration,
    /// Its bytes wait for a buffer here, as last reported.
    waits_for_us: bool,
    /// The part of `bytes` that arrived in a time that does not count for the rate.
    uncounted: u64,
    /// The busy clock at `busy_since`.
    busy_before: Duration,
    /// When the oldest request of now was sent, or bytes were last reported, whichever is later; `None`:
    /// idle.
    busy_since: Option<Instant>,
    /// Samples for the rate.
    recent: Samples,
    /// Samples for [`Connection::crawls`].
    long: Samples,
}

impl Connection {
    pub(super) fn new(now: Instant) -> Connection {
        Connection {
            requested: Vec::new(),
            delivered: 0,
            bytes: 0,
            bytes_at_piece: 0,
            last_byte_at: now,
            reply_delay: Duration::ZERO,
            waits_for_us: false,
            uncounted: 0,
            busy_before: Duration::ZERO,
            busy_since: None,
            recent: Samples::new(),
            long: Samples::new(),
        }
    }

    /// Requested pieces that have not arrived, in the order of the requests.
    pub(super) fn requested(&self) -> impl ExactSizeIterator<Item = u32> {
        self.requested.iter().map(|(piece, _)| *piece)
    }

    pub(super) fn is_idle(&self) -> bool {
        self.requested.is_empty()
    }

    pub(super) fn is_requested(&self, piece: u32) -> bool {
        self.requested.iter().any(|(requested, _)| *requested == piece)
    }

    pub(super) fn has_delivered(&self) -> bool {
        self.delivered > 0
    }

    pub(super) fn request(&mut self, now: Instant, piece: u32) {
        self.requested.push((piece, now));
        self.busy_since.get_or_insert(now);
    }

    /// Records that a piece is complete. Does nothing if it was not requested.
    pub(super) fn arrive(&mut self, now: Instant, piece: u32, piece_len_bytes: u64) {
        if self.end_request(now, piece) {
            self.delivered += 1;
            self.bytes_at_piece = self.bytes.max(self.bytes_at_piece.saturating_add(piece_len_bytes));
        }
    }

    /// Records that the source has replied to a request, with or without the piece. Returns false if the
    /// piece was not requested.
    pub(super) fn end_request(&mut self, now: Instant, piece: u32) -> bool {
        let Some(index) = self.requested.iter().position(|(requested, _)| *requested == piece) else {
            return false;
        };
        self.requested.remove(index);
        self.last_byte_at = now;
        if self.requested.is_empty() {
            self.busy_before = self.busy(now);
            self.busy_since = None;
        }
        true
    }

    /// How long the connection has been idle.
    pub(super) fn rest(&self, now: Instant) -> Duration {
        if self.is_idle() { now.saturating_duration_since(self.last_byte_at) } else { Duration::ZERO }
    }

    /// Records that `bytes` have arrived since the connection was opened. If bytes wait here now, or did at
    /// the last report, the time since then and its bytes do not count: nobody knows how long they have
    /// waited.
    pub(super) fn receive(&mut self, now: Instant, bytes: u64, reply_delay: Duration, waits_for_us: bool) {
        let has_waited = self.waits_for_us || waits_for_us;
        let new = bytes.saturating_sub(self.bytes);
        self.bytes += new;
        if new > 0 || has_waited {
            self.last_byte_at = now;
        }
        if has_waited {
            self.uncounted += new;
        } else {
            self.busy_before = self.busy(now);
        }
        self.busy_since = self.busy_since.map(|since| since.max(now));
        self.waits_for_us = waits_for_us;
        self.reply_delay = reply_delay;
        let busy = self.busy(now);
        self.recent.push(RATE_WINDOW, busy, self.counted());
        self.long.push(self.crawl_window(), busy, self.counted());
    }

    /// Bytes per second over the last second in which pieces were requested; `None` before the first byte
    /// that counts.
    pub(super) fn rate(&self, now: Instant) -> Option<u64> {
        if self.counted() == 0 {
            return None;
        }
        let (base_busy, base_bytes) = self.recent.base(RATE_WINDOW, self.busy(now));
        // At least a millisecond: after a shorter time the first bytes would give an extreme rate.
        let micros = self.busy(now).saturating_sub(base_busy).as_micros().max(1000);
        let rate = u128::from(self.counted().saturating_sub(base_bytes)) * 1_000_000 / micros;
        Some(u64::try_from(rate).unwrap_or(u64::MAX))
    }

    /// How many more pieces may be requested now: so many that the source sends without a pause.
    pub(super) fn room(&self, now: Instant, latency: Millis, piece_len_bytes: u64) -> usize {
        let way = Duration::from(latency).max(TURNAROUND);
        let under_way = u128::from(self.rate(now).unwrap_or(0)) * way.as_micros() / 1_000_000;
        let pieces =
            under_way.div_ceil(u128::from(piece_len_bytes)).min(limits::PIECES_ON_THE_WIRE as u128) as usize;
        (pieces + 1).clamp(DEPTH_MIN, limits::PIECES_ON_THE_WIRE).saturating_sub(self.requested.len())
    }

    /// True if the source was slower than the minimum rate for a whole window of the busy clock.
    pub(super) fn crawls(&self, now: Instant) -> bool {
        let (window, busy) = (self.crawl_window(), self.busy(now));
        let (base_busy, base_bytes) = self.long.base(window, busy);
        let expected = limits::SOURCE_RATE_MIN_BYTES_PER_S * limits::SOURCE_RATE_WINDOW_MS / 1000;
        !self.is_idle()
            && busy.saturating_sub(base_busy) >= window
            && self.counted().saturating_sub(base_bytes) < expected
    }

    /// The time until `piece` is expected to arrive; `None` if it was not requested. Before the first byte it
    /// is expected to take as long again as since the request.
    pub(super) fn time_left(
        &self,
        now: Instant,
        piece: u32,
        latency: Millis,
        piece_len_bytes: u64,
    ) -> Option<Duration> {
        let index = self.requested.iter().position(|(requested, _)| *requested == piece)?;
        let Some(rate) = self.rate(now) else {
            return Some(now.saturating_duration_since(self.requested[index].1));
        };
        let arrived = self.bytes.saturating_sub(self.bytes_at_piece).min(piece_len_bytes);
        let bytes = piece_len_bytes.saturating_mul(index as u64 + 1) - arrived;
        Some(time_for(bytes, rate).saturating_add(latency.into()))
    }

    /// The time that one piece would take if it were requested now and alone; `None` before the first byte.
    pub(super) fn time_for_one(
        &self,
        now: Instant,
        latency: Millis,
        piece_len_bytes: u64,
    ) -> Option<Duration> {
        Some(time_for(piece_len_bytes, self.rate(now)?).saturating_add(latency.into()))
    }

    /// For how long a byte has been overdue. An emulated delay does not count, and no byte is overdue while
    /// bytes wait here.
    pub(super) fn silence(&self, now: Instant) -> Duration {
        let Some((_, requested_at)) = self.requested.first().filter(|_| !self.waits_for_us) else {
            return Duration::ZERO;
        };
        now.saturating_duration_since((*requested_at).max(self.last_byte_at)).saturating_sub(self.reply_delay)
    }

    /// The busy clock: for how long pieces were requested, without the time in which bytes waited here.
    fn busy(&self, now: Instant) -> Duration {
        let since = self.busy_since.filter(|_| !self.waits_for_us);
        self.busy_before + since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }

    /// Bytes that arrived while the busy clock ran.
    fn counted(&self) -> u64 {
        self.bytes - self.uncounted
    }

    fn crawl_window(&self) -> Duration {
        limits::ms(limits::SOURCE_RATE_WINDOW_MS).saturating_add(self.reply_delay)
    }
}

fn time_for(bytes: u64, rate: u64) -> Duration {
    match u128::from(bytes).saturating_mul(1_000_000).checked_div(u128::from(rate)) {
        Some(micros) => Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX)),
        None => Duration::MAX,
    }
}

/// Times of the busy clock and the numbers of counted bytes then, over one window.
#[derive(Debug)]
struct Samples(VecDeque<(Duration, u64)>);

impl Samples {
    fn new() -> Samples {
        Samples(VecDeque::from([(Duration::ZERO, 0)]))
    }

    fn push(&mut self, window: Duration, busy: Duration, bytes: u64) {
        let last = self.0.back().map_or(Duration::ZERO, |(at, _)| *at);
        if busy.saturating_sub(last) >= window / SAMPLES {
            self.0.push_back((busy, bytes));
        }
        while self.0.get(1).is_some_and(|(at, _)| busy.saturating_sub(*at) >= window) {
            self.0.pop_front();
        }
    }

    /// The newest sample that is a whole window old, else the oldest.
    fn base(&self, window: Duration, busy: Duration) -> (Duration, u64) {
        let is_old = |sample: &&(Duration, u64)| busy.saturating_sub(sample.0) >= window;
        self.0.iter().rev().find(is_old).or(self.0.front()).copied().unwrap_or_default()
    }
}
