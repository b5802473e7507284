//! How events change the state of the machine: which source has which pieces, the state of each piece, and
//! the faults of sources.
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
    /// Applies an event. Ignores failures without wrong data and byte counts of a source that is not in use,
    /// verdicts on a piece that is not being verified, and everything about an unknown source.
    pub fn on_event(&mut self, now: Instant, event: Event) {
        if self.phase == Phase::Ended {
            return;
        }
        match event {
            Event::Ranked(ranked) => self.apply_ranking(now, ranked),
            Event::Unranked => self.end_search(now),
            Event::HasPieces { source, pieces } => self.apply_held_pieces(now, source, pieces),
            Event::LacksPiece { source, piece } => self.apply_lacks_piece(now, source, piece),
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
                    // The sender is not to blame.
                    let _sender = self.pieces.reject(piece, is_requested);
                }
            }
            Event::NoManifest { source, why, sent_wrong_data } => {
                if self.sources.get(source).is_some() {
                    self.fail(source, why, sent_wrong_data);
                }
            }
            Event::Failed { source, why, sent_wrong_data } => {
                self.apply_failure(source, why, sent_wrong_data)
            }
            Event::Received { source, bytes, reply_delay, waits_for_us } => {
                if let Some(connection) = self.sources.connection_mut(source) {
                    connection.receive(now, bytes, reply_delay, waits_for_us);
                }
            }
        }
    }

    fn apply_ranking(&mut self, now: Instant, ranked: Vec<RankedSource>) {
        self.end_search(now);
        self.sources.refresh(now, ranked, &self.pieces);
    }

    /// If this search begins a round, all faults are cleared. While partial sources are awaited, failures are
    /// cleared too, but not the other faults: a source that failed may be the only one with a missing piece.
    fn end_search(&mut self, now: Instant) {
        if self.phase == Phase::Searching {
            self.sources.clear_faults();
            self.phase = Phase::Fetching;
        } else if self.waits_until.is_some() {
            self.sources.clear_failures();
        }
        self.search_at = Some(now + limits::ms(limits::SEARCH_AGAIN_MS));
    }

    /// A full source stays full: only a ranking can make it partial.
    fn apply_held_pieces(&mut self, now: Instant, endpoint: SocketAddr, held: PieceSet) {
        let is_set_of_ours = held.count() == self.pieces.count();
        if is_set_of_ours && self.is_partial(endpoint) {
            self.sources.record_pieces(now, endpoint, Some(held));
        }
    }

    /// A source does not have a requested piece. A full source has failed. A partial source may have started
    /// its download again: it counts as having no piece until its next report, and has failed after
    /// [`limits::REFUSALS_MAX`] times.
    fn apply_lacks_piece(&mut self, now: Instant, endpoint: SocketAddr, piece: u32) {
        let Some(source) = self.sources.get_mut(endpoint) else { return };
        let Some(connection) = source.connection.as_mut().filter(|connection| connection.is_requested(piece))
        else {
            return;
        };
        let why = format!("has no piece {piece}, though it says so");
        let Some(held) = &mut source.held else { return self.fail(endpoint, why, false) };
        connection.end_request(now, piece);
        // A source refuses all requests that were sent together: they count once.
        let is_news = !held.is_empty();
        if is_news {
            *held = PieceSet::none(held.count());
            source.refusals += 1;
        }
        let refusals = source.refusals;
        self.set_missing_if_not_requested(piece);
        if is_news && refusals >= limits::REFUSALS_MAX {
            self.fail(endpoint, why, false);
        } else if is_news && refusals == 1 {
            // The user sees it if no source can deliver in the end.
            self.sources.record(SourceFailure { source: endpoint, why, sent_wrong_data: false });
        }
    }

    fn apply_arrival(&mut self, now: Instant, source: SocketAddr, piece: u32) {
        let len = self.piece_len_bytes;
        if let Some(connection) = self.sources.connection_mut(source) {
            connection.arrive(now, piece, len);
        }
        // Also from a source that was left: if `wants` was true, the driver is verifying the piece.
        if self.sources.get(source).is_some() && self.wants(piece) {
            self.pieces.arrive(piece, source);
        }
    }

    pub(super) fn apply_failure(&mut self, endpoint: SocketAddr, why: String, sent_wrong_data: bool) {
        let Some(source) = self.sources.get(endpoint) else { return };
        match &source.connection {
            // The source has closed an idle connection. That is not a failure.
            Some(connection) if connection.is_idle() && connection.has_delivered() && !sent_wrong_data => {
                self.close(endpoint, Some(why))
            }
            // Errors after the connection was closed mean nothing, but wrong data does.
            None if !sent_wrong_data => {}
            _ => self.fail(endpoint, why, sent_wrong_data),
        }
    }

    /// The source has failed for the rest of this round.
    fn fail(&mut self, endpoint: SocketAddr, why: String, sent_wrong_data: bool) {
        if let Some(source) = self.sources.get_mut(endpoint) {
            source.has_failed = true;
            self.sources.record(SourceFailure { source: endpoint, why: why.clone(), sent_wrong_data });
            self.close(endpoint, Some(why));
        }
    }

    /// After its first wrong piece a source is left. It is used again only while the sources without a wrong
    /// piece do not have all pieces, and after [`limits::WRONG_PIECES_MAX`] not before the next round.
    fn blame(&mut self, endpoint: SocketAddr, why: String) {
        let Some(source) = self.sources.get_mut(endpoint) else { return };
        source.wrong_pieces += 1;
        self.sources.record(SourceFailure { source: endpoint, why: why.clone(), sent_wrong_data: true });
        self.close(endpoint, Some(why));
    }

    /// Closes the connection to a source in use. Pieces that were requested from it alone are missing again.
    pub(super) fn close(&mut self, endpoint: SocketAddr, why: Option<String>) {
        let Some(connection) = self.sources.get_mut(endpoint).and_then(|source| source.connection.take())
        else {
            return;
        };
        connection.requested().for_each(|piece| self.set_missing_if_not_requested(piece));
        self.actions.push_back(Action::Leave { source: endpoint, why });
    }

    /// After a request has ended: the piece is missing again if it is requested from no other source.
    fn set_missing_if_not_requested(&mut self, piece: u32) {
        if self.pieces.state(piece) == Some(State::Requested) && self.sources.times_requested(piece) == 0 {
            self.pieces.set_missing(piece);
        }
    }
}
