//! The known sources of one download: what the last ranking says of each, its marks in this round, and every
//! failure so far.
//!
//! A mark (failed, wrong pieces, refusals) holds until the round ends. A source that sent a wrong piece comes
//! after all that did not.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::allocation::united;
use super::in_flight::Wire;
use super::interface::RankedSource;
use super::pieces::Pieces;
use crate::logic::select::WeightedSource;
use crate::types::{Millis, PieceSet, limits};

/// Failures kept; older ones are forgotten.
const FAILURES_MAX: usize = 64;
/// Sources kept. Beyond it marks of those that no ranking names any more are forgotten early.
const KNOWN_MAX: usize = 1024;
/// Partial sources none of which has told of more than before for so long are not waited for.
const GROWS_WITHIN: Duration = Duration::from_secs(30);

/// One try of a source that came to nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFailure {
    pub source: SocketAddr,
    pub why: String,
    /// True if it was digests that did not match.
    pub by_digest: bool,
}

/// A known source.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) latency: Millis,
    /// Transfers there, our own left out.
    pub(super) load: u64,
    /// The pieces that it has; `None`: all of them.
    pub(super) has: Option<PieceSet>,
    /// It has a piece that is not here.
    pub(super) is_of_use: bool,
    /// True if the last ranking names it.
    is_offered: bool,
    /// It failed in this round.
    pub(super) has_failed: bool,
    /// In this round.
    pub(super) wrong_pieces: u32,
    /// How often it told to have pieces and did not, in this round.
    pub(super) refusals: u32,
    /// Set while it is in use.
    pub(super) wire: Option<Wire>,
}

impl Source {
    /// It may be opened: the last ranking names it, and nothing is held against it in this round.
    fn is_free(&self) -> bool {
        self.is_offered && !self.has_failed && self.wrong_pieces < limits::WRONG_PIECES_MAX
    }

    /// It is in use or may be opened, whether it has something for us or not.
    fn is_there(&self) -> bool {
        self.wire.is_some() || self.is_free()
    }

    fn is_usable(&self) -> bool {
        self.is_of_use && self.is_there()
    }

    /// True if it has this piece, as far as it has told.
    pub(super) fn has(&self, piece: u32) -> bool {
        self.has.as_ref().is_none_or(|has| has.contains(piece))
    }

    /// As the selection rule sees it.
    pub(super) fn sharer(&self, endpoint: SocketAddr) -> WeightedSource {
        let asked = self.wire.as_ref().map_or(0, |wire| wire.asked().len() as u64);
        WeightedSource { endpoint, latency: self.latency, load: self.load + asked }
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
    /// The most pieces that each partial source has ever told of: who comes back with what it had brings no
    /// news.
    most_told: BTreeMap<SocketAddr, usize>,
    /// When a partial source last told of more than ever before.
    grew_at: Option<Instant>,
}

impl Sources {
    pub(super) fn new() -> Sources {
        Sources { sources: BTreeMap::new(), failures: Vec::new(), most_told: BTreeMap::new(), grew_at: None }
    }

