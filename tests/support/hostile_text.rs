//! Hostile text: control codes, faked lines and invisible characters; programs that send it; and a check that
//! no output contains it.

use std::io::Read;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::Mutex;

use nearpeer::proto::tracker::{ReplyBody, TrackerRefusal, TrackerReply, TrackerRequest};
use nearpeer::proto::{Decoder, decode, frame};
use nearpeer::types::printable::is_unsafe;
use nearpeer::types::{Epoch, FileName, Nonce};

use super::content::noise;

/// Clears the screen, sets title and clipboard, sets colours by C1 codes, deletes, fakes a line, reverses
/// text direction, hides text.
pub const HOSTILE: &str = "\u{1b}[2J\u{1b}]0;owned\u{7}\u{1b}]52;c;b3duZWQ=\u{7}\u{9b}31m\u{90}q\u{8}\u{8}\r\nready: 99 files\n\
                           \u{202e}live\u{2066}\u{2028}\u{200b}\u{e0041}\0\u{7f}end";

/// File names that a share may have and that would deceive if printed without escapes.
pub const NAMES: [&str; 5] =
    ["x\u{202e}gpj.exe", "zero\u{200b}width", "soft\u{ad}hyphen", "tag\u{e0041}ged", "back\\slash"];

/// File names that the protocol does not allow.
pub const REFUSED_NAMES: [&[u8]; 6] = [
    b"esc\x1b]0;owned\x07",
    b"line\nready: 99 files",
    b"c1\xc2\x9b31m",
    b"back\x08\x08space",
    b"return\rready: 99 files",
    b"no-utf8\xff\xfe",
];

/// Forbidden parts of an output: bytes that are not UTF-8, control characters except line feeds, characters
/// that hide or reverse text, and lines that begin with a faked start.
pub fn faults(bytes: &[u8]) -> Vec<String> {
    let Ok(text) = std::str::from_utf8(bytes) else { return vec!["no UTF-8".to_owned()] };
    let odd = text.chars().filter(|c| *c != '\n' && is_unsafe(*c)).map(|c| format!("{c:?}"));
    let fakes = text
        .lines()
        .filter(|line| line.trim_start_matches(['>', ' ']).starts_with("ready: 99"))
        .map(str::to_owned);
    odd.chain(fakes).collect()
}

/// A tracker that greets and registers correctly, and answers all other requests with [`HOSTILE`].
#[derive(Debug)]
pub struct EvilTracker {
    pub addr: SocketAddr,
    /// `None` when the tracker must end.
    connections: Arc<Mutex<Option<Vec<TcpStream>>>>,
    accepting: Option<JoinHandle<()>>,
}

impl EvilTracker {
    pub fn start() -> EvilTracker {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let addr = listener.local_addr().expect("it is bound");
        let connections = Arc::new(Mutex::new(Some(Vec::new())));
        let open = Arc::clone(&connections);
        let accepting = Some(std::thread::spawn(move || accept(&listener, &open)));
        EvilTracker { addr, connections, accepting }
    }
}

impl Drop for EvilTracker {
    fn drop(&mut self) {
        for connection in self.connections.lock().take().into_iter().flatten() {
            let _closed_already = connection.shutdown(Shutdown::Both);
        }
        let _woken = TcpStream::connect(self.addr);
        if let Some(accepting) = self.accepting.take() {
            let _panicked = accepting.join();
        }
    }
}

fn accept(listener: &TcpListener, open: &Mutex<Option<Vec<TcpStream>>>) {
    let mut serving = Vec::new();
    for stream in listener.incoming() {
        let mut open = open.lock();
        let (Some(open), Ok(stream)) = (open.as_mut(), stream) else { break };
        open.extend(stream.try_clone());
        serving.push(std::thread::spawn(move || serve(stream)));
    }
    for thread in serving {
        let _panicked = thread.join();
    }
}

fn serve(mut stream: TcpStream) {
    use std::io::Write;
    let (mut decoder, mut buffer) = (Decoder::new(), [0; 16 << 10]);
    loop {
        while let Ok(Some(body)) = decoder.next() {
            let Ok(request) = decode::<TrackerRequest>(body) else { return };
            if stream.write_all(&answer(&request)).is_err() {
                return;
            }
        }
        match stream.read(&mut buffer) {
            Ok(len @ 1..) => decoder.push(&buffer[..len]),
            _ => return,
        }
    }
}

fn answer(request: &TrackerRequest) -> Vec<u8> {
    let said = || HOSTILE.to_owned();
    let body = match request {
        TrackerRequest::Hello(_) => ReplyBody::Welcome { nonce: Nonce(7) },
        TrackerRequest::Register { last: true, .. } => ReplyBody::Registered { unproved: Some(said()) },
        TrackerRequest::Register { last: false, .. } | TrackerRequest::Update { last: false, .. } => {
            ReplyBody::Staged
        }
        TrackerRequest::Update { last: true, .. } => ReplyBody::Updated,
        TrackerRequest::Heartbeat { .. } => ReplyBody::Alive,
        TrackerRequest::Leave => ReplyBody::Left,
        TrackerRequest::Describe { .. } => ReplyBody::Described,
        TrackerRequest::ListNodes { .. } => ReplyBody::Refused(TrackerRefusal::Malformed(said())),
        TrackerRequest::ListFiles { .. } => return lying_names(),
        _ => ReplyBody::Refused(TrackerRefusal::Limit(said())),
    };
    frame(&TrackerReply { epoch: Epoch(1), body }).expect("it fits")
}

/// A list with an invalid name, as no honest encoder writes it.
fn lying_names() -> Vec<u8> {
    let lie = b"\x1b]0;owned\x07\nready: 99 files";
    let honest = "Q".repeat(lie.len());
    let names = vec![FileName::new(&honest).expect("a name")];
    let reply = TrackerReply { epoch: Epoch(1), body: ReplyBody::Files { names, more: false } };
    let mut bytes = frame(&reply).expect("it fits");
    let at = bytes
        .windows(lie.len())
        .position(|window| window == honest.as_bytes())
        .expect("it stands there as it is");
    bytes[at..at + lie.len()].copy_from_slice(lie);
    bytes
}

/// Bytes of a file that is fetched from a hostile peer: a few pieces.
pub fn some_pieces() -> Vec<u8> {
    noise(41, (2 << 20) + 17)
}
