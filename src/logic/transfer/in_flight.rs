//! What is under way with one source in use: the pieces asked of it, how fast it delivers, how many more it
//! may be asked for.
//!
//! Its rate is measured on a clock that stands still while nothing is asked of it, or while its bytes wait
//! for room at our side, so that neither being idle nor our being busy is ever taken for its being slow.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::types::{Millis, limits};

/// Over how long the rate is measured.
const RATE_WINDOW: Duration = Duration::from_secs(1);
/// Samples kept of a window; more would be exacter than anything here needs.
const SAMPLES: u32 = 20;
/// What is on the wire covers at least this long: a piece that arrives is answered by the next request only
/// after its thread, the machine and the other end's front have had their turns, which no ping sees and which
/// takes long where many share a processor.
const TURNAROUND: Duration = Duration::from_millis(50);
/// The current piece and the next one.
const DEPTH_MIN: usize = 2;

/// One connection to a source, from its opening to its end.
#[derive(Debug)]
pub(super) struct Wire {
    /// In the order of asking, with the time of asking.
    asked: Vec<(u32, Instant)>,
    /// Pieces that have arrived over it.
    delivered: u64,
    /// Bytes that have arrived over it.
    bytes: u64,
    /// `bytes` when the last piece was complete, even if they were not reported yet.
    bytes_at_piece: u64,
    last_byte_at: Instant,
    /// Its replies are kept from us for so long on purpose.
    held_back: Duration,
    /// Its bytes wait for room at our side, as last told.
    waits_for_us: bool,
    /// Of `bytes`, those that came in a time that does not count for its rate.
    uncounted: u64,
    /// How long something had been asked of it before `busy_since`, without the time in which it waited for
    /// us.
    busy_before: Duration,
    /// Since when something has been asked of it, or since bytes were last told of, if that was later.
    busy_since: Option<Instant>,
    recent: Samples,
    long: Samples,
}

impl Wire {
    pub(super) fn new(now: Instant) -> Wire {
        Wire {
            asked: Vec::new(),
            delivered: 0,
            bytes: 0,
            bytes_at_piece: 0,
            last_byte_at: now,
            held_back: Duration::ZERO,
            waits_for_us: false,
            uncounted: 0,
            busy_before: Duration::ZERO,
            busy_since: None,
            recent: Samples::new(),
            long: Samples::new(),
        }
    }

    /// Pieces asked for that have not arrived, in the order of asking.
    pub(super) fn asked(&self) -> impl ExactSizeIterator<Item = u32> {
        self.asked.iter().map(|(piece, _)| *piece)
    }

    pub(super) fn is_idle(&self) -> bool {
        self.asked.is_empty()
    }

    pub(super) fn is_asked(&self, piece: u32) -> bool {
        self.asked.iter().any(|(asked, _)| *asked == piece)
    }

    pub(super) fn has_delivered(&self) -> bool {
        self.delivered > 0
    }

    pub(super) fn ask(&mut self, now: Instant, piece: u32) {
        self.asked.push((piece, now));
        self.busy_since.get_or_insert(now);
    }

    /// A piece is complete; void if it was not asked for.
    pub(super) fn arrive(&mut self, now: Instant, piece: u32, piece_len_bytes: u64) {
        if self.unask(now, piece) {
            self.delivered += 1;
            self.bytes_at_piece = self.bytes.max(self.bytes_at_piece.saturating_add(piece_len_bytes));
        }
    }

    /// The source has answered for a piece, with its bytes or without; false if it was not asked for.
    pub(super) fn unask(&mut self, now: Instant, piece: u32) -> bool {
        let Some(index) = self.asked.iter().position(|(asked, _)| *asked == piece) else { return false };
        self.asked.remove(index);
        self.last_byte_at = now;
        if self.asked.is_empty() {
            self.busy_before = self.busy(now);
            self.busy_since = None;
        }
        true
    }

    /// For how long it has been left alone: nothing is asked of it.
    pub(super) fn rest(&self, now: Instant) -> Duration {
        match self.is_idle() {
            true => now.saturating_duration_since(self.last_byte_at),
            false => Duration::ZERO,
        }
    }

    /// `bytes` have arrived since it was opened. Of the time since this was last said neither length nor
    /// bytes count if at its beginning or its end they waited for us: nobody knows for how much of it.
    pub(super) fn receive(&mut self, now: Instant, bytes: u64, held_back: Duration, waits_for_us: bool) {
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
        self.held_back = held_back;
        let busy = self.busy(now);
        self.recent.push(RATE_WINDOW, busy, self.counted());
        self.long.push(self.crawl_window(), busy, self.counted());
    }

