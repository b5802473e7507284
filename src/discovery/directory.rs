//! A directory asks several finders at once.
//!
//! It merges their answers and reports which of them answered. A finder that is
//! slow or fails takes nothing from the others. Invariants: with one finder the caller's thread asks it, and
//! no other thread runs. With several, each finder has one thread, so that a slow finder delays only its own
//! answers.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded, select};

use super::error::DiscoveryError;
use super::finder::Finder;
use crate::rt::{Pool, Stop, Threads, clock};
use crate::types::{Provider, Query};

/// Finds that may wait for one finder.
const WAITING_MAX: usize = 256;
/// How long [`Directory::providers`] waits.
const PATIENCE: Duration = Duration::from_secs(60);

type Answer = Result<Vec<Provider>, DiscoveryError>;

/// What a directory has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectoryAnswer {
    /// Each endpoint once for each content and name, in the order of the finders. Of equal ones the first
    /// finder's stands here.
    pub providers: Vec<Provider>,
    /// One report for each finder, in their order.
    pub reports: Vec<FinderReport>,
}

/// Whether a finder has answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FinderReport {
    /// See [`Finder::name`].
    pub finder: String,
    /// Number of providers in its answer, or why there is none.
    pub outcome: Result<usize, DiscoveryError>,
}

/// Several finders behind one question.
pub struct Directory {
    members: Vec<Member>,
}

struct Member {
    finder: Arc<dyn Finder>,
    /// The thread that asks it; `None`: the caller's.
    thread: Option<Pool>,
}

impl Directory {
    /// A directory of `finders`, the most trusted first. For several it starts a thread each in `threads`;
    /// they end with `stop`.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(
        finders: Vec<Arc<dyn Finder>>,
        threads: &Threads,
        stop: &Stop,
    ) -> std::io::Result<Directory> {
        let has_several = finders.len() > 1;
        let member = |finder: Arc<dyn Finder>| {
            let thread = if has_several {
                Some(Pool::start(&format!("find {}", finder.name()), 1, WAITING_MAX, threads, stop)?)
            } else {
                None
            };
            Ok(Member { finder, thread })
        };
        Ok(Directory { members: finders.into_iter().map(member).collect::<std::io::Result<_>>()? })
    }

    /// The providers that [`Directory::ask`] gives. The finders have deadlines of their own, shorter than the
    /// one here.
    ///
    /// # Errors
    /// As for [`Directory::ask`].
    pub fn providers(&self, query: &Query, cancel: &Stop) -> Result<Vec<Provider>, DiscoveryError> {
        self.find(query, clock::now() + PATIENCE, cancel)
    }

    /// Asks all finders and waits until each has answered, at most until `deadline`.
    ///
    /// # Errors
    /// [`DiscoveryError::Cancelled`], or the failure of the first finder if all of them failed.
    pub fn ask(
        &self,
        query: &Query,
        deadline: Instant,
        cancel: &Stop,
    ) -> Result<DirectoryAnswer, DiscoveryError> {
        let pending: Vec<_> = self.members.iter().map(|member| member.ask(query, deadline, cancel)).collect();
        let answers = pending.into_iter().map(|pending| pending.wait(deadline, cancel));
        let answers: Vec<Answer> = answers.collect();
        if answers.contains(&Err(DiscoveryError::Cancelled)) {
            return Err(DiscoveryError::Cancelled);
        }
        let outcomes = answers.iter().map(|answer| match answer {
            Ok(providers) => Ok(providers.len()),
            Err(error) => Err(error.clone()),
        });
        let report = |(member, outcome): (&Member, _)| FinderReport { finder: member.finder.name(), outcome };
        let reports: Vec<_> = self.members.iter().zip(outcomes).map(report).collect();
        let has_answer = answers.iter().any(Result::is_ok);
        match answers.iter().find_map(|answer| answer.as_ref().err()) {
            Some(error) if !has_answer => Err(error.clone()),
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

/// An answer that is there, or on its way from the finder of this name.
enum Pending {
    Here(Answer),
    UnderWay(String, Receiver<Answer>),
}

impl Member {
    fn ask(&self, query: &Query, deadline: Instant, cancel: &Stop) -> Pending {
        let Some(thread) = &self.thread else {
            return Pending::Here(self.finder.find(query, deadline, cancel));
        };
        let (sender, answer) = bounded(1);
        let (finder, query, cancel) = (Arc::clone(&self.finder), query.clone(), cancel.clone());
        let queued = thread.try_run(move || {
            if clock::now() < deadline && !cancel.is_triggered() {
                // The directory may have stopped waiting.
                let _has_waited = sender.send(finder.find(&query, deadline, &cancel));
            }
        });
        let name = self.finder.name();
        match queued {
            Ok(()) => Pending::UnderWay(name, answer),
            Err(_busy) => {
                let why = "too many requests are waiting for it".to_owned();
                Pending::Here(Err(DiscoveryError::NoAnswer { finder: name, why }))
            }
        }
    }
}

impl Pending {
    fn wait(self, deadline: Instant, cancel: &Stop) -> Answer {
        let (finder, answer) = match self {
            Pending::Here(answer) => return answer,
            Pending::UnderWay(finder, answer) => (finder, answer),
        };
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

/// Each endpoint once for each content and name; the first of equal ones stays.
fn merge(answers: impl Iterator<Item = Vec<Provider>>) -> Vec<Provider> {
    let mut known = HashSet::new();
    let mut providers: Vec<Provider> = answers.flatten().collect();
    providers.retain(|one| known.insert((one.endpoint, one.entry.key(), one.entry.name.clone())));
    providers
}

#[cfg(test)]
mod tests;
