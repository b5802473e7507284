//! The service of an upload front: sends pieces of shared files and of partial files, straight from the page
//! cache.
//!
//! A connection has one transfer at a time. The transfer counts as load while a requested piece is not sent
//! completely. A shared file is opened once for a transfer, and sent only while it is unchanged since it was
//! hashed. A partial file is looked up for each piece.

use std::fs::File;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::reader::ShareReader;
use crate::logic::load::Requester;
use crate::net::{Closed, ConnActions, ConnId, DetachedConn, NextRead, Service};
use crate::node::index::catalog::SharedFile;
use crate::node::state::NodeState;
use crate::proto::peer::{PeerRefusal, PeerReply, PeerRequest};
use crate::proto::{Decoder, FrameError, decode};
use crate::types::{ContentKey, Geometry, NodeId, limits};

/// An event in the mailbox of an upload front.
#[derive(Debug)]
pub(crate) enum Event {
    /// A connection from the control front, with its first request for a piece.
    Moved { parts: DetachedConn, body: Vec<u8> },
}

/// Sends pieces of files. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Upload {
    pub(crate) state: Arc<NodeState>,
    pub(crate) reader: ShareReader,
}

/// State of an upload connection.
#[derive(Debug, Default)]
pub(crate) struct Session {
    transfer: Option<Transfer>,
}

/// The upload of one content to one requester.
#[derive(Debug)]
struct Transfer {
    requester: NodeId,
    content: ContentKey,
    /// The catalog's entry of `file`; `None`: `file` is a partial file.
    shared: Option<Arc<SharedFile>>,
    file: Arc<File>,
    /// Number of requested pieces that are not sent yet. While it is not 0 the transfer counts as load.
    outstanding: usize,
}

impl Upload {
    /// Ensures that the session's transfer is of `content` for `requester`, and that its file is open, is
    /// unchanged and has `piece`.
    fn ensure_transfer<'a>(
        &self,
        session: &'a mut Session,
        (requester, content, piece): (NodeId, ContentKey, u32),
    ) -> Result<&'a mut Transfer, PeerRefusal> {
        if let Some(current) = &session.transfer
            && (current.requester, current.content) != (requester, content)
        {
            if current.outstanding > 0 {
                return Err(PeerRefusal::Busy);
            }
            session.transfer = None;
        }
        // A partial file is looked up each time, as it gains pieces and becomes a shared file.
        let open_before = session.transfer.as_ref().and_then(|transfer| {
            Some((Some(Arc::clone(transfer.shared.as_ref()?)), Arc::clone(&transfer.file)))
        });
        let opened = open_before.map_or_else(|| self.open(&content, piece), Ok);
        let refusal = match opened {
            Ok((shared, file)) => match self.check(shared.as_deref(), &file) {
                Ok(()) => {
                    let outstanding = session.transfer.take().map_or(0, |transfer| transfer.outstanding);
                    let transfer = Transfer { requester, content, shared, file, outstanding };
                    return Ok(session.transfer.insert(transfer));
                }
                Err(refusal) => refusal,
            },
            Err(refusal) => refusal,
        };
        // A transfer with unsent pieces still counts as load. Any other is dropped, so that the next request
        // looks the content up again.
        session.transfer = session.transfer.take().filter(|transfer| transfer.outstanding > 0);
        Err(refusal)
    }

    /// Opens the shared file with this content, else its partial file if that has the piece.
    fn open(
        &self,
        content: &ContentKey,
        piece: u32,
    ) -> Result<(Option<Arc<SharedFile>>, Arc<File>), PeerRefusal> {
        // In this order: a download that ends adds its file to the catalog first and removes the partial file
        // then. The other order could find neither.
        let partial = self.state.partials.lock().file(content, piece);
        let shared = self.state.catalog.read().by_content(content).cloned();
        match (shared, partial) {
            (Some(shared), _) => {
                let file = self.reader.open(&shared)?;
                Ok((Some(shared), Arc::new(file)))
            }
            (None, Some((file, true))) => Ok((None, file)),
            (None, Some((_, false))) => Err(PeerRefusal::NoSuchPiece),
            (None, None) => Err(PeerRefusal::NotShared),
        }
    }

    /// Checks that a shared file is unchanged. A partial file needs no check, see `partials.rs`.
    fn check(&self, shared: Option<&SharedFile>, file: &File) -> Result<(), PeerRefusal> {
        shared.map_or(Ok(()), |shared| self.reader.check(shared, file))
    }

    /// Queues the reply to a request for a piece.
    fn send_piece(
        &self,
        id: ConnId,
        session: &mut Session,
        (requester, content, piece): (NodeId, ContentKey, u32),
        actions: &mut ConnActions<Session>,
    ) -> Result<(), PeerRefusal> {
        let transfer = self.ensure_transfer(session, (requester, content, piece))?;
        let range = Geometry::of(content.size_bytes).range(piece).ok_or(PeerRefusal::NoSuchPiece)?;
        if transfer.outstanding >= limits::PIECE_REQUESTS_MAX {
            return Err(PeerRefusal::Busy);
        }
        if transfer.outstanding == 0 {
            self.state.load_counter.lock().upload_began(Requester::Node(requester), content);
        }
        transfer.outstanding += 1;
        let len_bytes = (range.end - range.start) as u32;
        actions.send(id, PeerReply::Piece { piece, len_bytes }.framed());
        actions.send_file(id, Arc::clone(&transfer.file), range, u64::from(piece));
        Ok(())
    }
}

