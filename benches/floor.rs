//! Tools for `scripts/compare`: the floor, which is the least cost of moving a file over loopback, and a
//! relay that observes a source from outside.
//!
//! - `serve FILE`: listens, sends the file to every connection by sendfile, a thread each. Serves until it is
//!   killed.
//! - `fetch ADDR FILE BYTES`: reads that many bytes from there and writes them to a new file, 1 MiB at a
//!   time.
//! - `relay ADDR`: passes connections on to the listener of a nearpeer node, for use as its `--advertise`
//!   address. Prints `open` for each connection, `piece UNIX_US` when its first byte of a piece has been
//!   passed on, and `end BYTES` when it is over, with the bytes of pieces that were passed on.
//!
//! `serve` and `relay` first print their listening address. Nothing here checks the bytes: verification,
//! protocol and durability are measured against this floor. `cargo bench` does not run this program, because
//! it measures nothing alone.

#![allow(clippy::print_stdout, reason = "a script reads standard output")]

use std::env;
use std::error::Error;
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use nearpeer::proto::peer::PeerReply;
use nearpeer::proto::{Decoder, decode};
use rustix::fs::sendfile;

const BUFFER_BYTES: usize = 1 << 20;
const USAGE: &str = "serve FILE | fetch ADDR FILE BYTES | relay ADDR";

type Outcome = Result<(), Box<dyn Error + Send + Sync>>;

fn main() -> Outcome {
    let args: Vec<String> = env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["serve", file] => serve(file.into()),
        ["fetch", addr, file, bytes] => fetch(addr.parse()?, file.into(), bytes.parse()?),
        ["relay", addr] => relay(addr.parse()?),
        _ => Err(format!("arguments: {USAGE}").into()),
    }
}

/// Listens on a free port, prints the address, and runs `serve_one` in a thread for each connection.
fn listen(serve_one: impl Fn(TcpStream) -> Outcome + Send + Sync + 'static) -> Outcome {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    println!("{}", listener.local_addr()?);
    let serve_one = Arc::new(serve_one);
    for connection in listener.incoming() {
        let (connection, serve_one) = (connection?, Arc::clone(&serve_one));
        thread::spawn(move || serve_one(connection).unwrap_or_else(|error| println!("failed: {error}")));
    }
    Ok(())
}

fn serve(path: PathBuf) -> Outcome {
    listen(move |connection| {
        let file = File::open(&path)?;
        let len_bytes = file.metadata()?.len();
        let mut offset = 0;
        while offset < len_bytes {
            let left = usize::try_from(len_bytes - offset)?;
            if sendfile(&connection, &file, Some(&mut offset), left)? == 0 {
                return Err("the file has become shorter".into());
            }
        }
        Ok(())
    })
}

fn fetch(addr: SocketAddr, path: PathBuf, len_bytes: u64) -> Outcome {
    let mut connection = TcpStream::connect(addr)?;
    let mut file = File::create_new(path)?;
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut left = len_bytes;
    while left > 0 {
        let count = connection.read(&mut buffer)?;
        if count == 0 {
            return Err(format!("{left} bytes are missing").into());
        }
        file.write_all(&buffer[..count])?;
        left = left.checked_sub(count as u64).ok_or("more bytes than there should be")?;
    }
    Ok(())
}

fn relay(source: SocketAddr) -> Outcome {
    listen(move |requester| {
        let source = TcpStream::connect(source)?;
        for stream in [&requester, &source] {
            stream.set_nodelay(true)?;
        }
        println!("open");
        let (mut requests, mut to_source) = (requester.try_clone()?, source.try_clone()?);
        let upwards = thread::spawn(move || {
            let ended = io::copy(&mut requests, &mut to_source);
            // The source must see the end of the connection, after an error too.
            let _gone_already = to_source.shutdown(Shutdown::Write);
            ended
        });
        let mut pieces = Pieces::default();
        let ended = replies(&source, &requester, &mut pieces);
        for stream in [&requester, &source] {
            let _gone_already = stream.shutdown(Shutdown::Both);
        }
        // The way a connection ends does not matter: a killed requester resets it.
        let _ends = (ended, upwards.join());
        println!("end {}", pieces.passed_bytes);
        Ok(())
    })
}

/// Forwards the bytes of the source until either end closes.
fn replies(mut source: &TcpStream, mut requester: &TcpStream, pieces: &mut Pieces) -> Outcome {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let count = source.read(&mut buffer)?;
        if count == 0 {
            return Ok(requester.shutdown(Shutdown::Write)?);
        }
        requester.write_all(&buffer[..count])?;
        let had_none = pieces.passed_bytes == 0;
        pieces.see(&buffer[..count])?;
        if had_none && pieces.passed_bytes > 0 {
            println!("piece {}", SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros());
        }
    }
}

/// Separates bytes of pieces from the frames between them.
#[derive(Debug, Default)]
struct Pieces {
    stream: Decoder,
    /// Bytes of the current piece that have not arrived yet.
    left_bytes: usize,
    passed_bytes: u64,
}

impl Pieces {
    fn see(&mut self, bytes: &[u8]) -> Outcome {
        self.stream.push(bytes);
        let mut raw = [0; 64 << 10];
        loop {
            while self.left_bytes > 0 {
                let want = raw.len().min(self.left_bytes);
                let count = self.stream.take_raw(&mut raw[..want]);
                if count == 0 {
                    return Ok(());
                }
                self.left_bytes -= count;
                self.passed_bytes += count as u64;
            }
            match self.stream.next()? {
                None => return Ok(()),
                Some(body) => {
                    if let PeerReply::Piece { len_bytes, .. } = decode(body)? {
                        self.left_bytes = usize::try_from(len_bytes)?;
                    }
                }
            }
        }
    }
}
