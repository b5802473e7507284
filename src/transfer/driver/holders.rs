//! What the driver does with the holders of its content: it starts searches, asks partial holders which
//! pieces they have, and passes the results to the machine.

use std::sync::Arc;
use std::time::Instant;

use super::event_loop::Run;
use super::interface::{Driver, TransferError};
use super::message::Message;
use crate::logic::select::Candidate;
use crate::logic::transfer::Event;
use crate::rt::clock;
use crate::transfer::ports::SearchError;
use crate::transfer::search::{HeldPieces, Search, SearchResult, ask_pieces, is_whole, with_pieces};
use crate::types::{PieceSet, limits};

impl Driver<'_> {
    /// Starts the thread of a search, unless one is running.
    pub(super) fn search(&self, run: &mut Run) -> Result<(), TransferError> {
        if run.is_searching {
            return Ok(());
        }
        let is_between_rounds = run.transfer.is_between_rounds();
        let search = Search {
            config: self.config.clone(),
            holders: Arc::clone(&self.holders),
            notices: Arc::clone(&self.notices),
            name: self.name.clone(),
            content: self.content,
            geometry: self.geometry,
            known: self.providers.values().cloned().collect(),
            not_wanted: self.not_wanted(run),
            // Read now: the next ranking may clear the faults of these sources.
            faulty: run.transfer.faulty_sources().collect(),
            is_between_rounds,
        };
        let (messages, stop) = (run.messages.0.clone(), run.stop.clone());
        // The channel is closed if the download has ended.
        let run_search = move || drop(messages.send(Message::Search(search.run(&stop))));
        match run.threads.spawn("search", run_search) {
            Ok(()) => run.is_searching = true,
            // Between rounds nothing else can happen in this download.
            Err(error) if is_between_rounds => return Err(TransferError::System(error)),
            // The sources in use continue, and the machine wants a search again later.
            Err(_) => run.transfer.on_event(clock::now(), Event::Unranked),
        }
        Ok(())
    }

    /// The pieces that are done or being verified.
    fn not_wanted(&self, run: &Run) -> PieceSet {
        let count = self.geometry.count().unwrap_or(0);
        let mut pieces = PieceSet::none(count);
        (0..count).filter(|piece| !run.transfer.wants(*piece)).for_each(|piece| pieces.set(piece, true));
        pieces
    }

    pub(super) fn apply_search(
        &mut self,
        run: &mut Run,
        result: Result<SearchResult, SearchError>,
    ) -> Result<(), TransferError> {
        run.is_searching = false;
        let is_between_rounds = run.transfer.is_between_rounds();
        let now = clock::now();
        match result {
            Ok(SearchResult::Holders { providers, ranking, held }) => {
                // Of the holders known before, only those that have sent a piece stay: memory must not grow
                // with every new holder during a long download.
                self.providers.retain(|endpoint, _| run.fetched.sources.contains(endpoint));
                self.providers.extend(providers.into_iter().map(|provider| (provider.endpoint, provider)));
                run.ranked = ranking.iter().map(Candidate::from).collect();
                run.have_schedule.replace(&held, now);
                run.transfer.on_event(now, Event::Ranked(with_pieces(&run.ranked, held)));
                // The user sees one ranking for each round, not the searches while pieces arrive.
                if is_between_rounds {
                    (self.publish)(self.reporter.ranked(self.content, ranking, now));
                }
            }
            // A source that discovery names no more may still send the pieces that were requested from it.
            Ok(SearchResult::Replaced)
                if run.transfer.in_flight() == 0 && !is_whole(&self.not_wanted(run)) =>
            {
                return Err(TransferError::Replaced(run.transfer.failures().to_vec()));
            }
            Err(SearchError::Cancelled) => return Err(TransferError::Cancelled),
            Err(SearchError::System(error)) if is_between_rounds => return Err(TransferError::System(error)),
            // The sources in use continue, and the machine wants a search again later.
            Ok(SearchResult::Replaced) | Err(_) => run.transfer.on_event(now, Event::Unranked),
        }
        Ok(())
    }

    /// Asks the partial holders which pieces they have now, if that is due.
    pub(super) fn ask_partial_holders(&self, run: &mut Run, now: Instant) {
        let partial = run.have_schedule.take_due(now);
        if partial.is_empty() {
            return;
        }
        let (config, content) = (self.config.clone(), (self.content, self.geometry));
        let (messages, stop) = (run.messages.0.clone(), run.stop.clone());
        let ask = move || {
            let held = ask_pieces(&config, content, &partial, limits::PROBE_SILENCE_MS, &stop);
            // The channel is closed if the download has ended.
            messages.send(Message::HeldPieces(held)).ok();
        };
        if run.threads.spawn("have", ask).is_err() {
            // Plans the next attempt.
            run.have_schedule.observe(&HeldPieces::new(), now);
        }
    }

    pub(super) fn apply_held_pieces(
        &mut self,
        run: &mut Run,
        held: Result<HeldPieces, SearchError>,
    ) -> Result<(), TransferError> {
        let mut held = match held {
            Ok(held) => held,
            Err(SearchError::Cancelled) => return Err(TransferError::Cancelled),
            // As if no holder had answered: they are asked again after a longer pause.
            Err(SearchError::NoAnswer(_) | SearchError::System(_)) => HeldPieces::new(),
        };
        let now = clock::now();
        // A search may have found meanwhile that a partial holder has everything.
        held.retain(|source, _| run.transfer.is_partial(*source));
        run.have_schedule.observe(&held, now);
        for (source, pieces) in held {
            run.transfer.on_event(now, Event::HasPieces { source, pieces });
        }
        Ok(())
    }
}
