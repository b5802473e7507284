//! Whether a registered node is there: live, suspect or unproved, and what follows from time passing and from call-backs.
//!
//! A live node becomes suspect when its control connection ends or its heartbeats stop. A suspect is called back again and again:
//! while it answers with its own id it is offered, silence takes it out of the answers and after long enough out of the registry.
//! A node whose endpoint was never proved is never offered and never called back. Decides about one node at a time and keeps nothing else.

use std::time::{Duration, Instant};

use super::Limits;
use crate::types::{Liveness, NodeId};

/// What became of a call-back to a suspect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
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
pub(super) struct Pulse {
    /// `None`: the node sends no heartbeats, so it misses none.
    heartbeat: Option<Duration>,
    heard: Instant,
    standing: Standing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Live,
    Suspect { silent_since: Instant, next_call_back: Instant, is_answering: bool },
    Unproved,
}

impl Pulse {
    pub(super) fn live(heartbeat: Option<Duration>, now: Instant) -> Pulse {
        Pulse { heartbeat, heard: now, standing: Standing::Live }
    }

    pub(super) fn unproved(heartbeat: Option<Duration>, now: Instant) -> Pulse {
        Pulse { heartbeat, heard: now, standing: Standing::Unproved }
    }

    /// When it last spoke.
    pub(super) fn heard(&self) -> Instant {
        self.heard
    }

    /// Its own session has spoken.
    pub(super) fn hear(&mut self, now: Instant) {
        self.heard = now;
        if matches!(self.standing, Standing::Suspect { .. }) {
            self.standing = Standing::Live;
        }
    }

    /// There is reason to doubt that it is there. The first call-back is due at once; a suspect stays the suspect it is.
    pub(super) fn doubt(&mut self, now: Instant) {
        if self.standing == Standing::Live {
            self.standing = Standing::Suspect { silent_since: now, next_call_back: now, is_answering: false };
        }
    }

    /// Takes the outcome of a call-back to `node`, whose pulse this is. Of a node that is not suspect (any more) it tells nothing.
    pub(super) fn called_back(&mut self, node: NodeId, outcome: Outcome, now: Instant) -> Due {
        let Standing::Suspect { silent_since, is_answering, .. } = &mut self.standing else {
            return Due::Nothing;
        };
        match outcome {
            Outcome::Answered { node: answering } if answering == node => {
                *silent_since = now;
                *is_answering = true;
                Due::Nothing
            }
            Outcome::Answered { .. } | Outcome::Refused => Due::Forget,
            Outcome::Silent => {
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
            if self.standing == Standing::Unproved {
                return Due::Forget;
            }
            self.doubt(now);
        }
        match &mut self.standing {
            Standing::Suspect { silent_since, .. }
                if now.saturating_duration_since(*silent_since) >= limits.suspect_expiry =>
            {
                Due::Forget
            }
            Standing::Suspect { next_call_back, .. } if *next_call_back <= now => {
                *next_call_back = now + limits.suspect_call_back;
                Due::CallBack
            }
            _ => Due::Nothing,
        }
    }

    /// For how long a suspect has been silent; `None` for a node that is not, or answers.
    pub(super) fn silent_for(&self, now: Instant) -> Option<Duration> {
        match self.standing {
            Standing::Suspect { silent_since, is_answering: false, .. } => {
                Some(now.saturating_duration_since(silent_since))
            }
            _ => None,
        }
    }

    /// What the list of nodes says; `Live` if and only if the node's files are offered.
    pub(super) fn liveness(&self) -> Liveness {
        match self.standing {
            Standing::Live | Standing::Suspect { is_answering: true, .. } => Liveness::Live,
            Standing::Suspect { is_answering: false, .. } => Liveness::Suspect,
            Standing::Unproved => Liveness::Unproved,
        }
    }
}
