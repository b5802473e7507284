//! Sources that are nodes: pieces and manifests over nearpeer's own protocol.
//!
//! The manifest comes on a connection of its own, in pages (the digests of consecutive pieces), so that
//! pieces can arrive meanwhile. A node that serves pieces moves their connection to another thread, which has
//! no manifests.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::connection::{Reply, SourceConnection, SourceConnector, SourceError};
use crate::net::client::{Client, ClientError};
use crate::proto::peer::{PeerRefusal, PeerReply, PeerRequest};
use crate::rt::{Stop, clock};
use crate::transfer::config::TransferConfig;
use crate::types::{ContentKey, Geometry, Manifest, PieceDigests, limits};

/// Connects to nodes. Cheap to clone.
#[derive(Debug, Clone)]
pub struct NativeConnector {
    config: TransferConfig,
    content: ContentKey,
    geometry: Geometry,
}

impl NativeConnector {
    /// A connector to nodes that have `content`.
    pub fn new(config: TransferConfig, content: ContentKey) -> NativeConnector {
        NativeConnector { config, content, geometry: Geometry::of(content.size_bytes) }
    }

    fn dial(&self, endpoint: SocketAddr, stop: &Stop) -> Result<Client, SourceError> {
        let deadline = clock::now() + limits::ms(limits::SOURCE_CONNECT_MS);
        Client::connect(endpoint, Some(self.config.bind), deadline, stop).map_err(|error| match error {
            ClientError::Deadline => SourceError::ConnectDeadline,
            error => error.into(),
        })
    }
}

impl SourceConnector for NativeConnector {
    fn connect(&self, endpoint: SocketAddr, stop: &Stop) -> Result<Box<dyn SourceConnection>, SourceError> {
        let client = self.dial(endpoint, stop)?;
        let reply_delay = self.reply_delay(endpoint);
        let (connector, stop) = (self.clone(), stop.clone());
        Ok(Box::new(NativeConnection { connector, client, requested: VecDeque::new(), reply_delay, stop }))
    }

    /// All pages together must come as fast as pieces have to.
    fn fetch_manifest(&self, endpoint: SocketAddr, stop: &Stop) -> Result<Manifest, SourceError> {
        let mut client = self.dial(endpoint, stop)?;
        let reply_delay = self.reply_delay(endpoint);
        let expected = self.geometry.count().unwrap_or(u32::MAX) as usize;
        let mut budget = PageBudget::for_manifest(expected);
        let mut pieces: Vec<PieceDigests> = Vec::new();
        while pieces.len() < expected {
            let first_piece = pieces.len() as u32;
            let requested_at = clock::now();
            let deadline = budget.deadline(requested_at);
            let reply = client
                .send(&PeerRequest::Manifest { content: self.content, first_piece }, deadline)
                .and_then(|()| client.receive(deadline))
                .map_err(|error| match error {
                    ClientError::Deadline if deadline < stall_deadline(requested_at) => {
                        SourceError::ManifestDeadline
                    }
                    error => error.into(),
                })?;
            budget.spend(requested_at, clock::now());
            wait_for_delay(reply_delay, requested_at, stop)?;
            match reply {
                PeerReply::Manifest { first_piece: first, pieces: page }
                    if first == first_piece && !page.is_empty() =>
                {
                    pieces.extend(page);
                }
                PeerReply::Refused(refusal) => return Err(SourceError::Refused(refusal)),
                _ => {
                    let why = "its reply is not the requested part of the manifest";
                    return Err(SourceError::Protocol(why.into()));
                }
            }
        }
        Manifest::accept(self.content, pieces).map_err(SourceError::Manifest)
    }

    fn reply_delay(&self, endpoint: SocketAddr) -> Duration {
        self.config.reply_delay(endpoint)
    }
}

/// A connection to one node.
struct NativeConnection {
    connector: NativeConnector,
    client: Client,
    /// Requests without a reply, the oldest first.
    requested: VecDeque<PieceRequest>,
    reply_delay: Duration,
    stop: Stop,
}

struct PieceRequest {
    piece: u32,
    len_bytes: u64,
    requested_at: Instant,
}