    /// Takes in a new ranking. A source in use that it does not name stays in use; other ones are forgotten
    /// unless they are marked or have sent something that is being verified.
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
            self.tell(now, one.endpoint, has);
        }
        let is_crowded = self.sources.len() > KNOWN_MAX;
        self.sources.retain(|endpoint, source| {
            source.is_offered
                || source.wire.is_some()
                || (source.is_marked() && !is_crowded)
                || pieces.is_sender(*endpoint)
        });
        // A mark is small, a set is not: what those have whom nobody names any more is told anew when
        // somebody does.
        for source in self.sources.values_mut().filter(|source| !source.is_offered && source.wire.is_none()) {
            source.has = None;
        }
    }

    /// This source has these pieces now; `None`: all of them.
    pub(super) fn tell(&mut self, now: Instant, endpoint: SocketAddr, has: Option<PieceSet>) {
        let Some(source) = self.sources.get_mut(&endpoint) else { return };
        if let Some(has) = &has {
            let most = self.most_told.get(&endpoint).copied();
            // However many come and go: beyond so many a newcomer is not waited for.
            let is_counted = most.is_some() || self.most_told.len() < KNOWN_MAX;
            if is_counted && most.is_none_or(|most| most < has.len()) {
                self.most_told.insert(endpoint, has.len());
                self.grew_at = Some(now);
            }
        }
        source.has = has;
    }

    /// Tries those again that have failed and are not to blame for anything.
    pub(super) fn forgive_failures(&mut self) {
        let is_blamed = |source: &Source| source.wrong_pieces > 0 || source.refusals >= limits::REFUSALS_MAX;
        for source in self.sources.values_mut().filter(|source| !is_blamed(source)) {
            source.has_failed = false;
        }
    }

    /// Forgets all marks: a new round begins.
    pub(super) fn forgive(&mut self) {
        for source in self.sources.values_mut() {
            (source.has_failed, source.wrong_pieces, source.refusals) = (false, 0, 0);
        }
    }

    /// Tells those that have a piece which is not here from those that have none.
    pub(super) fn judge_use(&mut self, pieces: &Pieces) {
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

    /// Those that may be asked for pieces now, in use or not: the usable ones that sent no wrong piece, if
    /// they suffice, else all usable ones.
    pub(super) fn eligible(&self, pieces: &Pieces) -> impl Iterator<Item = (SocketAddr, &Source)> {
        let is_any_blamed = self.sources.values().any(|source| source.wrong_pieces > 0);
        let only_clean = is_any_blamed && self.clean_suffice(pieces);
        self.sources
            .iter()
            .filter(move |(_, source)| source.is_usable() && (source.wrong_pieces == 0 || !only_clean))
            .map(|(endpoint, source)| (*endpoint, source))
    }

    /// True if the usable sources that have sent no wrong piece have together all that is missing or may be
    /// missing again.
    pub(super) fn clean_suffice(&self, pieces: &Pieces) -> bool {
        suffice(self.sources.values().filter(|source| source.is_usable() && source.wrong_pieces == 0), pieces)
    }

    /// What partial sources that are there and sent no wrong piece have together, of use or not; `None`:
    /// there are none.
    pub(super) fn elsewhere(&self) -> Option<PieceSet> {
        let there = self.sources.values().filter(|source| source.is_there() && source.wrong_pieces == 0);
        united(there.filter_map(|source| source.has.as_ref()))
    }

    /// True if those that may be asked, without those that are `out`, have together all that is missing or
    /// may be missing again.
    pub(super) fn others_suffice(&self, pieces: &Pieces, out: impl Fn(SocketAddr, &Source) -> bool) -> bool {
        let others = self.eligible(pieces).filter(|(endpoint, source)| !out(*endpoint, source));
        suffice(others.map(|(_, source)| source), pieces)
    }

    /// Until when partial sources that may be opened are expected to have more than now.
    pub(super) fn grows_until(&self) -> Option<Instant> {
        let is_there = self.sources.values().any(|source| source.has.is_some() && source.is_free());
        self.grew_at.filter(|_| is_there).map(|at| at + GROWS_WITHIN)
    }

    /// Nobody has anything for us: for the user, the partial source that has most is named, if one has not
    /// failed.
    pub(super) fn record_what_was_not_enough(&mut self) {
        let parts = self.sources.iter().filter(|(_, source)| source.is_free() && !source.is_marked());
        let parts = parts.filter_map(|(endpoint, source)| Some((source.has.as_ref()?, *endpoint)));
        if let Some((has, source)) = parts.max_by_key(|(has, _)| has.len()) {
            let why = format!("has {} of {} pieces, none that is missing here", has.len(), has.count());
            self.record(SourceFailure { source, why, by_digest: false });
        }
    }

    /// Sources in use.
    pub(super) fn in_use(&self) -> impl Iterator<Item = (SocketAddr, &Source, &Wire)> {
        self.sources.iter().filter_map(|(endpoint, source)| Some((*endpoint, source, source.wire.as_ref()?)))
    }

    /// Of how many sources in use a piece is asked.
    pub(super) fn times_asked(&self, piece: u32) -> usize {
        self.in_use().filter(|(_, _, wire)| wire.is_asked(piece)).count()
    }

    pub(super) fn record(&mut self, failure: SourceFailure) {
        if self.failures.len() == FAILURES_MAX {
            self.failures.remove(0);
        }
        self.failures.push(failure);
    }

    /// Those against whom something is held in this round.
    pub(super) fn marked(&self) -> impl Iterator<Item = SocketAddr> {
        self.sources.iter().filter(|(_, source)| source.is_marked()).map(|(endpoint, _)| *endpoint)
    }

    pub(super) fn failures(&self) -> &[SourceFailure] {
        &self.failures
    }
}

/// True if these have together all that is missing or may be missing again.
fn suffice<'a>(sources: impl Iterator<Item = &'a Source>, pieces: &Pieces) -> bool {
    let sources: Vec<&Source> = sources.collect();
    let parts = || sources.iter().filter_map(|source| source.has.as_ref());
    parts().count() < sources.len() || united(parts()).is_some_and(|has| pieces.wants_only(&has))
}
