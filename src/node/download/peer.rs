//! What the threads of a download have in common when they talk to a source: who asks, for what, from where,
//! and what can go wrong.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::net::client::{Client, ClientError};
use crate::node::context::Context;
use crate::node::find::latency::Latencies;
use crate::proto::peer::PeerRefusal;
use crate::rt::{Stop, clock};
use crate::types::{ContentKey, ManifestError, NodeId, limits};

/// The asking side. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Asker {
    pub(super) node: NodeId,
    pub(super) content: ContentKey,
    bind: IpAddr,
    /// Replies count as arrived no sooner than these say after their request; `None`: as they come.
    emulated: Option<Arc<Latencies>>,
}

/// Why a source is of no use.
#[derive(Debug)]
pub(super) enum SourceError {
    /// We were told to end.
    Stopped,
    Client(ClientError),
    Refused(PeerRefusal),
    Manifest(ManifestError),
    Unfit(&'static str),
}

impl From<ClientError> for SourceError {
    fn from(error: ClientError) -> SourceError {
        match error {
            ClientError::Stopped => SourceError::Stopped,
            error => SourceError::Client(error),
        }
    }
}

impl SourceError {
    /// For people.
    pub(super) fn why(&self) -> String {
        match self {
            SourceError::Stopped => "stopped".into(),
            SourceError::Client(ClientError::Deadline) => {
                format!("stalled: no byte in {} s", limits::SOURCE_SILENCE_MS / 1000)
            }
            SourceError::Client(error) => error.to_string(),
            SourceError::Refused(refusal) => refusal.to_string(),
            SourceError::Manifest(error) => error.to_string(),
            SourceError::Unfit(why) => (*why).to_owned(),
        }
    }

    /// Returns true if and only if digests that do not match are the reason.
    pub(super) fn by_digest(&self) -> bool {
        matches!(self, SourceError::Manifest(_))
    }
}

impl Asker {
    pub(super) fn new(context: &Context, content: ContentKey) -> Asker {
        let peers = &context.peers;
        Asker { node: peers.node, content, bind: peers.ip, emulated: peers.emulated() }
    }

    pub(super) fn connect(&self, endpoint: SocketAddr, stop: &Stop) -> Result<Client, SourceError> {
        let deadline = clock::now() + limits::ms(limits::SOURCE_CONNECT_MS);
        Ok(Client::connect(endpoint, Some(self.bind), deadline, stop)?)
    }

    /// For how long a reply of `endpoint` is kept from us on purpose.
    pub(super) fn held_back(&self, endpoint: SocketAddr) -> Duration {
        self.emulated.as_ref().map_or(Duration::ZERO, |latencies| latencies.emulated(endpoint))
    }

    /// Waits until a reply to a request of `asked_at` counts as arrived.
    pub(super) fn hold_back(
        &self,
        endpoint: SocketAddr,
        asked_at: Instant,
        stop: &Stop,
    ) -> Result<(), SourceError> {
        let held_back = self.held_back(endpoint);
        match held_back > Duration::ZERO && stop.wait_until(asked_at + held_back) {
            true => Err(SourceError::Stopped),
            false => Ok(()),
        }
    }
}

/// Until when the next byte must have come.
pub(super) fn silence_from(now: Instant) -> Instant {
    now + limits::ms(limits::SOURCE_SILENCE_MS)
}
