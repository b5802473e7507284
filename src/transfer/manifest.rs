//! The piece list of a content: who is asked for it, and how it is fetched.
//!
//! It comes on a connection of its own, page by page, so that pieces can arrive meanwhile: the source moves a
//! connection for pieces to another thread, which has no lists. One source is asked at a time; one that
//! fails, is too slow or is left makes room for the next.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::rt::Stop;
use crate::types::{Geometry, Manifest};

/// When everybody has been asked in vain, it begins anew after this.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// The list of one download.
#[derive(Debug)]
pub(super) struct ManifestSearch {
    state: State,
    /// Who has been asked in vain, or is being asked.
    tried: BTreeSet<SocketAddr>,
    /// Who of them serves pieces only, as the list that it has is false.
    withheld: Vec<SocketAddr>,
    /// Nobody is asked before.
    not_before: Option<Instant>,
    next_request: u64,
}

#[derive(Debug)]
enum State {
    /// A content of one piece has none.
    NotNeeded,
    Wanted,
    Asked {
        of: SocketAddr,
        request: u64,
        stop: Stop,
    },
    Here {
        manifest: Arc<Manifest>,
        giver: Option<ManifestGiver>,
    },
}

/// Who gave a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ManifestGiver {
    pub(super) endpoint: SocketAddr,
    /// It had a part of the content only, so that it could not hold all of the list against it.
    pub(super) is_partial: bool,
}

/// Whom to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Nobody, for now.
    Nobody,
    Ask(SocketAddr),
    /// All have been asked in vain; it begins anew in a while.
    Exhausted,
}

impl ManifestSearch {
    /// `manifest`: one that is known already.
    pub(super) fn new(geometry: &Geometry, manifest: Option<Arc<Manifest>>) -> ManifestSearch {
        let state = match manifest {
            Some(manifest) => State::Here { manifest, giver: None },
            None if geometry.count() > Some(1) => State::Wanted,
            None => State::NotNeeded,
        };
        ManifestSearch {
            state,
            tried: BTreeSet::new(),
            withheld: Vec::new(),
            not_before: None,
            next_request: 0,
        }
    }

    pub(super) fn manifest(&self) -> Option<&Arc<Manifest>> {
        match &self.state {
            State::Here { manifest, .. } => Some(manifest),
            _ => None,
        }
    }

    /// True while nothing can be verified for want of it.
    pub(super) fn is_missing(&self) -> bool {
        matches!(self.state, State::Wanted | State::Asked { .. })
    }

    /// Whom of `sources`, best first, to ask now.
    pub(super) fn next(&mut self, now: Instant, mut sources: impl Iterator<Item = SocketAddr>) -> Next {
        if !matches!(self.state, State::Wanted) || self.not_before.is_some_and(|then| now < then) {
            return Next::Nobody;
        }
        self.not_before = None;
        match sources.find(|source| !self.tried.contains(source)) {
            Some(source) => Next::Ask(source),
            None if self.tried.is_empty() => Next::Nobody,
            None => {
                self.tried.clear();
                self.not_before = Some(now + RETRY_PAUSE);
                Next::Exhausted
            }
        }
    }

    /// When to look for the next one to ask, if only time has to pass.
    pub(super) fn next_wake(&self) -> Option<Instant> {
        self.not_before.filter(|_| matches!(self.state, State::Wanted))
    }

    /// A source is asked from now on; `stop` ends that. Returns the number of the request.
    pub(super) fn ask(&mut self, of: SocketAddr, stop: Stop) -> u64 {
        self.tried.insert(of);
        self.next_request += 1;
        self.state = State::Asked { of, request: self.next_request, stop };
        self.next_request
    }

    /// A source is of no use any more: it is not waited for.
    pub(super) fn give_up_on(&mut self, source: SocketAddr) {
        if let State::Asked { of, stop, .. } = &self.state
            && *of == source
        {
            stop.trigger();
            self.state = State::Wanted;
        }
    }

    /// A request has failed; false if nobody waited for it any more.
    #[must_use]
    pub(super) fn failed(&mut self, request: u64) -> bool {
        let is_awaited = matches!(&self.state, State::Asked { request: awaited, .. } if *awaited == request);
        if is_awaited {
            self.state = State::Wanted;
        }
        is_awaited
    }

    /// A source with pieces does not pass the list on. Nothing is held against it while others may.
    pub(super) fn withheld(&mut self, by: SocketAddr) {
        self.withheld.push(by);
    }

    /// Who has withheld the list, each time once. When all have been asked in vain, its pieces are of no use
    /// either.
    pub(super) fn take_withholders(&mut self) -> Vec<SocketAddr> {
        std::mem::take(&mut self.withheld)
    }

    /// The list is here; false if it was already.
    #[must_use]
    pub(super) fn arrived(&mut self, manifest: &Arc<Manifest>, giver: ManifestGiver) -> bool {
        let is_news = self.is_missing();
        if is_news {
            self.state = State::Here { manifest: Arc::clone(manifest), giver: Some(giver) };
        }
        is_news
    }

    /// Who gave the list, if that was in this run and was not asked before.
    pub(super) fn take_giver(&mut self) -> Option<ManifestGiver> {
        match &mut self.state {
            State::Here { giver, .. } => giver.take(),
            _ => None,
        }
    }

    pub(super) fn into_manifest(self) -> Option<Arc<Manifest>> {
        match self.state {
            State::Here { manifest, .. } => Some(manifest),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rt::clock;

    fn source(number: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], number))
    }

    fn wanted() -> ManifestSearch {
        ManifestSearch::new(&Geometry::of(2 << 20), None)
    }

    fn stop() -> Stop {
        Stop::new().expect("a descriptor")
    }

    #[test]
    fn one_at_a_time_is_asked_and_the_next_when_it_fails_until_all_were() {
        let now = clock::now();
        let all = || [1, 2].map(source).into_iter();
        let mut list = wanted();
        assert_eq!(list.next(now, std::iter::empty()), Next::Nobody);
        assert_eq!(list.next(now, all()), Next::Ask(source(1)));
        let first = list.ask(source(1), stop());
        assert_eq!(list.next(now, all()), Next::Nobody);
        assert!(list.failed(first) && !list.failed(first));
        assert_eq!(list.next(now, all()), Next::Ask(source(2)));
        let second = list.ask(source(2), stop());
        assert!(!list.failed(first), "an old request says nothing of the present one");
        assert!(list.failed(second));
        assert_eq!(list.next(now, all()), Next::Exhausted);
        assert_eq!((list.next(now, all()), list.next_wake()), (Next::Nobody, Some(now + RETRY_PAUSE)));
        assert_eq!(list.next(now + RETRY_PAUSE, all()), Next::Ask(source(1)));
        assert!(list.is_missing());
    }

    #[test]
    fn a_source_that_was_left_is_not_waited_for() {
        let mut list = wanted();
        let stop = stop();
        let request = list.ask(source(1), stop.clone());
        list.give_up_on(source(2));
        assert!(!stop.is_triggered());
        list.give_up_on(source(1));
        assert!(stop.is_triggered() && !list.failed(request));
        assert_eq!(list.next(clock::now(), [source(2)].into_iter()), Next::Ask(source(2)));
    }

    #[test]
    fn a_content_of_one_piece_needs_none() {
        let mut list = ManifestSearch::new(&Geometry::of(1 << 20), None);
        assert!(!list.is_missing());
        assert_eq!(list.next(clock::now(), [source(1)].into_iter()), Next::Nobody);
    }
}
