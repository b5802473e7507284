//! The blocking thread that fetches from one source: connect, then pieces, in the order in which it was told
//! to fetch them.
//!
//! It only receives: it verifies and writes nothing. It ends when its list of fetches is closed or its stop
//! is triggered, or with the reason why the source is of no use.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, select};

use super::buffers::{Buffer, Buffers};
use super::peer::{Asker, SourceError, silence_from};
use crate::net::client::Client;
use crate::proto::peer::{PeerRefusal, PeerReply, PeerRequest};
use crate::rt::{Stop, clock};
use crate::types::Geometry;

/// How far a source thread is.
#[derive(Debug, Default)]
pub(super) struct Meter {
    /// Bytes of pieces that have come.
    pub(super) received_bytes: AtomicU64,
    /// More could come, but there is no buffer for it.
    pub(super) waits_for_us: AtomicBool,
}

/// What a source thread is given.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) asker: Asker,
    pub(super) endpoint: SocketAddr,
    /// What the download's thread sees of it.
    pub(super) meter: Arc<Meter>,
    pub(super) fetches: Receiver<u32>,
    pub(super) buffers: Buffers,
    pub(super) stop: Stop,
}

/// Fetches until told to end; `deliver` takes each piece, of the right length and nothing more known of it,
/// or none where the source does not have it, and returns false when nobody wants any more.
///
/// # Errors
/// Why the source is of no use; [`SourceError::Stopped`] is no fault of its.
pub(super) fn run(
    source: &Source,
    mut deliver: impl FnMut(u32, Option<Buffer>) -> bool,
) -> Result<(), SourceError> {
    let mut client = source.asker.connect(source.endpoint, &source.stop)?;
    let mut on_the_wire: VecDeque<(u32, Instant)> = VecDeque::new();
    loop {
        if on_the_wire.is_empty() {
            select! {
                recv(source.fetches) -> piece => match piece {
                    Ok(piece) => on_the_wire.push_back((piece, source.ask_for(&mut client, piece)?)),
                    Err(_) => return Ok(()),
                },
                recv(source.stop.receiver()) -> _ => return Err(SourceError::Stopped),
            }
        }
        while let Ok(piece) = source.fetches.try_recv() {
            on_the_wire.push_back((piece, source.ask_for(&mut client, piece)?));
        }
        if let Some((piece, asked_at)) = on_the_wire.pop_front() {
            let buffer = match source.receive(&mut client, piece, asked_at) {
                Err(SourceError::Refused(PeerRefusal::NoSuchPiece)) => None,
                received => Some(received?),
            };
            if !deliver(piece, buffer) {
                return Ok(());
            }
        }
    }
}

impl Source {
    fn ask_for(&self, client: &mut Client, piece: u32) -> Result<Instant, SourceError> {
        let now = clock::now();
        let request = PeerRequest::Piece { asker: self.asker.node, content: self.asker.content, piece };
        client.send(&request, silence_from(now))?;
        Ok(now)
    }

    fn receive(&self, client: &mut Client, piece: u32, asked_at: Instant) -> Result<Buffer, SourceError> {
        let expected = Geometry::of(self.asker.content.size_bytes).len_bytes(piece).unwrap_or(0);
        let reply = client.receive(silence_from(clock::now()))?;
        self.asker.hold_back(self.endpoint, asked_at, &self.stop)?;
        match reply {
            PeerReply::Piece { piece: sent, len_bytes }
                if sent == piece && u64::from(len_bytes) == expected => {}
            PeerReply::Refused(refusal) => return Err(SourceError::Refused(refusal)),
            _ => return Err(SourceError::Unfit("its answer is not the piece that was asked for")),
        }
        self.meter.waits_for_us.store(true, Ordering::Relaxed);
        let buffer = self.buffers.wait(expected as usize, &self.stop);
        self.meter.waits_for_us.store(false, Ordering::Relaxed);
        let mut buffer = buffer.ok_or(SourceError::Stopped)?;
        let bytes = buffer.bytes_mut();
        let mut filled = 0;
        while filled < bytes.len() {
            let len = client.read_raw(&mut bytes[filled..], silence_from(clock::now()))?;
            filled += len;
            self.meter.received_bytes.fetch_add(len as u64, Ordering::Relaxed);
        }
        Ok(buffer)
    }

    /// Its replies are kept from us for so long on purpose.
    pub(super) fn held_back(&self) -> Duration {
        self.asker.held_back(self.endpoint)
    }
}
