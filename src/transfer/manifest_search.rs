//! The search for the manifest of a content: which source to ask, and when to ask the next one.
//!
//! One source at a time gets the request. If it fails or is left, the next one gets it. The connector ends a
//! request that takes too long.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::rt::Stop;
use crate::types::{Geometry, Manifest};

/// Pause before all sources are tried again, after each has failed once.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// The manifest of one download, or the search for it.
#[derive(Debug)]
pub(super) struct ManifestSearch {
    state: State,
    /// Sources that got the request since the last pause.
    tried: BTreeSet<SocketAddr>,
    /// Partial holders that refused: they serve pieces, but no manifest.
    refused_by: Vec<SocketAddr>,
    /// The end of the pause before all sources are tried again.
    retry_at: Option<Instant>,
    next_request: u64,
}

#[derive(Debug)]
enum State {
    /// A content of one piece has no manifest.
    NotNeeded,
    Missing,
    Requested {
        source: SocketAddr,
        request: u64,
        stop: Stop,
    },
    Known {
        manifest: Arc<Manifest>,
        giver: Option<ManifestGiver>,
    },
}

/// A source that gave a manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ManifestGiver {
    pub(super) endpoint: SocketAddr,
    /// It had only a part of the content, and so could not check every line of the manifest.
    pub(super) is_partial: bool,
}

/// What to do next for the manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NextStep {
    /// Nothing: there is no need, no source, or a request is under way.
    Wait,
    /// Request it from this source.
    Request(SocketAddr),
    /// All sources have failed. They are tried again after [`RETRY_PAUSE`].
    GiveUpForNow,
}

impl ManifestSearch {
    /// `manifest`: the one that an earlier download left, if there is one.
    pub(super) fn new(geometry: &Geometry, manifest: Option<Arc<Manifest>>) -> ManifestSearch {
        let state = match manifest {
            Some(manifest) => State::Known { manifest, giver: None },
            None if geometry.count() > Some(1) => State::Missing,
            None => State::NotNeeded,
        };
        ManifestSearch {
            state,
            tried: BTreeSet::new(),
            refused_by: Vec::new(),
            retry_at: None,
            next_request: 0,
        }
    }

    pub(super) fn manifest(&self) -> Option<&Arc<Manifest>> {
        match &self.state {
            State::Known { manifest, .. } => Some(manifest),
            _ => None,
        }
    }

    /// True while a manifest is needed and not known, so that no piece can be verified.
    pub(super) fn is_missing(&self) -> bool {
        matches!(self.state, State::Missing | State::Requested { .. })
    }

    /// What to do now, where the manifest can come from `sources`, best first.
    pub(super) fn next_step(
        &mut self,
        now: Instant,
        mut sources: impl Iterator<Item = SocketAddr>,
    ) -> NextStep {
        if !matches!(self.state, State::Missing) || self.retry_at.is_some_and(|then| now < then) {
            return NextStep::Wait;
        }
        self.retry_at = None;
        match sources.find(|source| !self.tried.contains(source)) {
            Some(source) => NextStep::Request(source),
            None if self.tried.is_empty() => NextStep::Wait,
            None => {
                self.tried.clear();
                self.retry_at = Some(now + RETRY_PAUSE);
                NextStep::GiveUpForNow
            }
        }
    }

    /// When to call [`ManifestSearch::next_step`] again if no event comes before.
    pub(super) fn next_wake(&self) -> Option<Instant> {
        self.retry_at.filter(|_| matches!(self.state, State::Missing))
    }

    /// Records that a source gets the request. `stop` ends the request. Returns the number of the request.
    pub(super) fn begin_request(&mut self, source: SocketAddr, stop: Stop) -> u64 {
        self.tried.insert(source);
        self.next_request += 1;
        self.state = State::Requested { source, request: self.next_request, stop };
        self.next_request
    }

