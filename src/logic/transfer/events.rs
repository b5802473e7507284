//! How events change the state of the machine: which source has which pieces, the state of each piece,
//! failures and blame.
//!
//! No request is made and no round ends here: the next scheduling pass decides that.

use std::net::SocketAddr;
use std::time::Instant;

use super::interface::{Action, Event, RankedSource};
use super::machine::{Phase, Transfer};
use super::pieces::State;
use super::sources::SourceFailure;
use crate::types::{PieceSet, limits};

impl Transfer {
    /// Applies an event. Ignored are failures and byte counts of a source that is not in use, verdicts on a
    /// piece that is not being verified, and everything about a source that no ranking has named.
    pub fn on_event(&mut self, now: Instant, event: Event) {
        if self.phase == Phase::Ended {
            return;
        }
        match event {
            Event::Ranked(ranked) => self.apply_ranking(now, ranked),
            Event::Unranked => self.search_has_ended(now),
            Event::Has { source, pieces } => self.apply_parts(now, source, pieces),
            Event::Lacks { source, piece } => self.apply_lack(now, source, piece),
            Event::Arrived { source, piece } => self.apply_arrival(now, source, piece),
            Event::Verified { piece } => {
                if self.pieces.state(piece) == Some(State::Arrived) {
                    self.has_progressed |= self.pieces.accept(piece).is_some();
                }
            }
            Event::Wrong { piece, why } => {
                if self.pieces.state(piece) == Some(State::Arrived) {
                    let is_requested = self.sources.times_requested(piece) > 0;
                    if let Some(sender) = self.pieces.reject(piece, is_requested) {
                        self.blame(sender, why);
                    }
                }
            }
            Event::Dropped { piece } => {
                if self.pieces.state(piece) == Some(State::Arrived) {
                    let is_requested = self.sources.times_requested(piece) > 0;
                    let _nobody_is_blamed = self.pieces.reject(piece, is_requested);
                }
            }
            Event::NoList { source, why, by_digest } => {
                if self.sources.get(source).is_some() {
                    self.fail(source, why, by_digest);
                }
            }
            Event::Failed { source, why, by_digest } => self.apply_failure(source, why, by_digest),
            Event::Received { source, bytes, held_back, waits_for_us } => {
                if let Some(wire) = self.sources.wire_mut(source) {
                    wire.receive(now, bytes, held_back, waits_for_us);
                }
            }
        }
    }

    fn apply_ranking(&mut self, now: Instant, ranked: Vec<RankedSource>) {
        self.search_has_ended(now);
        self.sources.refresh(now, ranked, &self.pieces);
    }

    /// Failed sources may be used again if this search opens a round, or, except for those that are to blame,
    /// while no other source has anything yet.
    fn search_has_ended(&mut self, now: Instant) {
        if self.phase == Phase::Searching {
            self.sources.forgive();
            self.phase = Phase::Fetching;
        } else if self.waits_until.is_some() {
            self.sources.forgive_failures();
        }
        self.search_at = Some(now + limits::ms(limits::SEARCH_AGAIN_MS));
    }

    fn apply_parts(&mut self, now: Instant, endpoint: SocketAddr, has: PieceSet) {
        let is_set_of_ours = has.count() == self.pieces.count();
        if is_set_of_ours && self.is_partial(endpoint) {
            self.sources.record_pieces(now, endpoint, Some(has));
        }
    }

    /// A source does not have a requested piece. A partial source may have begun again: it counts as having
    /// nothing until its next report, a limited number of times. A full source has failed.
    fn apply_lack(&mut self, now: Instant, endpoint: SocketAddr, piece: u32) {
        let Some(source) = self.sources.get_mut(endpoint) else { return };
        let Some(wire) = source.wire.as_mut().filter(|wire| wire.is_requested(piece)) else { return };
        let why = format!("has no piece {piece}, though it says so");
        let Some(has) = &mut source.has else { return self.fail(endpoint, why, false) };
        wire.end_request(now, piece);
        // It refuses all requests that were sent together.
        let is_news = !has.is_empty();
        if is_news {
            *has = PieceSet::none(has.count());
            source.refusals += 1;
        }
        let refusals = source.refusals;
        self.miss_if_not_requested(piece);
        if is_news && refusals >= limits::REFUSALS_MAX {
            self.fail(endpoint, why, false);
        } else if is_news && refusals == 1 {
            // For the user, if no source can deliver in the end.
            self.sources.record(SourceFailure { source: endpoint, why, by_digest: false });
        }
    }

    fn apply_arrival(&mut self, now: Instant, source: SocketAddr, piece: u32) {
        let len = self.piece_len_bytes;
        if let Some(wire) = self.sources.wire_mut(source) {
            wire.arrive(now, piece, len);
        }
        // Also from a source that is being left: a piece that `wants` approved is on its way to verification.
        if self.sources.get(source).is_some() && self.wants(piece) {
            self.pieces.arrive(piece, source);
        }
    }

    pub(super) fn apply_failure(&mut self, endpoint: SocketAddr, why: String, by_digest: bool) {
        let Some(source) = self.sources.get(endpoint) else { return };
        match &source.wire {
            // The source has closed a connection that had no more use.
            Some(wire) if wire.is_idle() && wire.has_delivered() && !by_digest => {
                self.close(endpoint, Some(why))
            }
            // Errors of a connection that was closed mean nothing; a wrong digest does.
            None if !by_digest => {}
            _ => self.fail(endpoint, why, by_digest),
        }
    }

    /// Marks the source as failed for the rest of this round.
    fn fail(&mut self, endpoint: SocketAddr, why: String, by_digest: bool) {
        if let Some(source) = self.sources.get_mut(endpoint) {
            source.has_failed = true;
            self.sources.record(SourceFailure { source: endpoint, why: why.clone(), by_digest });
            self.close(endpoint, Some(why));
        }
    }

    /// After the first wrong piece the source is left and ranks last; after the next one it is not used until
    /// the next round.
    fn blame(&mut self, endpoint: SocketAddr, why: String) {
        let Some(source) = self.sources.get_mut(endpoint) else { return };
        source.wrong_pieces += 1;
        self.sources.record(SourceFailure { source: endpoint, why: why.clone(), by_digest: true });
        self.close(endpoint, Some(why));
    }

    /// Ends the use of a source, if it is in use. Pieces that were requested from it alone are missing again.
    pub(super) fn close(&mut self, endpoint: SocketAddr, why: Option<String>) {
        let Some(wire) = self.sources.get_mut(endpoint).and_then(|source| source.wire.take()) else { return };
        wire.requested().for_each(|piece| self.miss_if_not_requested(piece));
        self.actions.push_back(Action::Leave { source: endpoint, why });
    }

    /// After a request has ended: a piece that is requested from no other source is missing again.
    fn miss_if_not_requested(&mut self, piece: u32) {
        if self.pieces.state(piece) == Some(State::Requested) && self.sources.times_requested(piece) == 0 {
            self.pieces.miss(piece);
        }
    }
}
