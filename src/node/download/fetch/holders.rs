//! What a fetch knows of the holders of its content: it has them searched for and those with a part asked for
//! news, and tells the machine.

use std::sync::Arc;
use std::time::Instant;

use super::{Fetch, FetchError, Run};
use crate::logic::select::Candidate;
use crate::logic::transfer::{Event, Ranked};
use crate::node::download::report::SourceMessage;
use crate::node::download::search::{self, HeldPieces, Search, Searched, is_whole};
use crate::node::error::CommandError;
use crate::node::report::Progress;
use crate::rt::clock;
use crate::types::{Geometry, PieceSet, limits};

impl Fetch<'_> {
    pub(super) fn search(&self, run: &mut Run) -> Result<(), FetchError> {
        if run.is_searching {
            return Ok(());
        }
        let opens_round = run.transfer.is_between_rounds();
        let search = Search {
            name: self.request.name.clone(),
            content: self.content,
            known: self.providers.values().cloned().collect(),
            here: self.here(run),
            // Now: a new ranking may forgive them.
            distrusted: run.transfer.marked().collect(),
            opens_round,
        };
        let (context, reports, stop) = (Arc::clone(self.context), run.reports.0.clone(), run.stop.clone());
        let search = move || {
            let _download_has_ended = reports.send(SourceMessage::Searched(search.run(&context, &stop)));
        };
        match run.threads.spawn("search", search) {
            Ok(()) => run.is_searching = true,
            Err(error) if opens_round => return Err(FetchError::System(error)),
            // Those in use go on, and it is tried again.
            Err(_) => run.transfer.on_event(clock::now(), Event::Unranked),
        }
        Ok(())
    }

    /// The pieces that are done or being verified.
    fn here(&self, run: &Run) -> PieceSet {
        let count = Geometry::of(self.content.size_bytes).count().unwrap_or(0);
        let mut here = PieceSet::none(count);
        (0..count).filter(|piece| !run.transfer.wants(*piece)).for_each(|piece| here.set(piece, true));
        here
    }

    pub(super) fn take_searched(
        &mut self,
        run: &mut Run,
        searched: Result<Searched, CommandError>,
    ) -> Result<(), FetchError> {
        run.is_searching = false;
        let opens_round = run.transfer.is_between_rounds();
        let now = clock::now();
        match searched {
            Ok(Searched::Holders { providers, ranking, parts }) => {
                // Of those known before, only they stay who have sent something: a long download must not
                // grow with every newcomer.
                self.providers.retain(|endpoint, _| run.fetched.sources.contains(endpoint));
                self.providers.extend(providers.into_iter().map(|provider| (provider.endpoint, provider)));
                run.ranked = ranking.iter().map(|rating| rating.candidate).collect();
                run.refresh.searched(&parts, now);
                run.transfer.on_event(now, Event::Ranked(ranked(&run.ranked, parts)));
                if opens_round {
                    (self.progress)(Progress::Ranked { key: self.content, ranking });
                }
            }
            Ok(Searched::Replaced) if run.transfer.on_the_wire() == 0 && !is_whole(&self.here(run)) => {
                return Err(FetchError::Replaced(run.transfer.failures().to_vec()));
            }
            Err(CommandError::Cancelled) => return Err(FetchError::Cancelled),
            Err(error) if opens_round => {
                return Err(FetchError::System(std::io::Error::other(error.to_string())));
            }
            // Those in use go on, and it is tried again. One that is not offered any more may still send what
            // it was asked for.
            Ok(Searched::Replaced) | Err(_) => run.transfer.on_event(now, Event::Unranked),
        }
        Ok(())
    }

    /// Has those that have a part only asked what they have by now, if it is time to.
    pub(super) fn refresh_parts(&self, run: &mut Run, now: Instant) {
        let partial = run.refresh.due(now);
        if partial.is_empty() {
            return;
        }
        let (context, content) = (Arc::clone(self.context), self.content);
        let (reports, stop) = (run.reports.0.clone(), run.stop.clone());
        let ask = move || {
            let told = search::have(&context, content, &partial, limits::PROBE_SILENCE_MS, &stop);
            let _download_has_ended = reports.send(SourceMessage::Have(told));
        };
        if run.threads.spawn("parts", ask).is_err() {
            // It is tried again.
            run.refresh.told(&HeldPieces::new(), now);
        }
    }

    pub(super) fn take_have(
        &mut self,
        run: &mut Run,
        told: Result<HeldPieces, CommandError>,
    ) -> Result<(), FetchError> {
        let mut told = match told {
            Ok(told) => told,
            Err(CommandError::Cancelled) => return Err(FetchError::Cancelled),
            Err(_) => HeldPieces::new(),
        };
        let now = clock::now();
        // A search may have found meanwhile that one of them has everything.
        told.retain(|source, _| run.transfer.is_partial(*source));
        run.refresh.told(&told, now);
        for (source, pieces) in told {
            run.transfer.on_event(now, Event::Has { source, pieces });
        }
        Ok(())
    }
}

/// Who answered, each with what it has; all of it if `parts` does not name it.
pub(super) fn ranked(candidates: &[Candidate], mut parts: HeldPieces) -> Vec<Ranked> {
    candidates.iter().map(|candidate| (*candidate, parts.remove(&candidate.endpoint))).collect()
}
