//! The known sources of one download: the last ranking, the marks of each source in this round, and the
//! latest failures.
//!
//! A mark (failure, wrong pieces, refusals) holds until the round ends. Sources that sent a wrong piece rank
//! after all others.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::allocation::united;
use super::in_flight::Wire;
use super::interface::RankedSource;
use super::pieces::Pieces;
use crate::logic::select::WeightedSource;
use crate::types::{Millis, PieceSet, limits};

/// Number of failures kept; older ones are dropped.
const FAILURES_MAX: usize = 64;
/// Number of sources kept. Above it, marks of sources that the last ranking does not name are dropped early.
const KNOWN_MAX: usize = 1024;
/// Partial sources are not waited for if none has reported more pieces than before for this time.
const GROWS_WITHIN: Duration = Duration::from_secs(30);

/// A failure of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFailure {
    /// The source.
    pub source: SocketAddr,
    /// The reason, for the user.
    pub why: String,
    /// True if a digest did not match.
    pub by_digest: bool,
}

/// A known source.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) latency: Millis,
    /// Transfers there, without this node's own.
    pub(super) load: u64,
    /// The pieces that it has; `None`: all.
    pub(super) has: Option<PieceSet>,
    /// It has a piece that is not here.
    pub(super) is_of_use: bool,
    /// True if the last ranking names it.
    is_offered: bool,
    /// It failed in this round.
    pub(super) has_failed: bool,
    /// Number of wrong pieces in this round.
    pub(super) wrong_pieces: u32,
    /// How often in this round it did not have a piece that it had reported.
    pub(super) refusals: u32,
    /// Set while it is in use.
    pub(super) wire: Option<Wire>,
}

impl Source {
    /// True if it may be opened: the last ranking names it, and it has no mark that forbids it.
    fn is_free(&self) -> bool {
        self.is_offered && !self.has_failed && self.wrong_pieces < limits::WRONG_PIECES_MAX
    }

    /// True if it is in use or may be opened, whether it has a missing piece or not.
    fn is_there(&self) -> bool {
        self.wire.is_some() || self.is_free()
    }

    fn is_usable(&self) -> bool {
        self.is_of_use && self.is_there()
    }

    /// True if it has this piece, according to its last report.
    pub(super) fn has(&self, piece: u32) -> bool {
        self.has.as_ref().is_none_or(|has| has.contains(piece))
    }

    /// The source as the selection rule sees it.
    pub(super) fn weighted(&self, endpoint: SocketAddr) -> WeightedSource {
        let requested = self.wire.as_ref().map_or(0, |wire| wire.requested().len() as u64);
        WeightedSource { endpoint, latency: self.latency, load: self.load + requested }
    }

