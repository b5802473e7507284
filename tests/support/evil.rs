//! `EvilPeer`: a source that a real tracker lists as a live node and that misbehaves in one way.
//!
//! It registers correctly and answers the call-back and load probes, so that it is chosen. Its [`Behaviour`]
//! decides how it answers requests for a manifest or a piece. Drop joins its threads.

use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use parking_lot::{Condvar, Mutex};

use nearpeer::proto::frame;
use nearpeer::proto::tracker::{Hello, ReplyBody, TrackerReply, TrackerRequest};
use nearpeer::types::{
    ContentKey, FileEntry, FileName, Holding, Md5Digest, Md5Origin, NodeId, Nonce, PieceDigests,
};

use super::content;
use super::evil_script;
use super::raw::{Client, fresh_node_id};

/// The way in which a source misbehaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    /// No misbehaviour: the control of every test.
    Honest,
    /// Sends half of a piece and closes the connection.
    ClosesEarly,
    /// Sends half of a piece and then nothing.
    Stalls,
    /// Does not answer requests for a piece or a manifest.
    Silent,
    /// Sends a piece byte by byte, slowly.
    Trickles,
    /// Sends wrong bytes of the right length.
    WrongBytes,
    /// Sends wrong bytes in place of one piece in twenty: the fourth piece that it sends, the 24th, and so
    /// on.
    SometimesWrongBytes,
    /// Claims one byte more than the piece has, and sends it.
    ClaimsMore,
    /// Claims one byte less than the piece has, and sends that many bytes.
    ClaimsLess,
    /// Claims the right length and sends more bytes.
    SendsMore,
    /// Answers with a frame of 2^32-1 bytes.
    HugeFrame,
    /// Answers with bytes that are no frame.
    Garbage,
    /// Answers with another piece than the requested one.
    AnotherPiece,
    /// Its piece digests do not merge to the content id. Its pieces are right.
    ForgedManifest,
    /// Its manifest has one piece too few.
    ShortManifest,
    /// Its piece digests merge to the content id, but their MD5s are wrong.
    ForgedMd5InManifest,
    /// Serves right bytes under a false MD5 of the whole file.
    FalseWholeMd5,
    /// Refuses pieces and the manifest. The reason contains terminal control codes.
    HostileText,
    /// Answers that the file has changed.
    ChangedFile,
    /// Publishes one piece, claims in `Have` replies that it has all, and refuses each.
    FalseHave,
    /// Publishes one piece, claims in `Have` replies that it has all, refuses every other piece and sends the
    /// rest correctly.
    HalfPart,
    /// Publishes one piece, claims in `Have` replies that it has all, and sends wrong bytes for each.
    WrongPart,
    /// Has the first half of the pieces and says so. Its piece digests merge to the content id, but their
    /// MD5s are wrong.
    ForgedMd5OfPart,
    /// Publishes one piece, claims in `Have` replies that it has all, and sends each correctly, but withholds
    /// its manifest.
    WithheldList,
    /// Publishes one piece, and answers a `Have` request with bytes that are no frame. Otherwise honest.
    GarbledHave,
    /// Publishes one piece, and answers a `Have` request with a set of one piece too many. Otherwise honest.
    LongHave,
    /// Publishes one piece, and does not answer `Have` requests. Otherwise honest.
    SilentHave,
}

impl Behaviour {
    /// True if it publishes only a part of the file.
    fn has_part(self) -> bool {
        matches!(
            self,
            Behaviour::FalseHave
                | Behaviour::HalfPart
                | Behaviour::WrongPart
                | Behaviour::ForgedMd5OfPart
                | Behaviour::WithheldList
                | Behaviour::GarbledHave
                | Behaviour::LongHave
                | Behaviour::SilentHave
        )
    }
}

