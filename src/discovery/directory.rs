//! A directory asks several finders at once, merges their answers, and reports which of them answered.
//!
//! A find waits for all finders, at most until its deadline. A finder that fails, or is late, takes nothing
//! from the answers of the others. Invariants: with one finder the caller's thread asks it, and no other
//! thread runs. With several, each finder has one thread, so that a slow finder keeps no other one busy.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded, select};

use super::error::DiscoveryError;
use super::finder::Finder;
use crate::rt::{Pool, Stop, Threads, clock};
use crate::types::{Holding, Provider, Query};

/// Maximum number of finds that wait for one finder.
const WAITING_MAX: usize = 256;
/// The time limit of [`Directory::providers`]: a find must end even if a finder breaks the rule of
/// [`Finder::find`].
const TIME_LIMIT: Duration = Duration::from_secs(60);

type Answer = Result<Vec<Provider>, DiscoveryError>;

/// The answer of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectoryAnswer {
    /// Each node once for each endpoint, content and name, in the order of the finders. Where finders
    /// disagree on how much of the content the node has, the larger part counts.
    pub providers: Vec<Provider>,
    /// One report for each finder, in their order.
    pub reports: Vec<FinderReport>,
}

/// The outcome of one finder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FinderReport {
    /// See [`Finder::name`].
    pub finder: String,
    /// Number of providers in its answer, or why there is none.
    pub outcome: Result<usize, DiscoveryError>,
}

/// Several finders that are asked as one.
pub struct Directory {
    members: Vec<Member>,
}

struct Member {
    finder: Arc<dyn Finder>,
    /// The thread that asks the finder; `None`: the caller's thread does.
    thread: Option<Pool>,
}

impl Directory {
    /// A directory of `finders`, the most trusted first. For several finders it starts one thread each,
    /// `finder-1-1`, `finder-2-1`, …, in `threads`. They end with `stop`.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(
        finders: Vec<Arc<dyn Finder>>,
        threads: &Threads,
        stop: &Stop,
    ) -> std::io::Result<Directory> {
        let has_several = finders.len() > 1;
        let member = |(number, finder): (usize, Arc<dyn Finder>)| {
            let thread = if has_several {
                Some(Pool::start(&format!("finder-{number}"), 1, WAITING_MAX, threads, stop)?)
            } else {
                None
            };
            Ok(Member { finder, thread })
        };
        Ok(Directory { members: (1..).zip(finders).map(member).collect::<std::io::Result<_>>()? })
    }

    /// The providers that [`Directory::ask`] returns within a minute.
    ///
    /// # Errors
    /// As for [`Directory::ask`].
    pub fn providers(&self, query: &Query, cancel: &Stop) -> Result<Vec<Provider>, DiscoveryError> {
        self.find(query, clock::now() + TIME_LIMIT, cancel)
    }

    /// Asks all finders and waits until each has answered or failed, at most until `deadline`.
    ///
    /// # Errors
    /// [`DiscoveryError::Cancelled`] if `cancel` is triggered before all answers are there. If all finders
    /// failed, the failure of the first one, but `Cancelled` only if there is no other failure.
    pub fn ask(
        &self,
        query: &Query,
        deadline: Instant,
        cancel: &Stop,
    ) -> Result<DirectoryAnswer, DiscoveryError> {
        let pending: Vec<_> = self.members.iter().map(|member| member.ask(query, deadline, cancel)).collect();
        let answers = pending.into_iter().map(|pending| pending.wait(deadline, cancel));
        let answers: Vec<Answer> = answers.collect();
        // A finder can also be cancelled alone, when its own thread stops.
        if cancel.is_triggered() && answers.contains(&Err(DiscoveryError::Cancelled)) {
            return Err(DiscoveryError::Cancelled);
        }
        let outcomes = answers.iter().map(|answer| match answer {
            Ok(providers) => Ok(providers.len()),
            Err(error) => Err(error.clone()),
        });
        let report = |(member, outcome): (&Member, _)| FinderReport { finder: member.finder.name(), outcome };
        let reports: Vec<_> = self.members.iter().zip(outcomes).map(report).collect();
        let has_answer = answers.iter().any(Result::is_ok);
        let failures = answers.iter().filter_map(|answer| answer.as_ref().err());
        // `Cancelled` says least to the user, so it comes last.
        let failure = failures.min_by_key(|failure| **failure == DiscoveryError::Cancelled).cloned();
        match failure {
            Some(failure) if !has_answer => Err(failure),
            _ => Ok(DirectoryAnswer { providers: merge(answers.into_iter().flatten()), reports }),
        }
    }
}

