//! Whether a registered node is there: live, suspect or unverified, and what follows from time passing and
//! from call-backs.
//!
//! A live node becomes suspect when its control connection ends or its heartbeats stop. A suspect is called
//! back again and again: while it answers with its own id it is offered, silence takes it out of the answers
//! and after long enough out of the registry. A node whose endpoint was never verified is never offered and
//! never called back. Decides about one node at a time and keeps nothing else.

use std::time::{Duration, Instant};

use super::admission::Limits;
use crate::types::{Liveness, NodeId};

/// What became of a call-back to a suspect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallBackResult {
    /// The listener answered, and said who it is.
    Answered { node: NodeId },
    /// Nobody listens there.
    Refused,
    /// No answer in time.
    Silent,
}

/// What time asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    Nothing,
    CallBack,
    Forget,
}

/// State of one registered node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Heartbeats {
    /// `None`: the node sends no heartbeats, so it misses none.
    heartbeat: Option<Duration>,
    heard: Instant,
    status: Status,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Status {
    Live,
    Suspect { silent_since: Instant, next_call_back: Instant, is_answering: bool },
    Unverified,
}

impl Heartbeats {
    pub(super) fn live(heartbeat: Option<Duration>, now: Instant) -> Heartbeats {
        Heartbeats { heartbeat, heard: now, status: Status::Live }
    }

    pub(super) fn unverified(heartbeat: Option<Duration>, now: Instant) -> Heartbeats {
        Heartbeats { heartbeat, heard: now, status: Status::Unverified }
    }

    /// When it last spoke.
    pub(super) fn heard(&self) -> Instant {
        self.heard
    }

    /// Its own session has spoken.
    pub(super) fn observe(&mut self, now: Instant) {
        self.heard = now;
        if matches!(self.status, Status::Suspect { .. }) {
            self.status = Status::Live;
        }
    }

    /// There is reason to suspect that it is there. The first call-back is due at once; a suspect stays the
    /// suspect it is.
    pub(super) fn suspect(&mut self, now: Instant) {
        if self.status == Status::Live {
            self.status = Status::Suspect { silent_since: now, next_call_back: now, is_answering: false };
        }
    }

    /// Takes the outcome of a call-back to `node`, whose heartbeats this is. Of a node that is not suspect
    /// (any more) it tells nothing.
    pub(super) fn called_back(&mut self, node: NodeId, outcome: CallBackResult, now: Instant) -> Due {
        let Status::Suspect { silent_since, is_answering, .. } = &mut self.status else {
            return Due::Nothing;
        };
        match outcome {
            CallBackResult::Answered { node: answering } if answering == node => {
                *silent_since = now;
                *is_answering = true;
                Due::Nothing
            }
            CallBackResult::Answered { .. } | CallBackResult::Refused => Due::Forget,
            CallBackResult::Silent => {
                *is_answering = false;
                Due::Nothing
            }
        }
    }

    /// What `now` asks for; `CallBack` is said once per interval.
    pub(super) fn due(&mut self, limits: &Limits, now: Instant) -> Due {
        let missed_after =
            self.heartbeat.map(|interval| interval.saturating_mul(limits.heartbeats_missed_max));
        if missed_after.is_some_and(|bound| now.saturating_duration_since(self.heard) > bound) {
            if self.status == Status::Unverified {
                return Due::Forget;
            }
            self.suspect(now);
        }
        match &mut self.status {
            Status::Suspect { silent_since, .. }
                if now.saturating_duration_since(*silent_since) >= limits.suspect_expiry =>
            {
                Due::Forget
            }
            Status::Suspect { next_call_back, .. } if *next_call_back <= now => {
                *next_call_back = now + limits.suspect_call_back;
                Due::CallBack
            }
            _ => Due::Nothing,
        }
    }

    /// For how long a suspect has been silent; `None` for a node that is not, or answers.
    pub(super) fn silent_for(&self, now: Instant) -> Option<Duration> {
        match self.status {
            Status::Suspect { silent_since, is_answering: false, .. } => {
                Some(now.saturating_duration_since(silent_since))
            }
            _ => None,
        }
    }

    /// What the list of nodes says; `Live` if and only if the node's files are offered.
    pub(super) fn liveness(&self) -> Liveness {
        match self.status {
            Status::Live | Status::Suspect { is_answering: true, .. } => Liveness::Live,
            Status::Suspect { is_answering: false, .. } => Liveness::Suspect,
            Status::Unverified => Liveness::Unproved,
        }
    }
}
