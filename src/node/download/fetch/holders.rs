//! What a fetch has to do with the other holders of its content: it searches for them, tells the machine what each has, and offers what is
//! here to them.
//!
//! Invariant: only a piece that the machine calls done is offered.

use std::net::SocketAddr;
use std::sync::Arc;

use super::{Fetch, FetchError, Run};
use crate::logic::select::Candidate;
use crate::logic::transfer::{Event, Ranked};
use crate::node::api::{CommandError, Progress};
use crate::node::download::report::Report;
use crate::node::download::search::{self, Parts, Searched};
use crate::rt::clock;

impl Fetch<'_> {
    pub(super) fn search(&self, run: &mut Run) -> Result<(), FetchError> {
        if run.is_searching {
            return Ok(());
        }
        let (engine, name, content) = (Arc::clone(self.engine), self.request.name.clone(), self.content);
        let known = self.providers.values().cloned().collect();
        let (reports, stop) = (run.reports.0.clone(), run.stop.clone());
        let is_alone = run.transfer.sources_in_use() == 0;
        let search = move || {
            let searched = search::holders(&engine, &name, content, known, is_alone, &stop);
            let _download_has_ended = reports.send(Report::Searched(searched));
        };
        match run.threads.spawn("search", search) {
            Ok(()) => run.is_searching = true,
            Err(error) if is_alone => return Err(FetchError::System(error)),
            // Those in use go on, and it is tried again.
            Err(_) => run.transfer.on_event(clock::now(), Event::Unranked),
        }
        Ok(())
    }

    pub(super) fn take_searched(
        &mut self,
        run: &mut Run,
        searched: Result<Searched, CommandError>,
    ) -> Result<(), FetchError> {
        run.is_searching = false;
        let is_alone = run.transfer.sources_in_use() == 0;
        let mut told = Parts::new();
        match searched {
            Ok(Searched::Holders { providers, ranking, parts }) => {
                told = parts;
                // Of those known before, only they stay who have sent something: a long download must not grow with every newcomer.
                self.providers.retain(|endpoint, _| run.fetched.sources.contains(endpoint));
                self.providers.extend(providers.into_iter().map(|provider| (provider.endpoint, provider)));
                run.ranked = ranking.iter().map(|rating| rating.candidate).collect();
                if is_alone {
                    (self.progress)(Progress::Ranked { key: self.content, ranking });
                }
            }
            Ok(Searched::Replaced) if is_alone && !run.verifier.has_work() && run.checked.is_empty() => {
                return Err(FetchError::Replaced(run.transfer.failures().to_vec()));
            }
            Ok(Searched::Replaced) => run.ranked.clear(),
            Err(CommandError::Cancelled) => return Err(FetchError::Cancelled),
            Err(error) if is_alone => {
                return Err(FetchError::System(std::io::Error::other(error.to_string())));
            }
            // Those in use go on, and it is tried again.
            Err(_) => {
                run.transfer.on_event(clock::now(), Event::Unranked);
                return Ok(());
            }
        }
        run.transfer.on_event(clock::now(), Event::Ranked(ranked(&run.ranked, told)));
        Ok(())
    }

    /// Others may have this piece if it is done.
    pub(super) fn offer(&mut self, run: &Run, piece: u32, source: Option<SocketAddr>) {
        if !run.transfer.is_done(piece) {
            return;
        }
        let Some(manifest) = run.piece_list.manifest() else { return };
        let sender = source.and_then(|source| self.providers.get(&source));
        let Some(claimant) = sender.or(self.providers.values().next()) else { return };
        self.offering.add(piece, manifest, self.part, claimant.entry.md5, clock::now());
    }
}

/// Who answered, each with what it has; all of it if `parts` does not name it.
pub(super) fn ranked(candidates: &[Candidate], mut parts: Parts) -> Vec<Ranked> {
    candidates.iter().map(|candidate| (*candidate, parts.remove(&candidate.endpoint))).collect()
}