impl Service for Upload {
    type Session = Session;
    type Event = Event;
    type Decoder = Decoder;

    fn accepted(&mut self, _peer: SocketAddr, _local: SocketAddr) -> Session {
        Session::default()
    }

    fn message(
        &mut self,
        id: ConnId,
        session: &mut Session,
        body: &[u8],
        actions: &mut ConnActions<Session>,
    ) -> NextRead {
        let request = match decode(body) {
            Ok(PeerRequest::Piece { asker: requester, content, piece }) => (requester, content, piece),
            Ok(_) => {
                let why = "this connection is for pieces: use another one for other requests";
                actions.send(id, PeerReply::malformed(why).framed());
                return NextRead::Close;
            }
            Err(error) => {
                actions.send(id, PeerReply::malformed(&error.to_string()).framed());
                return NextRead::Close;
            }
        };
        if let Err(why) = self.send_piece(id, session, request, actions) {
            actions.send(id, PeerReply::Refused(why).framed());
        }
        NextRead::Next
    }

    fn malformed_reply(&mut self, error: &FrameError) -> Option<Vec<u8>> {
        Some(PeerReply::malformed(&error.to_string()).framed())
    }

    fn event(&mut self, event: Event, actions: &mut ConnActions<Session>) {
        let Event::Moved { parts, body } = event;
        actions.adopt(parts, Session::default(), body);
    }

    fn sent(&mut self, _id: ConnId, session: &mut Session, tag: u64, _actions: &mut ConnActions<Session>) {
        let Some(transfer) = &mut session.transfer else { return };
        let piece = u32::try_from(tag).ok();
        if let Some(range) = piece.and_then(|piece| Geometry::of(transfer.content.size_bytes).range(piece)) {
            self.state.sent_bytes.fetch_add(range.end - range.start, Ordering::Relaxed);
        }
        transfer.outstanding -= 1;
        if transfer.outstanding == 0 {
            self.state
                .load_counter
                .lock()
                .upload_ended(Requester::Node(transfer.requester), transfer.content);
            if transfer.shared.is_none() {
                // An open partial file would keep its space on the disk after it is removed. It is looked up
                // for each piece anyway.
                session.transfer = None;
            }
        }
    }

    fn closed(&mut self, _id: ConnId, session: Session, _why: &Closed, _actions: &mut ConnActions<Session>) {
        if let Some(transfer) = session.transfer.filter(|transfer| transfer.outstanding > 0) {
            self.state
                .load_counter
                .lock()
                .upload_ended(Requester::Node(transfer.requester), transfer.content);
        }
    }
}
