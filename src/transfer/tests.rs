//! The driver with a second kind of source, whose bytes are in memory.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use parking_lot::Mutex;

use super::*;
use crate::logic::progress::DownloadReporter;
use crate::logic::select::LiveHolder;
use crate::rt::Stop;
use crate::store::{Partial, RealDisk, Share};
use crate::types::{
    ContentKey, FileEntry, FileName, Geometry, LatencyOrigin, Manifest, Millis, NodeId, PieceDigests,
    Provider, Query, Ranked,
};

/// Sources that have their bytes in memory.
#[derive(Debug)]
struct MemoryConnector {
    manifest: Manifest,
    /// What each source sends as the content.
    sources: BTreeMap<SocketAddr, Arc<Vec<u8>>>,
}

struct MemoryConnection {
    geometry: Geometry,
    bytes: Arc<Vec<u8>>,
    requested: VecDeque<u32>,
    /// The rest of the piece that is being read.
    unread: Vec<u8>,
}

impl SourceConnector for MemoryConnector {
    fn connect(&self, endpoint: SocketAddr, _stop: &Stop) -> Result<Box<dyn SourceConnection>, SourceError> {
        let bytes = self.sources.get(&endpoint).ok_or(SourceError::Protocol("no such source".into()))?;
        Ok(Box::new(MemoryConnection {
            geometry: self.manifest.geometry(),
            bytes: Arc::clone(bytes),
            requested: VecDeque::new(),
            unread: Vec::new(),
        }))
    }

    fn fetch_manifest(&self, _endpoint: SocketAddr, _stop: &Stop) -> Result<Manifest, SourceError> {
        Ok(self.manifest.clone())
    }
}

impl SourceConnection for MemoryConnection {
    fn request(&mut self, piece: u32, _len_bytes: u64) -> Result<(), SourceError> {
        self.requested.push_back(piece);
        Ok(())
    }

    fn reply(&mut self) -> Result<Reply, SourceError> {
        assert!(self.unread.is_empty(), "the driver has read the piece before");
        let piece = self.requested.pop_front().expect("the driver has requested a piece");
        let range = self.geometry.range(piece).expect("a piece of the content");
        self.unread = self.bytes[range.start as usize..range.end as usize].to_vec();
        Ok(Reply::PieceFollows)
    }

    fn read(&mut self, bytes: &mut [u8]) -> Result<usize, SourceError> {
        // In parts, as a socket gives them.
        let len = bytes.len().min(300_000);
        bytes[..len].copy_from_slice(&self.unread[..len]);
        self.unread.drain(..len);
        Ok(len)
    }
}

/// The program around the driver: it finds no further holders, and records the pieces that it is to offer.
#[derive(Default)]
struct Program {
    offered: Mutex<Vec<u32>>,
}

impl HolderSearch for Program {
    fn find(&self, _query: &Query, _stop: &Stop) -> Result<Vec<Provider>, SearchError> {
        Err(SearchError::NoAnswer("no discovery".into()))
    }

    fn probe(&self, _providers: Vec<Provider>, _stop: &Stop) -> Result<Vec<LiveHolder>, SearchError> {
        Ok(Vec::new())
    }
}

impl PieceOffer for Program {
    fn begin(&self, _manifest: Arc<Manifest>, _file: Arc<File>) {}

    fn add(&self, _content: &ContentKey, piece: u32) -> u32 {
        let mut offered = self.offered.lock();
        offered.push(piece);
        offered.len() as u32
    }

    fn withhold_manifest(&self, _content: &ContentKey) {}

    fn publish(&self, _entry: FileEntry) {}

    fn end(&self, _content: &ContentKey) {}
}

impl Notices for Program {
    fn warn(&self, _text: String) {}
}

