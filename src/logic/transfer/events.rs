//! What the machine makes of what has happened: who has what, which piece is how far, who has failed and who
//! is to blame.
//!
//! It asks nobody for anything and ends no round: that is decided afterwards, when all that has happened is
//! known.

use std::net::SocketAddr;
use std::time::Instant;

use super::interface::{Action, Event, RankedSource};
use super::machine::{Phase, Transfer};
use super::pieces::State;
use super::sources::SourceFailure;
use crate::types::{PieceSet, limits};

impl Transfer {
    /// Takes in what has happened. Void are failures and byte counts of a source that is not in use, verdicts
    /// on a piece that is not being verified, and everything about sources that no ranking has named.
    pub fn on_event(&mut self, now: Instant, event: Event) {
        if self.phase == Phase::Ended {
            return;
        }
        match event {
            Event::Ranked(ranked) => self.take_ranking(now, ranked),
            Event::Unranked => self.search_has_ended(now),
            Event::Has { source, pieces } => self.take_parts(now, source, pieces),
            Event::Lacks { source, piece } => self.take_lack(now, source, piece),
            Event::Arrived { source, piece } => self.take_piece(now, source, piece),
            Event::Verified { piece } => {
                if self.pieces.state(piece) == Some(State::Arrived) {
                    self.has_progressed |= self.pieces.accept(piece).is_some();
                }
            }
            Event::Wrong { piece, why } => {
                if self.pieces.state(piece) == Some(State::Arrived) {
                    let is_asked = self.roster.times_asked(piece) > 0;
                    if let Some(sender) = self.pieces.reject(piece, is_asked) {
                        self.blame(sender, why);
                    }
                }
            }
            Event::Dropped { piece } => {
                if self.pieces.state(piece) == Some(State::Arrived) {
                    let is_asked = self.roster.times_asked(piece) > 0;
                    let _nobody_is_blamed = self.pieces.reject(piece, is_asked);
                }
            }
            Event::NoList { source, why, by_digest } => {
                if self.roster.get(source).is_some() {
                    self.fail(source, why, by_digest);
                }
            }
            Event::Failed { source, why, by_digest } => self.take_failure(source, why, by_digest),
            Event::Received { source, bytes, held_back, waits_for_us } => {
                if let Some(wire) = self.roster.wire_mut(source) {
                    wire.receive(now, bytes, held_back, waits_for_us);
                }
            }
        }
    }

    fn take_ranking(&mut self, now: Instant, ranked: Vec<RankedSource>) {
        self.search_has_ended(now);
        self.roster.refresh(now, ranked, &self.pieces);
    }

    /// Sources that have failed are tried again if this search opens a round, or, but for those to blame,
    /// while nobody else has anything for us yet.
    fn search_has_ended(&mut self, now: Instant) {
        if self.phase == Phase::Searching {
            self.roster.forgive();
            self.phase = Phase::Fetching;
        } else if self.waits_until.is_some() {
            self.roster.forgive_failures();
        }
        self.search_at = Some(now + limits::ms(limits::SEARCH_AGAIN_MS));
    }

    fn take_parts(&mut self, now: Instant, endpoint: SocketAddr, has: PieceSet) {
        let is_set_of_ours = has.count() == self.pieces.count();
        if is_set_of_ours && self.is_partial(endpoint) {
            self.roster.tell(now, endpoint, Some(has));
        }
    }

    /// A source does not have a piece that it was asked for. A partial one may have begun anew: it is taken
    /// to have nothing until it tells again, but not without end. One that has everything has failed.
    fn take_lack(&mut self, now: Instant, endpoint: SocketAddr, piece: u32) {
        let Some(source) = self.roster.get_mut(endpoint) else { return };
        let Some(wire) = source.wire.as_mut().filter(|wire| wire.is_asked(piece)) else { return };
        let why = format!("has no piece {piece}, though it says so");
        let Some(has) = &mut source.has else { return self.fail(endpoint, why, false) };
        wire.unask(now, piece);
        // What it was asked for at once it refuses at once.
        let is_news = !has.is_empty();
        if is_news {
            *has = PieceSet::none(has.count());
            source.refusals += 1;
        }
        let refusals = source.refusals;
        self.miss_if_unasked(piece);
        if is_news && refusals >= limits::REFUSALS_MAX {
            self.fail(endpoint, why, false);
        } else if is_news && refusals == 1 {
            // For the user, if nobody can deliver in the end.
            self.roster.record(SourceFailure { source: endpoint, why, by_digest: false });
        }
    }

    fn take_piece(&mut self, now: Instant, source: SocketAddr, piece: u32) {
        let len = self.piece_len_bytes;
        if let Some(wire) = self.roster.wire_mut(source) {
            wire.arrive(now, piece, len);
        }
        // Also from a source that is being left: what `wants` has called worth verifying is on its way there.
        if self.roster.get(source).is_some() && self.wants(piece) {
            self.pieces.arrive(piece, source);
        }
    }

    pub(super) fn take_failure(&mut self, endpoint: SocketAddr, why: String, by_digest: bool) {
        let Some(source) = self.roster.get(endpoint) else { return };
        match &source.wire {
            // Its end has closed a connection that was of no use to us any more.
            Some(wire) if wire.is_idle() && wire.has_delivered() && !by_digest => {
                self.close(endpoint, Some(why))
            }
            // The last words of a connection that was closed say nothing; a digest does.
            None if !by_digest => {}
            _ => self.fail(endpoint, why, by_digest),
        }
    }

    /// The source is not used again in this round.
    fn fail(&mut self, endpoint: SocketAddr, why: String, by_digest: bool) {
        if let Some(source) = self.roster.get_mut(endpoint) {
            source.has_failed = true;
            self.roster.record(SourceFailure { source: endpoint, why: why.clone(), by_digest });
            self.close(endpoint, Some(why));
        }
    }

    /// First wrong piece: left and put last. Another one: dropped until the next round.
    fn blame(&mut self, endpoint: SocketAddr, why: String) {
        let Some(source) = self.roster.get_mut(endpoint) else { return };
        source.wrong_pieces += 1;
        self.roster.record(SourceFailure { source: endpoint, why: why.clone(), by_digest: true });
        self.close(endpoint, Some(why));
    }

    /// Ends the use of a source, if it is in use; what it alone was asked for is missing again.
    pub(super) fn close(&mut self, endpoint: SocketAddr, why: Option<String>) {
        let Some(wire) = self.roster.get_mut(endpoint).and_then(|source| source.wire.take()) else { return };
        wire.asked().for_each(|piece| self.miss_if_unasked(piece));
        self.actions.push_back(Action::Leave { source: endpoint, why });
    }

    /// A source is asked for this piece no more: if no other one is, it is missing again.
    fn miss_if_unasked(&mut self, piece: u32) {
        if self.pieces.state(piece) == Some(State::Asked) && self.roster.times_asked(piece) == 0 {
            self.pieces.miss(piece);
        }
    }
}
