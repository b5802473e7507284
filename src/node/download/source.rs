//! The blocking thread that fetches from one source: connect, get the manifest if there is none yet, then pieces, each verified here.
//!
//! It obeys: pieces come in the order in which it was told to fetch them, and it ends when its list of fetches is closed or its stop is
//! triggered. It never writes; verified bytes go to the download's thread.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, select};

use crate::net::client::{Client, ClientError};
use crate::proto::peer::{PeerRefusal, PeerReply, PeerRequest};
use crate::rt::{Stop, clock};
use crate::types::{
    ContentKey, Manifest, ManifestError, Md5Digest, NodeId, PieceDigests, WrongPiece, limits,
};

/// What a source thread tells the download's thread.
#[derive(Debug)]
pub(super) struct Report {
    /// Which source thread of this download it comes from.
    pub(super) thread: u64,
    pub(super) what: What,
}

#[derive(Debug)]
pub(super) enum What {
    /// The piece list that this source gave, accepted.
    Manifest(Arc<Manifest>),
    /// A piece with the right BLAKE3. `md5_is_right` is false if the MD5 listed for it is another one.
    Piece { piece: u32, bytes: Vec<u8>, md5_is_right: bool },
    /// A piece with wrong bytes; the buffer comes back.
    Wrong { piece: u32, why: String, bytes: Vec<u8> },
    /// The thread has ended.
    Failed { why: String, by_digest: bool },
}

/// What a source thread is given.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) thread: u64,
    pub(super) endpoint: SocketAddr,
    pub(super) bind: IpAddr,
    pub(super) asker: NodeId,
    pub(super) content: ContentKey,
    /// The whole-file MD5 that this source publishes: for a file of one piece it is the piece's.
    pub(super) md5_claim: Md5Digest,
    /// Accepted before, from whatever source.
    pub(super) manifest: Option<Arc<Manifest>>,
    /// Replies count as arrived no sooner than this after their request.
    pub(super) emulated_latency: Duration,
    /// Bytes that have come so far; read by the download's thread.
    pub(super) received: Arc<AtomicU64>,
    pub(super) fetches: Receiver<u32>,
    pub(super) buffers: Receiver<Vec<u8>>,
    pub(super) reports: Sender<Report>,
    pub(super) stop: Stop,
}

/// Why a source is of no use.
enum Fault {
    /// We were told to end.
    Stopped,
    Client(ClientError),
    Refused(PeerRefusal),
    Manifest(ManifestError),
    Unfit(&'static str),
}

impl From<ClientError> for Fault {
    fn from(error: ClientError) -> Fault {
        match error {
            ClientError::Stopped => Fault::Stopped,
            error => Fault::Client(error),
        }
    }
}

/// Fetches until told to end or until the source fails.
pub(super) fn run(source: &Source) {
    let failed = match fetch(source) {
        Ok(()) | Err(Fault::Stopped) => return,
        Err(Fault::Client(ClientError::Deadline)) => {
            (format!("stalled: no byte in {} s", limits::SOURCE_SILENCE_MS / 1000), false)
        }
        Err(Fault::Client(error)) => (error.to_string(), false),
        Err(Fault::Refused(refusal)) => (refusal.to_string(), false),
        Err(Fault::Manifest(error)) => (error.to_string(), true),
        Err(Fault::Unfit(why)) => (why.to_owned(), false),
    };
    source.report(What::Failed { why: failed.0, by_digest: failed.1 });
}

fn fetch(source: &Source) -> Result<(), Fault> {
    let deadline = clock::now() + limits::ms(limits::SOURCE_CONNECT_MS);
    let mut client = Client::connect(source.endpoint, Some(source.bind), deadline, &source.stop)?;
    let manifest = match &source.manifest {
        Some(manifest) => Arc::clone(manifest),
        None => {
            let manifest = Arc::new(source.manifest(&mut client)?);
            source.report(What::Manifest(Arc::clone(&manifest)));
            manifest
        }
    };
    // Piece bytes never share a connection with a page that came before: the source moves it to another thread.
    let mut on_the_wire: VecDeque<(u32, Instant)> = VecDeque::new();
    loop {
        if on_the_wire.is_empty() {
            select! {
                recv(source.fetches) -> piece => match piece {
                    Ok(piece) => on_the_wire.push_back((piece, source.ask_for(&mut client, piece)?)),
                    Err(_) => return Ok(()),
                },
                recv(source.stop.receiver()) -> _ => return Err(Fault::Stopped),
            }
        }
        while let Ok(piece) = source.fetches.try_recv() {
            on_the_wire.push_back((piece, source.ask_for(&mut client, piece)?));
        }
        if let Some((piece, asked_at)) = on_the_wire.pop_front() {
            source.take_piece(&mut client, &manifest, piece, asked_at)?;
        }
    }
}

impl Source {
    fn report(&self, what: What) {
        select! {
            send(self.reports, Report { thread: self.thread, what }) -> _ => {}
            recv(self.stop.receiver()) -> _ => {}
        }
    }