    /// Bytes per second of the last second in which something was asked of it; `None` before the first byte
    /// that counts.
    pub(super) fn rate(&self, now: Instant) -> Option<u64> {
        if self.counted() == 0 {
            return None;
        }
        let (base_busy, base_bytes) = self.recent.base(RATE_WINDOW, self.busy(now));
        // At least a millisecond, or a first byte would make any rate.
        let micros = self.busy(now).saturating_sub(base_busy).as_micros().max(1000);
        let rate = u128::from(self.counted().saturating_sub(base_bytes)) * 1_000_000 / micros;
        Some(u64::try_from(rate).unwrap_or(u64::MAX))
    }

    /// How many more pieces it may be asked for now.
    pub(super) fn room(&self, now: Instant, latency: Millis, piece_len_bytes: u64) -> usize {
        let way = Duration::from(latency).max(TURNAROUND);
        let under_way = u128::from(self.rate(now).unwrap_or(0)) * way.as_micros() / 1_000_000;
        let pieces =
            under_way.div_ceil(u128::from(piece_len_bytes)).min(limits::PIECES_ON_THE_WIRE as u128) as usize;
        (pieces + 1).clamp(DEPTH_MIN, limits::PIECES_ON_THE_WIRE).saturating_sub(self.asked.len())
    }

    /// True if it has been too slow for a whole window in which something was asked of it.
    pub(super) fn crawls(&self, now: Instant) -> bool {
        let (window, busy) = (self.crawl_window(), self.busy(now));
        let (base_busy, base_bytes) = self.long.base(window, busy);
        let expected = limits::SOURCE_RATE_MIN_BYTES_PER_S * limits::SOURCE_RATE_WINDOW_MS / 1000;
        !self.is_idle()
            && busy.saturating_sub(base_busy) >= window
            && self.counted().saturating_sub(base_bytes) < expected
    }

    /// When `piece` may be expected, from now; `None` if it was not asked for. While no byte has come, what
    /// it has been waited for.
    pub(super) fn time_left(
        &self,
        now: Instant,
        piece: u32,
        latency: Millis,
        piece_len_bytes: u64,
    ) -> Option<Duration> {
        let index = self.asked.iter().position(|(asked, _)| *asked == piece)?;
        let Some(rate) = self.rate(now) else {
            return Some(now.saturating_duration_since(self.asked[index].1));
        };
        let begun = self.bytes.saturating_sub(self.bytes_at_piece).min(piece_len_bytes);
        let bytes = piece_len_bytes.saturating_mul(index as u64 + 1) - begun;
        Some(time_for(bytes, rate).saturating_add(latency.into()))
    }

    /// How long one piece would take if it were asked now, nothing else being asked; `None` before the first
    /// byte.
    pub(super) fn time_for_one(
        &self,
        now: Instant,
        latency: Millis,
        piece_len_bytes: u64,
    ) -> Option<Duration> {
        Some(time_for(piece_len_bytes, self.rate(now)?).saturating_add(latency.into()))
    }

    /// For how long it has owed us a byte, beyond what is held back on purpose; it owes none while what it
    /// sent waits for us.
    pub(super) fn silence(&self, now: Instant) -> Duration {
        let Some((_, asked_at)) = self.asked.first().filter(|_| !self.waits_for_us) else {
            return Duration::ZERO;
        };
        now.saturating_duration_since((*asked_at).max(self.last_byte_at)).saturating_sub(self.held_back)
    }

    /// The busy clock: for how long something has been asked of it that did not wait for us.
    fn busy(&self, now: Instant) -> Duration {
        let since = self.busy_since.filter(|_| !self.waits_for_us);
        self.busy_before + since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }

    /// Bytes that arrived while the busy clock ran.
    fn counted(&self) -> u64 {
        self.bytes - self.uncounted
    }

    fn crawl_window(&self) -> Duration {
        limits::ms(limits::SOURCE_RATE_WINDOW_MS).saturating_add(self.held_back)
    }
}

fn time_for(bytes: u64, rate: u64) -> Duration {
    match u128::from(bytes).saturating_mul(1_000_000).checked_div(u128::from(rate)) {
        Some(micros) => Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX)),
        None => Duration::MAX,
    }
}

/// How many bytes had come when, on the busy clock; a window's worth of it.
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
