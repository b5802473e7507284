//! The search for the manifest of a content: which source to ask, and when to ask the next one.
//!
//! One source is asked at a time. If it fails, is too slow or is left, the next one is asked.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::rt::Stop;
use crate::types::{Geometry, Manifest};

/// Pause before all sources are asked again, after each has failed once.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// The manifest of one download, or the search for it.
#[derive(Debug)]
pub(super) struct ManifestSearch {
    state: State,
    /// Sources that have failed, and the one that is being asked.
    tried: BTreeSet<SocketAddr>,
    /// Partial holders among them that refused: they serve pieces, but no manifest.
    withheld: Vec<SocketAddr>,
    /// No source is asked before this time.
    not_before: Option<Instant>,
    next_request: u64,
}

#[derive(Debug)]
enum State {
    /// A content of one piece has no manifest.
    NotNeeded,
    Missing,
    Requested {
        of: SocketAddr,
        request: u64,
        stop: Stop,
    },
    Here {
        manifest: Arc<Manifest>,
        giver: Option<ManifestGiver>,
    },
}

/// The source that gave the manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ManifestGiver {
    pub(super) endpoint: SocketAddr,
    /// It had only a part of the content, and so could not check every line of the manifest.
    pub(super) is_partial: bool,
}

/// The source to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// None, for now.
    NoSource,
    Ask(SocketAddr),
    /// All sources have failed; they are asked again after [`RETRY_PAUSE`].
    Exhausted,
}

impl ManifestSearch {
    /// `manifest`: one that is here already.
    pub(super) fn new(geometry: &Geometry, manifest: Option<Arc<Manifest>>) -> ManifestSearch {
        let state = match manifest {
            Some(manifest) => State::Here { manifest, giver: None },
            None if geometry.count() > Some(1) => State::Missing,
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

    /// True while the manifest is not here, so that no piece can be verified.
    pub(super) fn is_missing(&self) -> bool {
        matches!(self.state, State::Missing | State::Requested { .. })
    }

    /// The source to ask now, of `sources`, best first.
    pub(super) fn next(&mut self, now: Instant, mut sources: impl Iterator<Item = SocketAddr>) -> Next {
        if !matches!(self.state, State::Missing) || self.not_before.is_some_and(|then| now < then) {
            return Next::NoSource;
        }
        self.not_before = None;
        match sources.find(|source| !self.tried.contains(source)) {
            Some(source) => Next::Ask(source),
            None if self.tried.is_empty() => Next::NoSource,
            None => {
                self.tried.clear();
                self.not_before = Some(now + RETRY_PAUSE);
                Next::Exhausted
            }
        }
    }

    /// When to call [`ManifestSearch::next`] again if no event comes before.
    pub(super) fn next_wake(&self) -> Option<Instant> {
        self.not_before.filter(|_| matches!(self.state, State::Missing))
    }

    /// Records that a source is being asked. `stop` ends the request. Returns the number of the request.
    pub(super) fn ask(&mut self, of: SocketAddr, stop: Stop) -> u64 {
        self.tried.insert(of);
        self.next_request += 1;
        self.state = State::Requested { of, request: self.next_request, stop };
        self.next_request
    }

    /// Stops waiting for this source.
    pub(super) fn give_up_on(&mut self, source: SocketAddr) {
        if let State::Requested { of, stop, .. } = &self.state
            && *of == source
        {
            stop.trigger();
            self.state = State::Missing;
        }
    }

    /// Records that a request has failed. Returns false if the request was not awaited any more.
    #[must_use]
    pub(super) fn failed(&mut self, request: u64) -> bool {
        let is_awaited =
            matches!(&self.state, State::Requested { request: awaited, .. } if *awaited == request);
        if is_awaited {
            self.state = State::Missing;
        }
        is_awaited
    }

    /// Records that a partial holder gives no manifest. This counts as a failure of the source only if no
    /// other source gives one.
    pub(super) fn withheld(&mut self, by: SocketAddr) {
        self.withheld.push(by);
    }

    /// The partial holders that gave no manifest, each returned once. When all sources have failed, their
    /// pieces cannot be used.
    pub(super) fn take_withholders(&mut self) -> Vec<SocketAddr> {
        std::mem::take(&mut self.withheld)
    }

    /// Records that the manifest is here. Returns false if it was here before.
    #[must_use]
    pub(super) fn arrived(&mut self, manifest: &Arc<Manifest>, giver: ManifestGiver) -> bool {
        let is_new = self.is_missing();
        if is_new {
            self.state = State::Here { manifest: Arc::clone(manifest), giver: Some(giver) };
        }
        is_new
    }

    /// The source that gave the manifest in this run, returned once.
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

    fn missing() -> ManifestSearch {
        ManifestSearch::new(&Geometry::of(2 << 20), None)
    }

    fn stop() -> Stop {
        Stop::new().expect("a descriptor")
    }

    #[test]
    fn one_source_at_a_time_gets_the_request_and_the_next_one_after_a_failure() {
        let now = clock::now();
        let all = || [1, 2].map(source).into_iter();
        let mut search = missing();
        assert_eq!(search.next(now, std::iter::empty()), Next::NoSource);
        assert_eq!(search.next(now, all()), Next::Ask(source(1)));
        let first = search.ask(source(1), stop());
        assert_eq!(search.next(now, all()), Next::NoSource);
        assert!(search.failed(first) && !search.failed(first));
        assert_eq!(search.next(now, all()), Next::Ask(source(2)));
        let second = search.ask(source(2), stop());
        assert!(!search.failed(first), "an old request does not affect the present one");
        assert!(search.failed(second));
        assert_eq!(search.next(now, all()), Next::Exhausted);
        assert_eq!((search.next(now, all()), search.next_wake()), (Next::NoSource, Some(now + RETRY_PAUSE)));
        assert_eq!(search.next(now + RETRY_PAUSE, all()), Next::Ask(source(1)));
        assert!(search.is_missing());
    }

    #[test]
    fn a_source_that_was_left_is_not_awaited() {
        let mut search = missing();
        let stop = stop();
        let request = search.ask(source(1), stop.clone());
        search.give_up_on(source(2));
        assert!(!stop.is_triggered());
        search.give_up_on(source(1));
        assert!(stop.is_triggered() && !search.failed(request));
        assert_eq!(search.next(clock::now(), [source(2)].into_iter()), Next::Ask(source(2)));
    }

    #[test]
    fn a_content_of_one_piece_needs_no_manifest() {
        let mut search = ManifestSearch::new(&Geometry::of(1 << 20), None);
        assert!(!search.is_missing());
        assert_eq!(search.next(clock::now(), [source(1)].into_iter()), Next::NoSource);
    }
}
