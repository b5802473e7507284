//! When a registration is worth a call-back to the endpoint that it claims: an endpoint may be anybody's, and
//! nobody shall have a tracker dial third parties in a stream.
//!
//! A session has one call-back a second, an endpoint one at a time for each address that asks (somebody
//! elsewhere who names a node's endpoint cannot keep the node from registering). Decides and counts, and
//! never dials. Invariant: what `begin_call_back` has allowed holds its place until `end_call_back`, or at
//! the latest until no answer can come any more.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::admission::RegistryError;
use super::entry::{Claim, Reachability, SessionId};
use super::staging::Staging;
use super::state::Registry;
use crate::types::limits;

impl Registry {
    /// What the last page of a registration from the address `from` asks for: the claim to be verified by a
    /// call-back, whose end [`Registry::end_call_back`] must be told; or `None` if this registration was
    /// verified less than [`limits::CALL_BACK_EVERY_MS`] ago, which goes for a repeated one without a new
    /// hello.
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
        // Twice the deadline: longer than a call-back can take, should its end ever go untold.
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

    /// The call-back to `endpoint` that `from` asked for has ended, one way or another.
    pub fn end_call_back(&mut self, endpoint: SocketAddr, from: IpAddr) {
        self.calls.remove(&(endpoint, from));
    }

    /// Remembers how the session's registration was put in effect.
    pub(super) fn record_reachability(&mut self, session: SessionId, reachability: Reachability) {
        self.session_mut(session).is_verified = reachability == Reachability::Verified;
    }
}

fn whole_ms(wait: Duration) -> u128 {
    wait.as_nanos().div_ceil(1_000_000)
}
