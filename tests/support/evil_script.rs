//! The answers of an `EvilPeer` on one connection, for every `Behaviour`.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::Ordering;
use std::time::Duration;

use nearpeer::proto::frame::MAGIC;
use nearpeer::proto::peer::{PeerRefusal, PeerReply, PeerRequest};
use nearpeer::proto::{Decoder, decode, frame};
use nearpeer::types::{Geometry, Md5Digest, PieceDigests, PieceSet};

use super::content;
use super::evil::{Behaviour, Deeds};
use super::hostile_text::HOSTILE;

/// Serves one connection until the other end closes it, the peer ends or its behaviour closes it.
pub fn serve(mut stream: TcpStream, deeds: &Deeds) {
    converse(&mut stream, deeds);
    // The peer keeps a handle of the connection, which would hold it open.
    let _closed_already = stream.shutdown(Shutdown::Both);
}

fn converse(stream: &mut TcpStream, deeds: &Deeds) {
    let mut decoder = Decoder::new();
    let mut buffer = [0; 16 << 10];
    loop {
        loop {
            let Ok(next) = decoder.next() else { return };
            let Some(body) = next else { break };
            let Ok(request) = decode::<PeerRequest>(body) else { return };
            match answer(stream, deeds, &request) {
                Ok(true) => {}
                Ok(false) | Err(_) => return,
            }
        }
        match stream.read(&mut buffer) {
            Ok(len @ 1..) => decoder.push(&buffer[..len]),
            _ => return,
        }
    }
}

fn reply(stream: &mut TcpStream, reply: &PeerReply) -> io::Result<()> {
    stream.write_all(&frame(reply).expect("replies of tests fit a frame"))
}

/// Answers one request. Returns false to close the connection.
fn answer(stream: &mut TcpStream, deeds: &Deeds, request: &PeerRequest) -> io::Result<bool> {
    match request {
        PeerRequest::Identify => {
            reply(stream, &PeerReply::Identity { node: deeds.node, nonce: deeds.nonce() })?
        }
        PeerRequest::Load { .. } => {
            let load = deeds.load.load(Ordering::SeqCst);
            reply(stream, &PeerReply::Load { node: deeds.node, load, yours: 0 })?;
        }
        PeerRequest::Manifest { first_piece, .. } => {
            deeds.requests.fetch_add(1, Ordering::SeqCst);
            return manifest(stream, deeds, *first_piece);
        }
        PeerRequest::Have { .. } => return have(stream, deeds),
        PeerRequest::Piece { piece, .. } => {
            deeds.requests.fetch_add(1, Ordering::SeqCst);
            return send_piece(stream, deeds, *piece);
        }
    }
    Ok(true)
}

fn have(stream: &mut TcpStream, deeds: &Deeds) -> io::Result<bool> {
    deeds.have_requests.fetch_add(1, Ordering::SeqCst);
    let count = deeds.pieces.len() as u32;
    let pieces = match deeds.behaviour {
        Behaviour::GarbledHave => return stream.write_all(&content::noise(7, 512)).map(|()| true),
        Behaviour::SilentHave => return be_silent(deeds),
        Behaviour::LongHave => PieceSet::all(count + 1),
        Behaviour::ForgedMd5OfPart => {
            let mut half = PieceSet::none(count);
            (0..count / 2).for_each(|piece| half.set(piece, true));
            half
        }
        _ => PieceSet::all(count),
    };
    reply(stream, &PeerReply::have(&pieces)).map(|()| true)
}

fn hostile_refusal() -> PeerReply {
    PeerReply::Refused(PeerRefusal::Unreadable(HOSTILE.to_owned()))
}

fn be_silent(deeds: &Deeds) -> io::Result<bool> {
    while !deeds.wait_stopped(Duration::from_secs(3600)) {}
    Ok(false)
}

fn huge_frame(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(&[&MAGIC[..], &u32::MAX.to_le_bytes(), &[0; 64]].concat())
}

fn manifest(stream: &mut TcpStream, deeds: &Deeds, first_piece: u32) -> io::Result<bool> {
    let mut pieces: Vec<PieceDigests> = deeds.pieces.iter().skip(first_piece as usize).copied().collect();
    match deeds.behaviour {
        Behaviour::Silent => return be_silent(deeds),
        Behaviour::HostileText => return reply(stream, &hostile_refusal()).map(|()| true),
        Behaviour::HugeFrame => return huge_frame(stream).map(|()| true),
        Behaviour::Garbage => return stream.write_all(&content::noise(7, 512)).map(|()| true),
        Behaviour::ChangedFile => {
            return reply(stream, &PeerReply::Refused(PeerRefusal::Changed)).map(|()| true);
        }
        Behaviour::WithheldList => {
            return reply(stream, &PeerReply::Refused(PeerRefusal::NotShared)).map(|()| true);
        }
        Behaviour::ForgedManifest => {
            if let Some(piece) = pieces.last_mut() {
                piece.subtree[0] ^= 1;
            }
        }
        Behaviour::ShortManifest => {
            pieces.pop();
        }
        Behaviour::ForgedMd5InManifest | Behaviour::ForgedMd5OfPart => {
            for piece in &mut pieces {
                piece.md5 = Md5Digest([0x55; 16]);
            }
        }
        _ => {}
    }
    reply(stream, &PeerReply::Manifest { first_piece, pieces }).map(|()| true)
}

