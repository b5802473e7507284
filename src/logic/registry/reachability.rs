//! When a registration causes a call-back to the endpoint that it claims. An endpoint may belong to a third
//! party, and no node may make the tracker dial third parties at a high rate.
//!
//! A session causes at most one call-back a second. For each address that asks, an endpoint is called back
//! once at a time: a stranger who claims a node's endpoint cannot keep the node from registering. This file
//! decides and counts; it never dials. Invariant: what `begin_call_back` has allowed holds its place until
//! `end_call_back`, and at the latest until no answer can come any more.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::admission::RegistryError;
use super::entry::{Claim, Reachability, SessionId};
use super::staging::Staging;
use super::state::Registry;
use crate::types::limits;

impl Registry {
    /// Decides what follows the last page of a registration from the address `from`: the claim that a
    /// call-back must verify, whose end the caller reports with [`Registry::end_call_back`]; or `None` if
    /// this registration was verified less than [`limits::CALL_BACK_EVERY_MS`] ago. The latter is the case
    /// for a repeated registration without a new hello.
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
        let left = |began: &Instant, lasts_ms| {
            let left = limits::ms(lasts_ms).saturating_sub(now.saturating_duration_since(*began));
            Some(left).filter(|left| !left.is_zero())
        };
        let own = known.called.as_ref().and_then(|at| left(at, limits::CALL_BACK_EVERY_MS));
        if is_verified && own.is_some() {
            return Ok(None);
        }
        // Twice the deadline: a call-back cannot take longer, even if the caller never reports its end.
        let calls = self.calls.get(&(claim.endpoint, from));
        let endpoint = calls.and_then(|at| left(at, 2 * limits::CALL_BACK_DEADLINE_MS));
        if let Some(wait) = own.max(endpoint) {
            self.unstage(session, Staging::Broken);
            return Err(RegistryError::CallBack { endpoint: claim.endpoint, wait_ms: whole_ms(wait) });
        }
        self.session_mut(session).called = Some(now);
        self.calls.insert((claim.endpoint, from), now);
        Ok(Some(claim))
    }

    /// Records the end of the call-back to `endpoint` that `from` caused, whatever its outcome.
    pub fn end_call_back(&mut self, endpoint: SocketAddr, from: IpAddr) {
        self.calls.remove(&(endpoint, from));
    }

    /// Records how the session's registration was put in effect.
    pub(super) fn record_reachability(&mut self, session: SessionId, reachability: Reachability) {
        self.session_mut(session).is_verified = reachability == Reachability::Verified;
    }
}

fn whole_ms(wait: Duration) -> u128 {
    wait.as_nanos().div_ceil(1_000_000)
}