    fn is_marked(&self) -> bool {
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

    /// Applies a new ranking. A source in use that it does not name stays in use. Other sources are dropped
    /// unless they are marked or have sent a piece that is being verified.
    pub(super) fn refresh(&mut self, now: Instant, ranked: Vec<RankedSource>, pieces: &Pieces) {
        for source in self.sources.values_mut() {
            source.is_offered = false;
        }
        let is_set_of_ours = |has: &PieceSet| has.count() == pieces.count();
        for (one, has) in ranked.into_iter().filter(|(_, has)| has.as_ref().is_none_or(is_set_of_ours)) {
            let source = self.sources.entry(one.endpoint).or_insert(Source {
                latency: one.latency,
                load: 0,
                has: None,
                is_of_use: true,
                is_offered: true,
                has_failed: false,
                wrong_pieces: 0,
                refusals: 0,
                wire: None,
            });
            source.latency = one.latency;
            source.load = u64::from(one.load.saturating_sub(one.yours));
            source.is_offered = true;
            self.record_pieces(now, one.endpoint, has);
        }
        let is_crowded = self.sources.len() > KNOWN_MAX;
        self.sources.retain(|endpoint, source| {
            source.is_offered
                || source.wire.is_some()
                || (source.is_marked() && !is_crowded)
                || pieces.is_sender(*endpoint)
        });
        // A mark is small, a set is not. The pieces of a source that is not offered are reported again when a
        // ranking names it.
        for source in self.sources.values_mut().filter(|source| !source.is_offered && source.wire.is_none()) {
            source.has = None;
        }
    }

    /// Records that this source has these pieces now; `None`: all.
    pub(super) fn record_pieces(&mut self, now: Instant, endpoint: SocketAddr, has: Option<PieceSet>) {
        let Some(source) = self.sources.get_mut(&endpoint) else { return };
        if let Some(has) = &has {
            let most = self.most_reported.get(&endpoint).copied();
            // Above this number, new partial sources are not waited for.
            let is_counted = most.is_some() || self.most_reported.len() < KNOWN_MAX;
            if is_counted && most.is_none_or(|most| most < has.len()) {
                self.most_reported.insert(endpoint, has.len());
                self.grew_at = Some(now);
            }
        }
        source.has = has;
    }

    /// Clears the failures of sources that are not to blame for wrong pieces or refusals.
    pub(super) fn forgive_failures(&mut self) {
        let is_blamed = |source: &Source| source.wrong_pieces > 0 || source.refusals >= limits::REFUSALS_MAX;
        for source in self.sources.values_mut().filter(|source| !is_blamed(source)) {
            source.has_failed = false;
        }
    }

    /// Clears all marks: a new round begins.
    pub(super) fn forgive(&mut self) {
        for source in self.sources.values_mut() {
            (source.has_failed, source.wrong_pieces, source.refusals) = (false, 0, 0);
        }
    }

    /// Records for each source whether it has a piece that is not here.
    pub(super) fn update_use(&mut self, pieces: &Pieces) {
        for source in self.sources.values_mut() {
            source.is_of_use = source.has.as_ref().is_none_or(|has| pieces.wants_any_of(has));
        }
    }

    pub(super) fn get(&self, endpoint: SocketAddr) -> Option<&Source> {
        self.sources.get(&endpoint)
    }

    pub(super) fn get_mut(&mut self, endpoint: SocketAddr) -> Option<&mut Source> {
        self.sources.get_mut(&endpoint)
    }

    /// The connection to a source in use.
    pub(super) fn wire_mut(&mut self, endpoint: SocketAddr) -> Option<&mut Wire> {
        self.sources.get_mut(&endpoint)?.wire.as_mut()
    }

    /// The sources that may get requests now, in use or not: usable sources without a wrong piece if they
    /// suffice, else all usable sources.
    pub(super) fn eligible(&self, pieces: &Pieces) -> impl Iterator<Item = (SocketAddr, &Source)> {
        let is_any_blamed = self.sources.values().any(|source| source.wrong_pieces > 0);
        let only_clean = is_any_blamed && self.clean_suffice(pieces);
        self.sources
            .iter()
            .filter(move |(_, source)| source.is_usable() && (source.wrong_pieces == 0 || !only_clean))
            .map(|(endpoint, source)| (*endpoint, source))
    }

    /// True if the usable sources without a wrong piece together have all pieces that are missing or may be
    /// missing again.
    pub(super) fn clean_suffice(&self, pieces: &Pieces) -> bool {
        suffice(self.sources.values().filter(|source| source.is_usable() && source.wrong_pieces == 0), pieces)
    }

    /// The union of the pieces of partial sources that are in use or may be opened and sent no wrong piece;
    /// `None` if there is no such source.
    pub(super) fn elsewhere(&self) -> Option<PieceSet> {
        let there = self.sources.values().filter(|source| source.is_there() && source.wrong_pieces == 0);
        united(there.filter_map(|source| source.has.as_ref()))
    }

    /// True if the sources that may get requests, without those that are `out`, together have all pieces that
    /// are missing or may be missing again.
    pub(super) fn others_suffice(&self, pieces: &Pieces, out: impl Fn(SocketAddr, &Source) -> bool) -> bool {
        let others = self.eligible(pieces).filter(|(endpoint, source)| !out(*endpoint, source));
        suffice(others.map(|(_, source)| source), pieces)
    }

    /// Until when partial sources that may be opened are expected to report more pieces.
    pub(super) fn grows_until(&self) -> Option<Instant> {
        let is_there = self.sources.values().any(|source| source.has.is_some() && source.is_free());
        self.grew_at.filter(|_| is_there).map(|at| at + GROWS_WITHIN)
    }

    /// Records for the user which unmarked partial source has most pieces, when no source has a missing one.
    pub(super) fn record_largest_partial(&mut self) {
        let parts = self.sources.iter().filter(|(_, source)| source.is_free() && !source.is_marked());
        let parts = parts.filter_map(|(endpoint, source)| Some((source.has.as_ref()?, *endpoint)));
        if let Some((has, source)) = parts.max_by_key(|(has, _)| has.len()) {
            let why = format!("has {} of {} pieces, none that is missing here", has.len(), has.count());
            self.record(SourceFailure { source, why, by_digest: false });
        }
    }

    /// All sources in use.
    pub(super) fn in_use(&self) -> impl Iterator<Item = (SocketAddr, &Source, &Wire)> {
        self.sources.iter().filter_map(|(endpoint, source)| Some((*endpoint, source, source.wire.as_ref()?)))
    }

    /// The number of sources in use from which a piece is requested.
    pub(super) fn times_requested(&self, piece: u32) -> usize {
        self.in_use().filter(|(_, _, wire)| wire.is_requested(piece)).count()
    }

    pub(super) fn record(&mut self, failure: SourceFailure) {
        if self.failures.len() == FAILURES_MAX {
            self.failures.remove(0);
        }
        self.failures.push(failure);
    }

    /// Sources with a mark in this round.
    pub(super) fn marked(&self) -> impl Iterator<Item = SocketAddr> {
        self.sources.iter().filter(|(_, source)| source.is_marked()).map(|(endpoint, _)| *endpoint)
    }

    pub(super) fn failures(&self) -> &[SourceFailure] {
        &self.failures
    }
}

/// True if these sources together have all pieces that are missing or may be missing again.
fn suffice<'a>(sources: impl Iterator<Item = &'a Source>, pieces: &Pieces) -> bool {
    let sources: Vec<&Source> = sources.collect();
    let parts = || sources.iter().filter_map(|source| source.has.as_ref());
    parts().count() < sources.len() || united(parts()).is_some_and(|has| pieces.wants_only(&has))
}
