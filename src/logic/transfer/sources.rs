//! The known sources of one download: the last ranking, the faults of each source in this round, and the
//! latest failures.
//!
//! A fault (a failure, wrong pieces, refusals) counts until the round ends. A source that sent a wrong piece
//! is used only while the others do not have all pieces.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::allocation::united;
use super::connection::Connection;
use super::interface::RankedSource;
use super::pieces::Pieces;
use crate::logic::select::WeightedSource;
use crate::types::{Millis, PieceSet, limits};

/// Number of failures kept; older ones are dropped.
const FAILURES_MAX: usize = 64;
/// Above this number of sources, the machine forgets the faults of sources that the last ranking does not
/// name. It also bounds the partial sources whose growth is awaited.
const KNOWN_MAX: usize = 1024;
/// Partial sources are not awaited any longer if none has reported more pieces than before for this time.
const GROWS_WITHIN: Duration = Duration::from_secs(30);

/// A failure of a source, for the user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFailure {
    /// The source.
    pub source: SocketAddr,
    /// The reason, for the user.
    pub why: String,
    /// True if a piece, a manifest or an MD5 that the source gave is wrong.
    pub sent_wrong_data: bool,
}

/// A known source.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) latency: Millis,
    /// Transfers there, without this node's own.
    pub(super) load: u64,
    /// The pieces that it has; `None`: all.
    pub(super) held: Option<PieceSet>,
    /// The source has a piece that is missing or requested.
    pub(super) is_of_use: bool,
    /// True if the last ranking names it.
    is_offered: bool,
    /// The source failed in this round.
    pub(super) has_failed: bool,
    /// Number of wrong pieces in this round.
    pub(super) wrong_pieces: u32,
    /// How often in this round the source did not have a piece that it had reported.
    pub(super) refusals: u32,
    /// Set while the source is in use.
    pub(super) connection: Option<Connection>,
}

impl Source {
    /// True if the last ranking names the source, and no fault forbids its use.
    fn is_allowed(&self) -> bool {
        self.is_offered && !self.has_failed && self.wrong_pieces < limits::WRONG_PIECES_MAX
    }

    /// True if the source is in use or may be opened, whether it has a missing piece or not.
    fn is_available(&self) -> bool {
        self.connection.is_some() || self.is_allowed()
    }

    fn is_usable(&self) -> bool {
        self.is_of_use && self.is_available()
    }

    /// True if the source has this piece, according to its last report.
    pub(super) fn has(&self, piece: u32) -> bool {
        self.held.as_ref().is_none_or(|held| held.contains(piece))
    }

    /// The source as the selection rule sees it.
    pub(super) fn weighted(&self, endpoint: SocketAddr) -> WeightedSource {
        let requested = self.connection.as_ref().map_or(0, |connection| connection.requested().len() as u64);
        WeightedSource { endpoint, latency: self.latency, load: self.load + requested }
    }

    fn is_faulty(&self) -> bool {
        self.has_failed || self.wrong_pieces > 0 || self.refusals > 0
    }
}

/// All known sources.
#[derive(Debug)]
pub(super) struct Sources {
    sources: BTreeMap<SocketAddr, Source>,
    failures: Vec<SourceFailure>,
    /// The largest number of pieces that each partial source has reported. A source that comes back with
    /// pieces it had before has not grown.
    most_reported: BTreeMap<SocketAddr, usize>,
    /// When a partial source last reported more pieces than ever before.
    grew_at: Option<Instant>,
}

impl Sources {
    pub(super) fn new() -> Sources {
        Sources {
            sources: BTreeMap::new(),
            failures: Vec::new(),
            most_reported: BTreeMap::new(),
            grew_at: None,
        }
    }

    /// Applies a new ranking. Forgets the sources that it does not name, except sources in use, faulty
    /// sources and senders of a piece that is being verified.
    pub(super) fn refresh(&mut self, now: Instant, ranked: Vec<RankedSource>, pieces: &Pieces) {
        for source in self.sources.values_mut() {
            source.is_offered = false;
        }
        let is_set_of_ours = |held: &PieceSet| held.count() == pieces.count();
        for (one, held) in ranked.into_iter().filter(|(_, held)| held.as_ref().is_none_or(is_set_of_ours)) {
            let source = self.sources.entry(one.endpoint).or_insert(Source {
                latency: one.latency,
                load: 0,
                held: None,
                is_of_use: true,
                is_offered: true,
                has_failed: false,
                wrong_pieces: 0,
                refusals: 0,
                connection: None,
            });
            source.latency = one.latency;
            source.load = u64::from(one.load.saturating_sub(one.yours));
            source.is_offered = true;
            self.record_pieces(now, one.endpoint, held);
        }
        let is_crowded = self.sources.len() > KNOWN_MAX;
        self.sources.retain(|endpoint, source| {
            source.is_offered
                || source.connection.is_some()
                || (source.is_faulty() && !is_crowded)
                || pieces.is_sender(*endpoint)
        });
        // A fault is small, a set is not. A ranking that names the source again also says its pieces.
        for source in
            self.sources.values_mut().filter(|source| !source.is_offered && source.connection.is_none())
        {
            source.held = None;
        }
    }

    /// Records that this source has these pieces now; `None`: all.
    pub(super) fn record_pieces(&mut self, now: Instant, endpoint: SocketAddr, held: Option<PieceSet>) {
        let Some(source) = self.sources.get_mut(&endpoint) else { return };
        if let Some(held) = &held {
            let most = self.most_reported.get(&endpoint).copied();
            // Above this number of partial sources, nobody waits for the growth of a new one.
            let is_counted = most.is_some() || self.most_reported.len() < KNOWN_MAX;
            if is_counted && most.is_none_or(|most| most < held.len()) {
                self.most_reported.insert(endpoint, held.len());
                self.grew_at = Some(now);
            }
        }
        source.held = held;
    }