impl Finder for Directory {
    fn name(&self) -> String {
        let names: Vec<_> = self.members.iter().map(|member| member.finder.name()).collect();
        names.join(", ")
    }

    fn find(&self, query: &Query, deadline: Instant, cancel: &Stop) -> Answer {
        self.ask(query, deadline, cancel).map(|answer| answer.providers)
    }
}

impl std::fmt::Debug for Directory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Directory").field(&self.name()).finish()
    }
}

/// The answer of one finder.
enum Pending {
    Answered(Answer),
    /// The finder of this name will send it.
    Awaited(String, Receiver<Answer>),
}

impl Member {
    fn ask(&self, query: &Query, deadline: Instant, cancel: &Stop) -> Pending {
        let Some(thread) = &self.thread else {
            return Pending::Answered(self.finder.find(query, deadline, cancel));
        };
        let (sender, answer) = bounded(1);
        let (finder, query, cancel) = (Arc::clone(&self.finder), query.clone(), cancel.clone());
        let queued = thread.try_run(move || {
            if clock::now() < deadline && !cancel.is_triggered() {
                // The channel is closed if the directory has stopped waiting.
                sender.send(finder.find(&query, deadline, &cancel)).ok();
            }
        });
        let name = self.finder.name();
        match queued {
            Ok(()) => Pending::Awaited(name, answer),
            Err(_busy) => {
                let why = "too many requests are waiting for it".to_owned();
                Pending::Answered(Err(DiscoveryError::NoAnswer { finder: name, why }))
            }
        }
    }
}

impl Pending {
    fn wait(self, deadline: Instant, cancel: &Stop) -> Answer {
        let (finder, answer) = match self {
            Pending::Answered(answer) => return answer,
            Pending::Awaited(finder, answer) => (finder, answer),
        };
        // An answer that has arrived counts, even if `deadline` has passed meanwhile.
        if let Ok(answer) = answer.try_recv() {
            return answer;
        }
        let late = || Err(DiscoveryError::NoAnswer { finder, why: "no answer in time".into() });
        select! {
            recv(answer) -> answer => match answer {
                Ok(answer) => answer,
                Err(_) if clock::now() >= deadline => late(),
                // The find was cancelled, or the directory is stopping.
                Err(_) => Err(DiscoveryError::Cancelled),
            },
            recv(cancel.receiver()) -> _ => Err(DiscoveryError::Cancelled),
            recv(crossbeam_channel::at(deadline)) -> _ => late(),
        }
    }
}

/// Each node once for each endpoint, content and name, in the order of `answers`.
///
/// The node is part of the key: an outdated answer may name the node that was at the endpoint before, and a
/// probe then drops that provider alone. Where answers disagree on the holding, the larger one counts: a
/// download only gains pieces, so the smaller one is outdated.
fn merge(answers: impl Iterator<Item = Vec<Provider>>) -> Vec<Provider> {
    let size = |provider: &Provider| match provider.entry.holding {
        Holding::Full => u64::MAX,
        Holding::Pieces(pieces) => pieces.into(),
    };
    let mut places = HashMap::new();
    let mut providers: Vec<Provider> = Vec::new();
    for provider in answers.flatten() {
        let key = (provider.node, provider.endpoint, provider.entry.key(), provider.entry.name.clone());
        match places.entry(key) {
            Entry::Vacant(place) => {
                place.insert(providers.len());
                providers.push(provider);
            }
            Entry::Occupied(place) => {
                let known: &mut Provider = &mut providers[*place.get()];
                if size(&provider) > size(known) {
                    *known = provider;
                }
            }
        }
    }
    providers
}

#[cfg(test)]
mod tests;