    /// Gets the piece list, page by page.
    fn manifest(&self, client: &mut Client) -> Result<Manifest, Fault> {
        if let Some(manifest) = Manifest::of_single(self.content, self.md5_claim) {
            return Ok(manifest);
        }
        let expected =
            crate::types::Geometry::of(self.content.size_bytes).count().unwrap_or(u32::MAX) as usize;
        let mut pieces: Vec<PieceDigests> = Vec::new();
        while pieces.len() < expected {
            let first_piece = pieces.len() as u32;
            let asked_at = clock::now();
            let request = PeerRequest::Manifest { content: self.content, first_piece };
            client.send(&request, silence_from(asked_at))?;
            let reply = client.receive(silence_from(asked_at))?;
            self.hold_back(asked_at)?;
            match reply {
                PeerReply::Manifest { first_piece: first, pieces: page }
                    if first == first_piece && !page.is_empty() =>
                {
                    pieces.extend(page);
                }
                PeerReply::Refused(refusal) => return Err(Fault::Refused(refusal)),
                _ => return Err(Fault::Unfit("its answer is not the piece list that was asked for")),
            }
        }
        Manifest::accept(self.content, pieces).map_err(Fault::Manifest)
    }

    fn ask_for(&self, client: &mut Client, piece: u32) -> Result<Instant, Fault> {
        let now = clock::now();
        let request = PeerRequest::Piece { asker: self.asker, content: self.content, piece };
        client.send(&request, silence_from(now))?;
        Ok(now)
    }

    /// Receives and verifies one piece.
    fn take_piece(
        &self,
        client: &mut Client,
        manifest: &Manifest,
        piece: u32,
        asked_at: Instant,
    ) -> Result<(), Fault> {
        let expected = manifest.geometry().len_bytes(piece).unwrap_or(0);
        match client.receive(silence_from(clock::now()))? {
            PeerReply::Piece { piece: sent, len_bytes }
                if sent == piece && u64::from(len_bytes) == expected => {}
            PeerReply::Refused(refusal) => return Err(Fault::Refused(refusal)),
            _ => return Err(Fault::Unfit("its answer is not the piece that was asked for")),
        }
        self.hold_back(asked_at)?;
        let mut bytes = self.buffer(expected as usize)?;
        let mut filled = 0;
        while filled < bytes.len() {
            let len = client.read_raw(&mut bytes[filled..], silence_from(clock::now()))?;
            filled += len;
            self.received.fetch_add(len as u64, Ordering::Relaxed);
        }
        self.report(match manifest.check(piece, &bytes) {
            Ok(()) => What::Piece { piece, bytes, md5_is_right: true },
            Err(WrongPiece::Md5(_)) => What::Piece { piece, bytes, md5_is_right: false },
            Err(wrong) => What::Wrong { piece, why: wrong.to_string(), bytes },
        });
        Ok(())
    }

    /// An empty buffer of the piece's length, once one is free.
    fn buffer(&self, len: usize) -> Result<Vec<u8>, Fault> {
        select! {
            recv(self.buffers) -> buffer => {
                let mut buffer = buffer.map_err(|_| Fault::Stopped)?;
                buffer.resize(len, 0);
                Ok(buffer)
            }
            recv(self.stop.receiver()) -> _ => Err(Fault::Stopped),
        }
    }

    fn hold_back(&self, asked_at: Instant) -> Result<(), Fault> {
        let until = asked_at + self.emulated_latency;
        match self.emulated_latency > Duration::ZERO && self.stop.wait_until(until) {
            true => Err(Fault::Stopped),
            false => Ok(()),
        }
    }
}

fn silence_from(now: Instant) -> Instant {
    now + limits::ms(limits::SOURCE_SILENCE_MS)
}