    /// Clears the failures of sources without wrong pieces or too many refusals.
    pub(super) fn clear_failures(&mut self) {
        let is_blamed = |source: &Source| source.wrong_pieces > 0 || source.refusals >= limits::REFUSALS_MAX;
        for source in self.sources.values_mut().filter(|source| !is_blamed(source)) {
            source.has_failed = false;
        }
    }

    /// Clears all faults: a new round begins.
    pub(super) fn clear_faults(&mut self) {
        for source in self.sources.values_mut() {
            (source.has_failed, source.wrong_pieces, source.refusals) = (false, 0, 0);
        }
    }

    /// Records for each source whether it has a piece that is missing or requested.
    pub(super) fn update_use(&mut self, pieces: &Pieces) {
        for source in self.sources.values_mut() {
            source.is_of_use = source.held.as_ref().is_none_or(|held| pieces.wants_any_of(held));
        }
    }

    pub(super) fn get(&self, endpoint: SocketAddr) -> Option<&Source> {
        self.sources.get(&endpoint)
    }

    pub(super) fn get_mut(&mut self, endpoint: SocketAddr) -> Option<&mut Source> {
        self.sources.get_mut(&endpoint)
    }

    /// The connection to a source in use.
    pub(super) fn connection_mut(&mut self, endpoint: SocketAddr) -> Option<&mut Connection> {
        self.sources.get_mut(&endpoint)?.connection.as_mut()
    }

    /// The sources that may get requests now, in use or not: the usable sources without a wrong piece if they
    /// suffice, else all usable sources.
    pub(super) fn eligible(&self, pieces: &Pieces) -> impl Iterator<Item = (SocketAddr, &Source)> {
        let is_any_blamed = self.sources.values().any(|source| source.wrong_pieces > 0);
        let only_clean = is_any_blamed && self.clean_suffice(pieces);
        self.sources
            .iter()
            .filter(move |(_, source)| source.is_usable() && (source.wrong_pieces == 0 || !only_clean))
            .map(|(endpoint, source)| (*endpoint, source))
    }

    /// True if the usable sources without a wrong piece together have all pieces that are missing or
    /// requested.
    pub(super) fn clean_suffice(&self, pieces: &Pieces) -> bool {
        suffice(self.sources.values().filter(|source| source.is_usable() && source.wrong_pieces == 0), pieces)
    }

    /// All pieces of the partial sources that are available and sent no wrong piece; `None` if there is no
    /// such source.
    pub(super) fn partial_pieces(&self) -> Option<PieceSet> {
        let partial =
            self.sources.values().filter(|source| source.is_available() && source.wrong_pieces == 0);
        united(partial.filter_map(|source| source.held.as_ref()))
    }

    /// True if the eligible sources for which `is_out` is false together have all pieces that are missing or
    /// requested.
    pub(super) fn others_suffice(
        &self,
        pieces: &Pieces,
        is_out: impl Fn(SocketAddr, &Source) -> bool,
    ) -> bool {
        let others = self.eligible(pieces).filter(|(endpoint, source)| !is_out(*endpoint, source));
        suffice(others.map(|(_, source)| source), pieces)
    }

    /// Until when a partial source is expected to report more pieces; `None` if none may be opened.
    pub(super) fn grows_until(&self) -> Option<Instant> {
        let has_partial = self.sources.values().any(|source| source.held.is_some() && source.is_allowed());
        self.grew_at.filter(|_| has_partial).map(|at| at + GROWS_WITHIN)
    }

    /// Records for the user which partial source without a fault has most pieces, if no source has a missing
    /// one.
    pub(super) fn record_largest_partial(&mut self) {
        let partial = self.sources.iter().filter(|(_, source)| source.is_allowed() && !source.is_faulty());
        let partial = partial.filter_map(|(endpoint, source)| Some((source.held.as_ref()?, *endpoint)));
        if let Some((held, source)) = partial.max_by_key(|(held, _)| held.len()) {
            let why = format!("has {} of {} pieces, none that is missing here", held.len(), held.count());
            self.record(SourceFailure { source, why, sent_wrong_data: false });
        }
    }

    /// All sources in use.
    pub(super) fn in_use(&self) -> impl Iterator<Item = (SocketAddr, &Source, &Connection)> {
        self.sources
            .iter()
            .filter_map(|(endpoint, source)| Some((*endpoint, source, source.connection.as_ref()?)))
    }

    /// The number of sources in use from which a piece is requested.
    pub(super) fn times_requested(&self, piece: u32) -> usize {
        self.in_use().filter(|(_, _, connection)| connection.is_requested(piece)).count()
    }

    pub(super) fn record(&mut self, failure: SourceFailure) {
        if self.failures.len() == FAILURES_MAX {
            self.failures.remove(0);
        }
        self.failures.push(failure);
    }

    /// Sources with a fault in this round.
    pub(super) fn faulty(&self) -> impl Iterator<Item = SocketAddr> {
        self.sources.iter().filter(|(_, source)| source.is_faulty()).map(|(endpoint, _)| *endpoint)
    }

    pub(super) fn failures(&self) -> &[SourceFailure] {
        &self.failures
    }
}

/// True if these sources together have all pieces that are missing or requested.
fn suffice<'a>(sources: impl Iterator<Item = &'a Source>, pieces: &Pieces) -> bool {
    let sources: Vec<&Source> = sources.collect();
    let parts = || sources.iter().filter_map(|source| source.held.as_ref());
    // A source without a set has all pieces.
    parts().count() < sources.len() || united(parts()).is_some_and(|held| pieces.wants_only(&held))
}
