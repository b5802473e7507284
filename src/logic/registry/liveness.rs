//! Liveness of a registered node: live, suspect or unverified, and how time and call-backs change it.
//!
//! A live node becomes a suspect when its control connection ends or its heartbeats stop. The tracker calls a
//! suspect back again and again. As long as the suspect answers with its own id, the tracker offers it. A
//! silent suspect is not offered, and after a long silence it is forgotten. A node whose endpoint was not
//! verified is neither offered nor called back. This file decides about one node at a time.

use std::time::{Duration, Instant};

use super::admission::Limits;
use crate::types::{Liveness, NodeId};

/// The outcome of a call-back to a suspect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallBackResult {
    /// A node answered and gave its id.
    Answered {
        /// The id of the node that answered.
        node: NodeId,
    },
    /// No program listens there.
    Refused,
    /// No answer in time.
    Silent,
}

/// What the registry must do with a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
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

    /// Records a message on the control connection of the node.
    pub(super) fn observe(&mut self, now: Instant) {
        self.last_message = now;
        if matches!(self.status, Status::Suspect { .. }) {
            self.status = Status::Live;
        }
    }

    /// Makes a live node a suspect. The first call-back is due at once. Other nodes stay as they are.
    pub(super) fn suspect(&mut self, now: Instant) {
        if self.status == Status::Live {
            self.status = Status::Suspect { silent_since: now, next_call_back: now, is_answering: false };
        }
    }

    /// Applies the outcome of a call-back to `node`, the node of this liveness. Changes nothing if the node
    /// is not a suspect (any more).
    pub(super) fn apply_call_back(&mut self, node: NodeId, outcome: CallBackResult, now: Instant) -> Step {
        let Status::Suspect { silent_since, is_answering, .. } = &mut self.status else {
            return Step::Nothing;
        };
        match outcome {
            CallBackResult::Answered { node: answering } if answering == node => {
                *silent_since = now;
                *is_answering = true;
                Step::Nothing
            }
            CallBackResult::Answered { .. } | CallBackResult::Refused => Step::Forget,
            CallBackResult::Silent => {
                *is_answering = false;
                Step::Nothing
            }
        }
    }

    /// Applies the time `now`, and returns the next step. `CallBack` comes once per interval.
    pub(super) fn advance(&mut self, limits: &Limits, now: Instant) -> Step {
        let missed_after =
            self.heartbeat.map(|interval| interval.saturating_mul(limits.heartbeats_missed_max));
        if missed_after.is_some_and(|bound| now.saturating_duration_since(self.last_message) > bound) {
            if self.status == Status::Unverified {
                // Nobody calls it back, so it cannot show that it is live.
                return Step::Forget;
            }
            self.suspect(now);
        }
        match &mut self.status {
            Status::Suspect { silent_since, .. }
                if now.saturating_duration_since(*silent_since) >= limits.suspect_expiry =>
            {
                Step::Forget
            }
            Status::Suspect { next_call_back, .. } if *next_call_back <= now => {
                *next_call_back = now + limits.suspect_call_back;
                Step::CallBack
            }
            _ => Step::Nothing,
        }
    }

    /// For how long a suspect has been silent; `None` for a suspect that answers, and for other nodes.
    pub(super) fn silent_for(&self, now: Instant) -> Option<Duration> {
        match self.status {
            Status::Suspect { silent_since, is_answering: false, .. } => {
                Some(now.saturating_duration_since(silent_since))
            }
            _ => None,
        }
    }

    /// The liveness in the list of nodes. `Live` if and only if the files of the node are offered.
    pub(super) fn liveness(&self) -> Liveness {
        match self.status {
            Status::Live | Status::Suspect { is_answering: true, .. } => Liveness::Live,
            Status::Suspect { is_answering: false, .. } => Liveness::Suspect,
            Status::Unverified => Liveness::Unproved,
        }
    }
}