/// The content and the counters, shared with the serving threads.
#[derive(Debug)]
pub struct Deeds {
    pub behaviour: Behaviour,
    pub node: NodeId,
    pub load: AtomicU32,
    pub key: ContentKey,
    pub bytes: Vec<u8>,
    pub pieces: Vec<PieceDigests>,
    /// Requests for a manifest or a piece.
    pub requests: AtomicU64,
    /// `Have` requests received.
    pub have_requests: AtomicU64,
    /// Pieces sent completely, right or wrong.
    pub sent_pieces: AtomicU64,
    nonce: Mutex<Option<Nonce>>,
    stopped: Mutex<bool>,
    stop: Condvar,
}

impl Deeds {
    pub fn nonce(&self) -> Option<Nonce> {
        *self.nonce.lock()
    }

    /// Waits for the end of the peer, at most for `at_most`. Returns true if it has ended.
    pub fn wait_stopped(&self, at_most: std::time::Duration) -> bool {
        let mut stopped = self.stopped.lock();
        if !*stopped {
            self.stop.wait_for(&mut stopped, at_most);
        }
        *stopped
    }
}

/// A hostile node.
#[derive(Debug)]
pub struct EvilPeer {
    pub addr: SocketAddr,
    deeds: Arc<Deeds>,
    /// While it is open, the tracker regards this peer as live.
    control: Client,
    connections: Arc<Mutex<Vec<TcpStream>>>,
    accepting: Option<JoinHandle<()>>,
}

impl EvilPeer {
    /// Registers at `tracker` as a holder of `bytes` under `name`, with load 0. The peer is listed when this
    /// returns.
    pub fn start(tracker: SocketAddr, name: &str, bytes: &[u8], behaviour: Behaviour) -> EvilPeer {
        let md5 = match behaviour {
            Behaviour::FalseWholeMd5 => Md5Digest([0x66; 16]),
            _ => content::md5_of(bytes),
        };
        EvilPeer::start_claiming(tracker, name, bytes, behaviour, md5)
    }

    /// Like [`EvilPeer::start`], but publishes this MD5.
    pub fn start_claiming(
        tracker: SocketAddr,
        name: &str,
        bytes: &[u8],
        behaviour: Behaviour,
        md5: Md5Digest,
    ) -> EvilPeer {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let addr = listener.local_addr().expect("it is bound");
        let deeds = Arc::new(Deeds {
            behaviour,
            node: fresh_node_id(),
            load: AtomicU32::new(0),
            key: content::key_of(bytes),
            bytes: bytes.to_vec(),
            pieces: content::pieces_of(bytes),
            requests: AtomicU64::new(0),
            have_requests: AtomicU64::new(0),
            sent_pieces: AtomicU64::new(0),
            nonce: Mutex::new(None),
            stopped: Mutex::new(false),
            stop: Condvar::new(),
        });
        let connections = Arc::new(Mutex::new(Vec::new()));
        let (served, open) = (Arc::clone(&deeds), Arc::clone(&connections));
        let accepting = std::thread::spawn(move || accept(&listener, &served, &open));
        let entry = FileEntry {
            name: FileName::new(name).expect("an ordinary name"),
            size_bytes: deeds.key.size_bytes,
            mtime_ns: 0,
            content: deeds.key.id,
            md5,
            md5_origin: Md5Origin::Claimed,
            holding: if behaviour.has_part() { Holding::Pieces(1) } else { Holding::Full },
            attributes: Vec::new(),
        };
        let mut control = Client::connect(tracker);
        let nonce = greet(&mut control, deeds.node, addr);
        *deeds.nonce.lock() = Some(nonce);
        let reply: TrackerReply = control.ask(&TrackerRequest::Register { entries: vec![entry], last: true });
        assert_eq!(
            reply.body,
            ReplyBody::Registered { unproved: None },
            "the tracker offers the hostile peer"
        );
        EvilPeer { addr, deeds, control, connections, accepting: Some(accepting) }
    }

    /// Changes the load that it claims.
    pub fn set_load(&self, load: u32) {
        self.deeds.load.store(load, Ordering::SeqCst);
    }