impl SourceConnection for NativeConnection {
    fn request(&mut self, piece: u32, len_bytes: u64) -> Result<(), SourceError> {
        let now = clock::now();
        let NativeConnector { config, content, .. } = &self.connector;
        let request = PeerRequest::Piece { asker: config.node, content: *content, piece };
        self.client.send(&request, stall_deadline(now))?;
        self.requested.push_back(PieceRequest { piece, len_bytes, requested_at: now });
        Ok(())
    }

    fn reply(&mut self) -> Result<Reply, SourceError> {
        let wrong = || SourceError::Protocol("its reply is not the requested piece".into());
        let PieceRequest { piece, len_bytes: expected, requested_at } =
            self.requested.pop_front().ok_or_else(wrong)?;
        let reply = self.client.receive(stall_deadline(clock::now()))?;
        wait_for_delay(self.reply_delay, requested_at, &self.stop)?;
        match reply {
            PeerReply::Piece { piece: sent, len_bytes }
                if sent == piece && u64::from(len_bytes) == expected =>
            {
                Ok(Reply::PieceFollows)
            }
            PeerReply::Refused(PeerRefusal::NoSuchPiece) => Ok(Reply::LacksPiece),
            PeerReply::Refused(refusal) => Err(SourceError::Refused(refusal)),
            _ => Err(wrong()),
        }
    }

    fn read(&mut self, bytes: &mut [u8]) -> Result<usize, SourceError> {
        Ok(self.client.read_raw(bytes, stall_deadline(clock::now()))?)
    }
}

/// Waits until the reply to a request that was sent at `requested_at` counts as arrived.
fn wait_for_delay(reply_delay: Duration, requested_at: Instant, stop: &Stop) -> Result<(), SourceError> {
    if reply_delay > Duration::ZERO && stop.wait_until(requested_at + reply_delay) {
        return Err(SourceError::Stopped);
    }
    Ok(())
}

/// When a source stalls that sends nothing from `now` on.
fn stall_deadline(now: Instant) -> Instant {
    now + limits::ms(limits::SOURCE_SILENCE_MS)
}

/// The time that is left for the pages of a manifest. Emulated delays do not count.
struct PageBudget {
    left: Duration,
}

impl PageBudget {
    /// As long as a source may be silent, and as long as the bytes take at the minimum rate.
    fn for_manifest(pieces: usize) -> PageBudget {
        let bytes = (pieces as u64).saturating_mul(size_of::<PieceDigests>() as u64);
        let at_min_rate = Duration::from_secs(bytes / limits::SOURCE_RATE_MIN_BYTES_PER_S);
        PageBudget { left: limits::ms(limits::SOURCE_SILENCE_MS) + at_min_rate }
    }

    /// When a page that is requested now must have arrived.
    fn deadline(&self, requested_at: Instant) -> Instant {
        stall_deadline(requested_at).min(requested_at + self.left)
    }

    fn spend(&mut self, requested_at: Instant, arrived_at: Instant) {
        self.left = self.left.saturating_sub(arrived_at.saturating_duration_since(requested_at));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_may_take_as_long_as_its_bytes_at_the_minimum_rate_and_a_page_as_long_as_a_silence() {
        let (now, s) = (clock::now(), Duration::from_secs);
        assert_eq!(PageBudget::for_manifest(0).left, s(10));
        let mut budget = PageBudget::for_manifest(1024);
        for (left, deadline, takes) in [(13, 10, 1), (12, 10, 9), (3, 3, 3), (0, 0, 9)] {
            assert_eq!((budget.left, budget.deadline(now)), (s(left), now + s(deadline)));
            budget.spend(now, now + s(takes));
        }
    }

    #[test]
    fn each_deadline_has_a_reason_of_its_own() {
        assert_eq!(SourceError::ConnectDeadline.why(), "no connection in 3 s");
        assert_eq!(SourceError::from(ClientError::Deadline).why(), "stalled: no byte in 10 s");
        assert_eq!(SourceError::ManifestDeadline.why(), "its manifest comes slower than 16 KiB/s");
    }
}
