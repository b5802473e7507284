//! The driver's view of the holders of its content: it starts searches, asks partial holders which pieces
//! they have, and passes the results to the machine.

use std::sync::Arc;
use std::time::Instant;

use super::driver::{Driver, Run, TransferError};
use super::message::Message;
use super::ports::SearchError;
use super::search::{self, HeldPieces, Search, Searched, is_whole, with_pieces};
use crate::logic::select::Candidate;
use crate::logic::transfer::Event;
use crate::rt::clock;
use crate::types::{PieceSet, limits};

impl Driver<'_> {
    pub(super) fn search(&self, run: &mut Run) -> Result<(), TransferError> {
        if run.is_searching {
            return Ok(());
        }
        let opens_round = run.transfer.is_between_rounds();
        let search = Search {
            config: self.config.clone(),
            holders: Arc::clone(&self.holders),
            notices: Arc::clone(&self.notices),
            name: self.name.clone(),
            content: self.content,
            geometry: self.geometry,
            known: self.providers.values().cloned().collect(),
            here: self.here(run),
            // Taken now: the next ranking may clear the marks of these sources.
            distrusted: run.transfer.marked().collect(),
            opens_round,
        };
        let (reports, stop) = (run.reports.0.clone(), run.stop.clone());
        let search = move || {
            let _download_has_ended = reports.send(Message::Searched(search.run(&stop)));
        };
        match run.threads.spawn("search", search) {
            Ok(()) => run.is_searching = true,
            Err(error) if opens_round => return Err(TransferError::System(error)),
            // The sources in use continue, and the machine asks for a search again.
            Err(_) => run.transfer.on_event(clock::now(), Event::Unranked),
        }
        Ok(())
    }

    /// The pieces that are done or being verified.
    fn here(&self, run: &Run) -> PieceSet {
        let count = self.geometry.count().unwrap_or(0);
        let mut here = PieceSet::none(count);
        (0..count).filter(|piece| !run.transfer.wants(*piece)).for_each(|piece| here.set(piece, true));
        here
    }

    pub(super) fn apply_search(
        &mut self,
        run: &mut Run,
        searched: Result<Searched, SearchError>,
    ) -> Result<(), TransferError> {
        run.is_searching = false;
        let opens_round = run.transfer.is_between_rounds();
        let now = clock::now();
        match searched {
            Ok(Searched::Holders { providers, ranking, held }) => {
                // Of the holders known before, only those that have sent a piece stay: memory must not grow
                // with every new holder during a long download.
                self.providers.retain(|endpoint, _| run.fetched.sources.contains(endpoint));
                self.providers.extend(providers.into_iter().map(|provider| (provider.endpoint, provider)));
                run.ranked = ranking.iter().map(Candidate::from).collect();
                run.have_schedule.searched(&held, now);
                run.transfer.on_event(now, Event::Ranked(with_pieces(&run.ranked, held)));
                if opens_round {
                    (self.publish)(self.reporter.ranked(self.content, ranking, now));
                }
            }
            Ok(Searched::Replaced) if run.transfer.on_the_wire() == 0 && !is_whole(&self.here(run)) => {
                return Err(TransferError::Replaced(run.transfer.failures().to_vec()));
            }
            Err(SearchError::Cancelled) => return Err(TransferError::Cancelled),
            Err(SearchError::System(error)) if opens_round => return Err(TransferError::System(error)),
            // The sources in use continue, and the machine asks for a search again. A source that is not
            // offered any more may still send what was requested.
            Ok(Searched::Replaced) | Err(_) => run.transfer.on_event(now, Event::Unranked),
        }
        Ok(())
    }

    /// Asks the partial holders which pieces they have now, if that is due.
    pub(super) fn ask_partial_holders(&self, run: &mut Run, now: Instant) {
        let partial = run.have_schedule.due(now);
        if partial.is_empty() {
            return;
        }
        let (config, content) = (self.config.clone(), (self.content, self.geometry));
        let (reports, stop) = (run.reports.0.clone(), run.stop.clone());
        let ask = move || {
            let held = search::have(&config, content, &partial, limits::PROBE_SILENCE_MS, &stop);
            let _download_has_ended = reports.send(Message::Have(held));
        };
        if run.threads.spawn("have", ask).is_err() {
            // It is tried again later.
            run.have_schedule.observe(&HeldPieces::new(), now);
        }
    }

    pub(super) fn apply_have(
        &mut self,
        run: &mut Run,
        held: Result<HeldPieces, SearchError>,
    ) -> Result<(), TransferError> {
        let mut held = match held {
            Ok(held) => held,
            Err(SearchError::Cancelled) => return Err(TransferError::Cancelled),
            Err(_) => HeldPieces::new(),
        };
        let now = clock::now();
        // A search may have found meanwhile that a partial holder has everything.
        held.retain(|source, _| run.transfer.is_partial(*source));
        run.have_schedule.observe(&held, now);
        for (source, pieces) in held {
            run.transfer.on_event(now, Event::Has { source, pieces });
        }
        Ok(())
    }
}