fn endpoint(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn ranked(port: u16) -> Ranked {
    Ranked {
        endpoint: endpoint(port),
        latency: Millis::from_ms(u64::from(port)),
        latency_origin: LatencyOrigin::Measured,
        load: 0,
        score: Millis::from_ms(u64::from(port)),
        yours: 0,
    }
}

/// The end of a download.
struct End {
    result: Result<FetchedContent, TransferError>,
    /// The bytes of the partial file.
    written: Vec<u8>,
    /// The pieces that were offered, in order.
    offered: Vec<u32>,
}

/// Fetches `content` from these sources (port, the bytes that it sends as the content), best first.
fn fetch(content: &[u8], sources: &[(u16, &[u8])]) -> End {
    let geometry = Geometry::of(content.len() as u64);
    let pieces = content.chunks(geometry.piece_len_bytes() as usize).enumerate();
    let digests = pieces.map(|(index, bytes)| PieceDigests::of(&geometry, index as u32, bytes)).collect();
    let manifest = Manifest::of_hashed(geometry.size_bytes(), digests);
    let key = manifest.key();
    let dir = tempfile::tempdir().expect("a directory");
    let share = Arc::new(Share::open(dir.path(), Arc::new(RealDisk)).expect("a share"));
    let partial = Arc::new(Partial::open(&share, key).expect("a partial file").partial);
    let program = Arc::new(Program::default());
    let name = FileName::new("a").expect("a name");
    let offer = Arc::clone(&program) as Arc<dyn PieceOffer>;
    let mut announcer = PartialAnnouncer::new(offer, Some(name.clone()), key, None);
    let bytes = |(port, bytes): &(u16, &[u8])| (endpoint(*port), Arc::new(bytes.to_vec()));
    let connector = MemoryConnector { manifest, sources: sources.iter().map(bytes).collect() };
    let config = TransferConfig {
        node: NodeId(1),
        bind: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        load_weight: Millis::from_ms(10),
        retries: 0,
        reply_delays: None,
    };
    let ranking: Vec<_> = sources.iter().map(|(port, _)| ranked(*port)).collect();
    let mut driver = Driver {
        config,
        connector: Arc::new(connector),
        holders: Arc::clone(&program) as Arc<dyn HolderSearch>,
        notices: Arc::clone(&program) as Arc<dyn Notices>,
        name,
        content: key,
        geometry,
        partial: &partial,
        providers: BTreeMap::new(),
        cancel: &Stop::new().expect("a descriptor"),
        reporter: &mut DownloadReporter::new(FileName::new("a").expect("a name")),
        publish: &mut |_| {},
        announcer: &mut announcer,
        remember: &|_| Ok(()),
    };
    let result = driver.run(&ranking, HeldPieces::new(), LeftoverPieces::default());
    let mut written = vec![0; content.len()];
    partial.read_piece(0, &mut written).expect("the partial file has the size of the content");
    let offered = program.offered.lock().clone();
    End { result, written, offered }
}

fn content(len: usize) -> Vec<u8> {
    (0..len).map(|index| (index * 31 % 251) as u8).collect()
}

#[test]
fn the_driver_fetches_every_piece_through_any_connector() {
    let content = content((3 << 20) + 7);
    let End { result, written, mut offered } = fetch(&content, &[(1, &content), (2, &content)]);
    let fetched = result.expect("all pieces are fetched");
    assert!(fetched.sources.iter().all(|source| [endpoint(1), endpoint(2)].contains(source)));
    assert!(fetched.piece_md5s_hold && fetched.manifest.is_some());
    assert!(written == content, "every byte is in the partial file");
    offered.sort_unstable();
    assert_eq!(offered, [0, 1, 2, 3], "each verified piece is offered once");
}

#[test]
fn the_driver_leaves_a_source_of_any_connector_that_sends_wrong_bytes() {
    let (right, wrong) = (content(5 << 20), vec![7; 5 << 20]);
    let end = fetch(&right, &[(1, &wrong), (2, &right)]);
    assert_eq!(end.result.expect("the other source has all pieces").sources, [endpoint(2)]);
    assert!(end.written == right, "no wrong byte is in the partial file");
    match fetch(&right, &[(1, &wrong)]).result {
        Err(TransferError::AllFailed(failures)) => {
            assert!(failures.iter().all(|failure| failure.sent_wrong_data));
        }
        other => panic!("no source is left, but {other:?}"),
    }
}
