//! When to ask partial holders again which pieces they have. The pause is short while they get new pieces,
//! and doubles while they do not.
//!
//! The pause grows with the number of holders, so that a downloader among many sends and receives only a few
//! requests a second. It is never longer than [`limits::SEARCH_AGAIN_MS`]: so often a search comes, which
//! asks partial holders too.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::search::HeldPieces;
use crate::types::limits;

/// The partial holders that the last search found, and when to ask them.
#[derive(Debug)]
pub(super) struct HaveSchedule {
    /// The number of pieces in the last reply of each.
    known: BTreeMap<SocketAddr, usize>,
    pause: Duration,
    /// When to ask them; `None`: no partial holder is known, or they are being asked.
    ask_at: Option<Instant>,
    rng: SmallRng,
}

impl HaveSchedule {
    pub(super) fn new() -> HaveSchedule {
        HaveSchedule {
            known: BTreeMap::new(),
            pause: Duration::ZERO,
            ask_at: None,
            rng: SmallRng::from_os_rng(),
        }
    }

    /// Replaces the known holders by those of a search.
    pub(super) fn replace(&mut self, held: &HeldPieces, now: Instant) {
        self.known.retain(|endpoint, _| held.contains_key(endpoint));
        self.observe(held, now);
    }

    /// Records the pieces in the replies of holders, and plans when to ask again.
    pub(super) fn observe(&mut self, held: &HeldPieces, now: Instant) {
        let mut has_news = false;
        for (endpoint, pieces) in held {
            has_news |= self.known.insert(*endpoint, pieces.len()) != Some(pieces.len());
        }
        let pause_max = limits::ms(limits::SEARCH_AGAIN_MS);
        let time_for_all = Duration::from_secs(self.known.len() as u64) / limits::PARTS_QUERIED_PER_S;
        let pause_min = limits::ms(limits::SEARCH_PARTS_MS).max(time_for_all).min(pause_max);
        self.pause = if has_news { pause_min } else { (self.pause * 2).clamp(pause_min, pause_max) };
        // Downloads that began at the same moment must not send their requests at the same moments.
        let jitter = self.pause.mul_f64(self.rng.random_range(0.0..0.25));
        self.ask_at = (!self.known.is_empty()).then_some(now + self.pause + jitter);
    }

    /// Returns the holders to ask now: all of them, or none. The caller then reports their replies to
    /// [`HaveSchedule::observe`], which plans the next time.
    pub(super) fn take_due(&mut self, now: Instant) -> Vec<SocketAddr> {
        match self.ask_at.take_if(|at| *at <= now) {
            Some(_) => self.known.keys().copied().collect(),
            None => Vec::new(),
        }
    }

    pub(super) fn next_wake(&self) -> Option<Instant> {
        self.ask_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rt::clock;
    use crate::types::PieceSet;

    /// `holders` holders with `pieces` pieces each.
    fn held(holders: u16, pieces: u32) -> HeldPieces {
        let mut set = PieceSet::none(100);
        (0..pieces).for_each(|piece| set.set(piece, true));
        (0..holders).map(|port| (SocketAddr::from(([127, 0, 0, 1], port)), set.clone())).collect()
    }

    #[test]
    fn the_pause_grows_with_the_number_of_holders_and_doubles_while_they_get_no_pieces() {
        let now = clock::now();
        for (holders, pieces, pauses_ms) in [
            (1, [1, 1, 1, 1, 1, 2], [1000, 2000, 4000, 5000, 5000, 1000]),
            (8, [1, 2, 3, 3, 4, 5], [1000, 1000, 1000, 2000, 1000, 1000]),
            (32, [1, 2, 2, 3, 3, 3], [4000, 4000, 5000, 4000, 5000, 5000]),
            (1000, [1, 2, 3, 3, 3, 3], [5000; 6]),
        ] {
            let mut schedule = HaveSchedule::new();
            for (pieces, pause_ms) in pieces.into_iter().zip(pauses_ms) {
                schedule.observe(&held(holders, pieces), now);
                let pause = limits::ms(pause_ms);
                let waits = schedule.next_wake().expect("holders are known") - now;
                assert!(waits >= pause && waits < pause.mul_f64(1.25), "{holders}: {waits:?} for {pause:?}");
                assert_eq!(schedule.take_due(now + pause - limits::ms(1)), []);
                assert_eq!(schedule.take_due(now + pause * 2).len(), usize::from(holders));
                assert_eq!(
                    (schedule.take_due(now + pause * 9), schedule.next_wake()),
                    (vec![], None),
                    "asked once"
                );
            }
        }
    }

    #[test]
    fn only_holders_of_the_last_search_are_known_and_no_reply_doubles_the_pause() {
        let now = clock::now();
        let mut schedule = HaveSchedule::new();
        schedule.replace(&held(3, 1), now);
        schedule.observe(&HeldPieces::new(), now);
        assert_eq!(schedule.take_due(now + limits::ms(1900)), [], "the pause has doubled");
        assert_eq!(schedule.take_due(now + limits::ms(2500)).len(), 3);
        schedule.replace(&held(2, 1), now);
        assert_eq!(schedule.take_due(now + limits::ms(9000)).len(), 2);
        schedule.replace(&HeldPieces::new(), now);
        assert_eq!(schedule.next_wake(), None);
    }
}
