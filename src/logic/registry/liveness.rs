//! Liveness of a registered node: live, suspect or unverified, and what follows from time and from
//! call-backs.
//!
//! A live node becomes suspect when its control connection ends or its heartbeats stop. The tracker calls a
//! suspect back again and again. As long as it answers with its own id it is offered. Silence removes it from
//! the answers, and after long enough from the registry. A node whose endpoint was not verified is neither
//! offered nor called back. This file decides about one node at a time and keeps nothing else.

use std::time::{Duration, Instant};

use super::admission::Limits;
use crate::types::{Liveness, NodeId};

/// The outcome of a call-back to a suspect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallBackResult {
    /// A node answered and gave its id.
    Answered {
        /// Its id.
        node: NodeId,
    },
    /// No program listens there.
    Refused,
    /// No answer in time.
    Silent,
}

/// What is due for a node at some time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    Nothing,
    CallBack,
    Forget,
}

/// The liveness of one registered node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Heartbeats {
    /// `None`: the node sends no heartbeats, so it misses none.
    heartbeat: Option<Duration>,
    last_message: Instant,
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
        Heartbeats { heartbeat, last_message: now, status: Status::Live }
    }

    pub(super) fn unverified(heartbeat: Option<Duration>, now: Instant) -> Heartbeats {
        Heartbeats { heartbeat, last_message: now, status: Status::Unverified }
    }

    /// When the node last sent anything.
    pub(super) fn last_message(&self) -> Instant {
        self.last_message
    }

    /// Records a message on the node's own control connection.
    pub(super) fn observe(&mut self, now: Instant) {
        self.last_message = now;
        if matches!(self.status, Status::Suspect { .. }) {
            self.status = Status::Live;
        }
    }

    /// Makes a live node suspect. Its first call-back is due at once. A suspect stays as it is.
    pub(super) fn suspect(&mut self, now: Instant) {
        if self.status == Status::Live {
            self.status = Status::Suspect { silent_since: now, next_call_back: now, is_answering: false };
        }
    }

    /// Applies the outcome of a call-back to `node`, which this is the liveness of. It says nothing about a
    /// node that is not suspect (any more).
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

    /// What is due at `now`; `CallBack` once per interval.
    pub(super) fn due(&mut self, limits: &Limits, now: Instant) -> Due {
        let missed_after =
            self.heartbeat.map(|interval| interval.saturating_mul(limits.heartbeats_missed_max));
        if missed_after.is_some_and(|bound| now.saturating_duration_since(self.last_message) > bound) {
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

    /// For how long a suspect has been silent; `None` for a node that is not suspect or answers.
    pub(super) fn silent_for(&self, now: Instant) -> Option<Duration> {
        match self.status {
            Status::Suspect { silent_since, is_answering: false, .. } => {
                Some(now.saturating_duration_since(silent_since))
            }
            _ => None,
        }
    }

    /// What the list of nodes shows. `Live` if and only if the node's files are offered.
    pub(super) fn liveness(&self) -> Liveness {
        match self.status {
            Status::Live | Status::Suspect { is_answering: true, .. } => Liveness::Live,
            Status::Suspect { is_answering: false, .. } => Liveness::Suspect,
            Status::Unverified => Liveness::Unproved,
        }
    }
}