    /// Ends the request to this source, if one is under way.
    pub(super) fn cancel_request(&mut self, source: SocketAddr) {
        if let State::Requested { source: requested_from, stop, .. } = &self.state
            && *requested_from == source
        {
            stop.trigger();
            self.state = State::Missing;
        }
    }

    /// Records that a request has failed. Returns false if it was cancelled before.
    #[must_use]
    pub(super) fn end_request(&mut self, request: u64) -> bool {
        let is_under_way =
            matches!(&self.state, State::Requested { request: under_way, .. } if *under_way == request);
        if is_under_way {
            self.state = State::Missing;
        }
        is_under_way
    }

    /// Records that a partial holder refuses to give the manifest. This counts as a failure of the source
    /// only if no other source gives one.
    pub(super) fn record_refusal(&mut self, by: SocketAddr) {
        self.refused_by.push(by);
    }

    /// The partial holders that refused to give the manifest, each returned once. If all sources have failed,
    /// the pieces of these holders cannot be verified.
    pub(super) fn take_refusals(&mut self) -> Vec<SocketAddr> {
        std::mem::take(&mut self.refused_by)
    }

    /// Records the manifest, also of a request that was cancelled. Returns false if one was known before.
    #[must_use]
    pub(super) fn accept(&mut self, manifest: &Arc<Manifest>, giver: ManifestGiver) -> bool {
        let is_new = self.is_missing();
        if is_new {
            self.state = State::Known { manifest: Arc::clone(manifest), giver: Some(giver) };
        }
        is_new
    }

    /// The source that gave the manifest in this run, returned once. `None` if an earlier download left it.
    pub(super) fn take_giver(&mut self) -> Option<ManifestGiver> {
        match &mut self.state {
            State::Known { giver, .. } => giver.take(),
            _ => None,
        }
    }

    pub(super) fn into_manifest(self) -> Option<Arc<Manifest>> {
        match self.state {
            State::Known { manifest, .. } => Some(manifest),
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
    fn one_source_at_a_time_gets_the_request_and_after_a_failure_the_next_one() {
        let now = clock::now();
        let all = || [1, 2].map(source).into_iter();
        let mut search = missing();
        assert_eq!(search.next_step(now, std::iter::empty()), NextStep::Wait);
        assert_eq!(search.next_step(now, all()), NextStep::Request(source(1)));
        let first = search.begin_request(source(1), stop());
        assert_eq!(search.next_step(now, all()), NextStep::Wait);
        assert!(search.end_request(first) && !search.end_request(first));
        assert_eq!(search.next_step(now, all()), NextStep::Request(source(2)));
        let second = search.begin_request(source(2), stop());
        assert!(!search.end_request(first), "the end of an old request does not affect the present one");
        assert!(search.end_request(second));
        assert_eq!(search.next_step(now, all()), NextStep::GiveUpForNow);
        assert_eq!(
            (search.next_step(now, all()), search.next_wake()),
            (NextStep::Wait, Some(now + RETRY_PAUSE))
        );
        assert_eq!(search.next_step(now + RETRY_PAUSE, all()), NextStep::Request(source(1)));
        assert!(search.is_missing());
    }

    #[test]
    fn a_request_to_a_source_that_was_left_is_cancelled() {
        let mut search = missing();
        let stop = stop();
        let request = search.begin_request(source(1), stop.clone());
        search.cancel_request(source(2));
        assert!(!stop.is_triggered());
        search.cancel_request(source(1));
        assert!(stop.is_triggered() && !search.end_request(request));
        assert_eq!(search.next_step(clock::now(), [source(2)].into_iter()), NextStep::Request(source(2)));
    }

    #[test]
    fn a_content_of_one_piece_needs_no_manifest() {
        let mut search = ManifestSearch::new(&Geometry::of(1 << 20), None);
        assert!(!search.is_missing());
        assert_eq!(search.next_step(clock::now(), [source(1)].into_iter()), NextStep::Wait);
    }
}