fn send_piece(stream: &mut TcpStream, deeds: &Deeds, piece: u32) -> io::Result<bool> {
    let Some(range) = Geometry::of(deeds.key.size_bytes).range(piece) else {
        reply(stream, &PeerReply::Refused(PeerRefusal::NoSuchPiece))?;
        return Ok(true);
    };
    let bytes = &deeds.bytes[range.start as usize..range.end as usize];
    let len = bytes.len() as u32;
    let header = |len_bytes| PeerReply::Piece { piece, len_bytes };
    match deeds.behaviour {
        Behaviour::Silent => return be_silent(deeds),
        Behaviour::HostileText => reply(stream, &hostile_refusal())?,
        Behaviour::HugeFrame => huge_frame(stream)?,
        Behaviour::Garbage => stream.write_all(&content::noise(7, 512))?,
        Behaviour::ChangedFile => reply(stream, &PeerReply::Refused(PeerRefusal::Changed))?,
        Behaviour::HalfPart if piece % 2 == 1 => {
            reply(stream, &PeerReply::Refused(PeerRefusal::NoSuchPiece))?
        }
        Behaviour::FalseHave => reply(stream, &PeerReply::Refused(PeerRefusal::NoSuchPiece))?,
        Behaviour::ClosesEarly => {
            reply(stream, &header(len))?;
            stream.write_all(&bytes[..bytes.len() / 2])?;
            return Ok(false);
        }
        Behaviour::Stalls => {
            reply(stream, &header(len))?;
            stream.write_all(&bytes[..bytes.len() / 2])?;
            while !deeds.wait_stopped(Duration::from_secs(3600)) {}
            return Ok(false);
        }
        Behaviour::Trickles => {
            reply(stream, &header(len))?;
            for byte in bytes {
                stream.write_all(&[*byte])?;
                if deeds.wait_stopped(Duration::from_millis(200)) {
                    return Ok(false);
                }
            }
        }
        Behaviour::WrongBytes | Behaviour::WrongPart => {
            reply(stream, &header(len))?;
            let wrong: Vec<u8> = bytes.iter().map(|byte| byte ^ 0x20).collect();
            stream.write_all(&wrong)?;
            deeds.sent_pieces.fetch_add(1, Ordering::SeqCst);
        }
        Behaviour::SometimesWrongBytes => {
            reply(stream, &header(len))?;
            let is_wrong = deeds.sent_pieces.load(Ordering::SeqCst) % 20 == 3;
            let sent: Vec<u8> = bytes.iter().map(|byte| if is_wrong { byte ^ 0x20 } else { *byte }).collect();
            stream.write_all(&sent)?;
            deeds.sent_pieces.fetch_add(1, Ordering::SeqCst);
        }
        Behaviour::ClaimsMore => {
            reply(stream, &header(len + 1))?;
            stream.write_all(&[bytes, b"!"].concat())?;
        }
        Behaviour::ClaimsLess => {
            reply(stream, &header(len - 1))?;
            stream.write_all(&bytes[..bytes.len() - 1])?;
        }
        Behaviour::SendsMore => {
            reply(stream, &header(len))?;
            stream.write_all(&[bytes, &[b'!'; 100]].concat())?;
        }
        Behaviour::AnotherPiece => {
            reply(stream, &PeerReply::Piece { piece: piece + 1, len_bytes: len })?;
            stream.write_all(bytes)?;
        }
        Behaviour::Honest
        | Behaviour::HalfPart
        | Behaviour::ForgedManifest
        | Behaviour::ShortManifest
        | Behaviour::ForgedMd5InManifest
        | Behaviour::ForgedMd5OfPart
        | Behaviour::WithheldList
        | Behaviour::GarbledHave
        | Behaviour::LongHave
        | Behaviour::SilentHave
        | Behaviour::FalseWholeMd5 => {
            reply(stream, &header(len))?;
            stream.write_all(bytes)?;
            deeds.sent_pieces.fetch_add(1, Ordering::SeqCst);
        }
    }
    Ok(true)
}
