//! Sources that are nodes: pieces and manifests over nearpeer's own protocol.
//!
//! The manifest comes on a connection of its own, page by page, so that pieces can arrive meanwhile: a source
//! moves a connection for pieces to another thread, which has no manifests.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::connection::{Reply, SourceConnection, SourceConnector, SourceError};
use crate::net::client::Client;
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
        Ok(Client::connect(endpoint, Some(self.config.bind), deadline, stop)?)
    }
}

impl SourceConnector for NativeConnector {
    fn connect(&self, endpoint: SocketAddr, stop: &Stop) -> Result<Box<dyn SourceConnection>, SourceError> {
        let client = self.dial(endpoint, stop)?;
        let reply_delay = self.reply_delay(endpoint);
        let (connector, stop) = (self.clone(), stop.clone());
        Ok(Box::new(NativeConnection { connector, client, requested: VecDeque::new(), reply_delay, stop }))
    }

    /// All pages must come as fast as a source has to send pieces.
    fn fetch_manifest(&self, endpoint: SocketAddr, stop: &Stop) -> Result<Manifest, SourceError> {
        let mut client = self.dial(endpoint, stop)?;
        let reply_delay = self.reply_delay(endpoint);
        let expected = self.geometry.count().unwrap_or(u32::MAX) as usize;
        let mut time_left = manifest_time_max(expected);
        let mut pieces: Vec<PieceDigests> = Vec::new();
        while pieces.len() < expected {
            let first_piece = pieces.len() as u32;
            let requested_at = clock::now();
            let deadline = silence_from(requested_at).min(requested_at + time_left);
            client.send(&PeerRequest::Manifest { content: self.content, first_piece }, deadline)?;
            let reply = client.receive(deadline)?;
            time_left = deadline.min(requested_at + time_left).saturating_duration_since(clock::now());
            hold_back(reply_delay, requested_at, stop)?;
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
    /// Requests without a reply: piece, its length in bytes, and when the request was sent.
    requested: VecDeque<(u32, u64, Instant)>,
    reply_delay: Duration,
    stop: Stop,
}

impl SourceConnection for NativeConnection {
    fn request(&mut self, piece: u32, len_bytes: u64) -> Result<(), SourceError> {
        let now = clock::now();
        let NativeConnector { config, content, .. } = &self.connector;
        let request = PeerRequest::Piece { asker: config.node, content: *content, piece };
        self.client.send(&request, silence_from(now))?;
        self.requested.push_back((piece, len_bytes, now));
        Ok(())
    }

    fn reply(&mut self) -> Result<Reply, SourceError> {
        let wrong = || SourceError::Protocol("its reply is not the requested piece".into());
        let (piece, expected, requested_at) = self.requested.pop_front().ok_or_else(wrong)?;
        let reply = self.client.receive(silence_from(clock::now()))?;
        hold_back(self.reply_delay, requested_at, &self.stop)?;
        match reply {
            PeerReply::Piece { piece: sent, len_bytes }
                if sent == piece && u64::from(len_bytes) == expected =>
            {
                Ok(Reply::Piece)
            }
            PeerReply::Refused(PeerRefusal::NoSuchPiece) => Ok(Reply::Lacks),
            PeerReply::Refused(refusal) => Err(SourceError::Refused(refusal)),
            _ => Err(wrong()),
        }
    }

    fn read(&mut self, bytes: &mut [u8]) -> Result<usize, SourceError> {
        Ok(self.client.read_raw(bytes, silence_from(clock::now()))?)
    }
}

/// Waits until a reply to a request of `requested_at` counts as arrived.
fn hold_back(reply_delay: Duration, requested_at: Instant, stop: &Stop) -> Result<(), SourceError> {
    if reply_delay > Duration::ZERO && stop.wait_until(requested_at + reply_delay) {
        return Err(SourceError::Stopped);
    }
    Ok(())
}

/// The time by which the next byte must have arrived.
fn silence_from(now: Instant) -> Instant {
    now + limits::ms(limits::SOURCE_SILENCE_MS)
}

/// The longest time for a manifest of so many pieces. Emulated latency is added to it.
fn manifest_time_max(pieces: usize) -> Duration {
    let bytes = (pieces as u64).saturating_mul(size_of::<PieceDigests>() as u64);
    limits::ms(limits::SOURCE_SILENCE_MS) + Duration::from_secs(bytes / limits::SOURCE_RATE_MIN_BYTES_PER_S)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_may_take_as_long_as_its_bytes_at_the_least_rate() {
        assert_eq!(manifest_time_max(1024), Duration::from_secs(13));
        assert_eq!(manifest_time_max(0), Duration::from_secs(10));
    }
}
