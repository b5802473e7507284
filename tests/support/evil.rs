//! `EvilPeer`: a source that a real tracker lists as a live node, and that then misbehaves in one way.
//!
//! It registers properly and answers the call-back and load probes, so that it is chosen; what it does with a
//! request for a manifest or a piece is its [`Behaviour`]. Threads are joined on drop.

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

/// In which way a source misbehaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    /// Not at all: the control of every test.
    Honest,
    /// Sends half of a piece and closes.
    ClosesEarly,
    /// Sends half of a piece and then nothing.
    Stalls,
    /// Sends nothing when asked for a piece or its list.
    Silent,
    /// Sends a piece a byte at a time.
    Trickles,
    /// Sends other bytes than those of the piece, as many.
    WrongBytes,
    /// Sends wrong bytes in place of one piece in twenty: the fourth that it sends, the 24th, and so on.
    SometimesWrongBytes,
    /// Claims one byte more than the piece has, and sends it.
    ClaimsMore,
    /// Claims one byte less than the piece has, and sends that.
    ClaimsLess,
    /// Claims the right length and sends more bytes.
    SendsMore,
    /// Answers with a frame of 2^32-1 bytes.
    HugeFrame,
    /// Answers with bytes that are no frame.
    Garbage,
    /// Answers with another piece than was asked for.
    AnotherPiece,
    /// Its piece list does not merge to the content id; its pieces are right.
    ForgedManifest,
    /// Its piece list has one piece too few.
    ShortManifest,
    /// Its piece list merges, but the MD5s in it are wrong.
    ForgedMd5InManifest,
    /// Serves honest bytes under a false MD5 of the whole file.
    FalseWholeMd5,
    /// Refuses pieces and their list, and says why in words that steer terminals.
    HostileText,
    /// Says that the file has changed.
    ChangedFile,
    /// Publishes that it has one piece, tells that it has all, and refuses each.
    FalseHave,
    /// Publishes that it has one piece, tells that it has all, refuses every other one and sends the others
    /// as they are.
    HalfPart,
    /// Publishes that it has one piece, tells that it has all, and sends other bytes than those of each.
    WrongPart,
    /// Has the first half of the pieces, as it says. Its piece list merges, but the MD5s in it are wrong.
    ForgedMd5OfPart,
    /// Publishes that it has one piece, tells that it has all, and sends each, but withholds its piece list.
    WithheldList,
    /// Publishes that it has one piece, and answers a question for its pieces with bytes that are no frame.
    /// Otherwise honest.
    GarbledHave,
    /// Publishes that it has one piece, and answers a question for its pieces with a set of one piece too
    /// many. Otherwise honest.
    LongHave,
    /// Publishes that it has one piece, and does not answer a question for its pieces. Otherwise honest.
    SilentHave,
}

impl Behaviour {
    /// True if it publishes a part of the file only.
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

/// What it serves, read by the threads that serve it.
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
    /// Questions for which pieces it has.
    pub have_requests: AtomicU64,
    /// Pieces sent whole, right or wrong.
    pub sent_pieces: AtomicU64,
    nonce: Mutex<Option<Nonce>>,
    stopped: Mutex<bool>,
    stop: Condvar,
}

impl Deeds {
    pub fn nonce(&self) -> Option<Nonce> {
        *self.nonce.lock()
    }

    /// Waits for the end of the peer, at most for `at_most`; true at the end.
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
    /// As long as it is open, the tracker takes this peer for alive.
    control: Client,
    connections: Arc<Mutex<Vec<TcpStream>>>,
    accepting: Option<JoinHandle<()>>,
}

impl EvilPeer {
    /// Registers at `tracker` as a holder of `bytes` under `name`, load 0. Offered when this returns.
    pub fn start(tracker: SocketAddr, name: &str, bytes: &[u8], behaviour: Behaviour) -> EvilPeer {
        let md5 = match behaviour {
            Behaviour::FalseWholeMd5 => Md5Digest([0x66; 16]),
            _ => content::md5_of(bytes),
        };
        EvilPeer::start_claiming(tracker, name, bytes, behaviour, md5)
    }

    /// [`EvilPeer::start`] with this as the MD5 that it publishes.
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
            holding: match behaviour.has_part() {
                true => Holding::Pieces(1),
                false => Holding::Full,
            },
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

    /// How often a manifest or a piece was asked of it.
    pub fn requests(&self) -> u64 {
        self.deeds.requests.load(Ordering::SeqCst)
    }

    /// Waits until a manifest or a piece was asked of it.
    ///
    /// # Panics
    /// If none is by the deadline.
    pub fn wait_requested(&self) {
        let until = Instant::now() + super::DEADLINE;
        while self.requests() == 0 {
            assert!(Instant::now() < until, "never asked");
            std::thread::yield_now();
        }
    }

    /// How often it was asked which pieces it has.
    pub fn have_requests(&self) -> u64 {
        self.deeds.have_requests.load(Ordering::SeqCst)
    }

    /// How many pieces it has sent whole, right or wrong; not counted for those that cut, stall, or lie about
    /// lengths.
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

/// Opens a control connection and returns the nonce that the listener must show.
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
        // The lock orders this against drop: a connection is either seen and shut down there, or not served
        // here.
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

/// Registers a file whose name is no file name, with bytes that no honest encoder makes. Returns the
/// connection, and what the tracker answered, if it did before closing.
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
    // An honest entry in the same page: a refusal is of the whole.
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
