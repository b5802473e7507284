//! When a registration causes a call-back to the endpoint that it claims. The endpoint may belong to a third
//! party, and no node may use the tracker to send many connections to third parties.
//!
//! A session causes at most one call-back a second. An endpoint has one call-back at a time for each address
//! that requests one: so a stranger who claims the endpoint of a node cannot keep the node from registering.
//! This file decides and counts; the caller connects. Invariant: a call-back that `begin_call_back` has
//! allowed counts as under way until `end_call_back`, or until no answer can come any more.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::admission::RegistryError;
use super::entry::{Claim, Reachability, SessionId};
use super::staging::Staging;
use super::state::Registry;
use crate::types::limits;

impl Registry {
    /// Decides what follows the last page of a registration from the address `from`. Returns the claim that a
    /// call-back must verify; the caller reports the end of the call-back with [`Registry::end_call_back`].
    /// Returns `None` if the same claim was verified less than [`limits::CALL_BACK_EVERY_MS`] ago: the node
    /// has registered again without a new hello.
    ///
    /// # Errors
    /// [`RegistryError::NotRegistered`] before a hello, [`RegistryError::CallBack`] if it is too soon.
    pub fn begin_call_back(
        &mut self,
        session: SessionId,
        from: IpAddr,
        now: Instant,
    ) -> Result<Option<Claim>, RegistryError> {
        let known = self.sessions.get(&session).ok_or(RegistryError::NotRegistered)?;
        let (claim, is_verified) = (known.claim, known.is_verified && known.node.is_some());
        let wait_after = |began: &Instant, pause_ms| {
            let wait = limits::ms(pause_ms).saturating_sub(now.saturating_duration_since(*began));
            Some(wait).filter(|wait| !wait.is_zero())
        };
        let session_wait =
            known.called_back_at.as_ref().and_then(|at| wait_after(at, limits::CALL_BACK_EVERY_MS));
        if is_verified && session_wait.is_some() {
            return Ok(None);
        }
        // Twice the deadline: a call-back cannot take longer, even if the caller never reports its end.
        let under_way = self.calls.get(&(claim.endpoint, from));
        let endpoint_wait = under_way.and_then(|at| wait_after(at, 2 * limits::CALL_BACK_DEADLINE_MS));
        if let Some(wait) = session_wait.max(endpoint_wait) {
            self.unstage(session, Staging::Broken);
            return Err(RegistryError::CallBack { endpoint: claim.endpoint, wait_ms: whole_ms(wait) });
        }
        self.session_mut(session).called_back_at = Some(now);
        self.calls.insert((claim.endpoint, from), now);
        Ok(Some(claim))
    }

    /// Records the end of the call-back to `endpoint` that `from` caused, with any outcome.
    pub fn end_call_back(&mut self, endpoint: SocketAddr, from: IpAddr) {
        self.calls.remove(&(endpoint, from));
    }

    /// Records whether the registration that the session has committed was verified.
    pub(super) fn record_reachability(&mut self, session: SessionId, reachability: Reachability) {
        self.session_mut(session).is_verified = reachability == Reachability::Verified;
    }
}

/// Rounded up, so that a node that waits for this time has waited long enough.
fn whole_ms(wait: Duration) -> u128 {
    wait.as_nanos().div_ceil(1_000_000)
}