    /// Number of requests for a manifest or a piece.
    pub fn requests(&self) -> u64 {
        self.deeds.requests.load(Ordering::SeqCst)
    }

    /// Waits for the first request for a manifest or a piece.
    ///
    /// # Panics
    /// If there is none by the deadline.
    pub fn wait_requested(&self) {
        let until = Instant::now() + super::DEADLINE;
        while self.requests() == 0 {
            assert!(Instant::now() < until, "no request came");
            std::thread::yield_now();
        }
    }

    /// Number of `Have` requests.
    pub fn have_requests(&self) -> u64 {
        self.deeds.have_requests.load(Ordering::SeqCst)
    }

    /// Number of pieces sent completely, right or wrong. Behaviours that cut, stall, or lie about lengths do
    /// not count.
    pub fn sent_pieces(&self) -> u64 {
        self.deeds.sent_pieces.load(Ordering::SeqCst)
    }

    /// Its control connection.
    pub fn control(&mut self) -> &mut Client {
        &mut self.control
    }
}

impl Drop for EvilPeer {
    fn drop(&mut self) {
        *self.deeds.stopped.lock() = true;
        self.deeds.stop.notify_all();
        for connection in self.connections.lock().drain(..) {
            let _closed_already = connection.shutdown(Shutdown::Both);
        }
        let _woken = TcpStream::connect(self.addr);
        if let Some(accepting) = self.accepting.take() {
            let _panicked = accepting.join();
        }
    }
}

/// Opens a control connection and returns the nonce that the listener must present.
fn greet(control: &mut Client, node: NodeId, endpoint: SocketAddr) -> Nonce {
    let hello = Hello { node, endpoint, heartbeat_ms: 0, attributes: Vec::new() };
    let reply: TrackerReply = control.ask(&TrackerRequest::Hello(hello));
    match reply.body {
        ReplyBody::Welcome { nonce } => nonce,
        other => panic!("no welcome: {other:?}"),
    }
}

fn accept(listener: &TcpListener, deeds: &Arc<Deeds>, connections: &Mutex<Vec<TcpStream>>) {
    let mut serving = Vec::new();
    for accepted in listener.incoming() {
        // The lock orders this against drop: drop either sees the connection and shuts it down, or it is not
        // served here.
        let mut open = connections.lock();
        if *deeds.stopped.lock() {
            break;
        }
        let Ok(stream) = accepted else { continue };
        open.extend(stream.try_clone());
        let deeds = Arc::clone(deeds);
        serving.push(std::thread::spawn(move || evil_script::serve(stream, &deeds)));
    }
    for thread in serving {
        let _panicked = thread.join();
    }
}

/// Registers a file with an invalid name, in bytes that no honest encoder makes. Returns the connection, and
/// the answer of the tracker unless the tracker closed it first.
pub fn register_lying_name(tracker: SocketAddr, name: &[u8]) -> (Client, Option<TrackerReply>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let endpoint = listener.local_addr().expect("it is bound");
    let placeholder: String = "Q".repeat(name.len());
    let entry = |name: &str| FileEntry {
        name: FileName::new(name).expect("an ordinary name"),
        size_bytes: 4,
        mtime_ns: 0,
        content: content::key_of(b"evil").id,
        md5: content::md5_of(b"evil"),
        md5_origin: Md5Origin::Claimed,
        holding: Holding::Full,
        attributes: Vec::new(),
    };
    // A valid entry in the same page: the tracker must refuse the whole page.
    let entries = vec![entry("honest-part.bin"), entry(&placeholder)];
    let mut bytes = frame(&TrackerRequest::Register { entries, last: true }).expect("it fits");
    let at = bytes
        .windows(name.len())
        .position(|window| window == placeholder.as_bytes())
        .expect("the name stands in the frame as it is");
    bytes[at..at + name.len()].copy_from_slice(name);
    let mut control = Client::connect(tracker);
    greet(&mut control, fresh_node_id(), endpoint);
    control.send_raw(&bytes);
    let reply = control.receive();
    (control, reply)
}
