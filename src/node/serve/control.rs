//! The service of the control front: replies about identity, load, manifests and available pieces. It reads
//! them from memory, so that they never wait for an upload.
//!
//! The first request for the bytes of a piece moves its connection to an upload front.

use std::net::SocketAddr;
use std::sync::Arc;

use super::upload;
use crate::net::{Closed, ConnActions, ConnId, NextRead, Service};
use crate::node::state::NodeState;
use crate::proto::peer::{PeerRefusal, PeerReply, PeerRequest};
use crate::proto::{Decoder, FrameError, decode};
use crate::rt::Post;
use crate::types::{ContentKey, Manifest, PieceSet};

/// Replies to requests that need no file.
#[derive(Debug)]
pub(crate) struct Control {
    pub(crate) state: Arc<NodeState>,
    /// The mailboxes of the upload fronts.
    pub(crate) upload_fronts: Vec<Post<upload::Event>>,
    /// The upload front for the next connection.
    pub(crate) next_upload_front: usize,
}

impl Control {
    /// One reply with the part of the manifest that begins at `first_piece`.
    fn manifest_page(&self, content: &ContentKey, first_piece: u32) -> PeerReply {
        let partial = self.state.partials.lock().manifest(content);
        let Some(manifest) = self.shared_manifest(content).or(partial) else {
            return PeerReply::Refused(PeerRefusal::NotShared);
        };
        let pieces = manifest.pieces();
        match pieces.get(first_piece as usize..) {
            Some(rest) if !rest.is_empty() => {
                let page = rest[..rest.len().min(PeerReply::MANIFEST_PAGE_PIECES)].to_vec();
                PeerReply::Manifest { first_piece, pieces: page }
            }
            _ => PeerReply::Refused(PeerRefusal::NoSuchPiece),
        }
    }

    /// The reply that says which pieces of the content this node has.
    fn have(&self, content: &ContentKey) -> PeerReply {
        let partial = self.state.partials.lock().pieces(content);
        let all = self.shared_manifest(content).map(|manifest| PieceSet::all(manifest.pieces().len() as u32));
        all.or(partial).map_or(PeerReply::Refused(PeerRefusal::NotShared), |has| PeerReply::have(&has))
    }

    /// The manifest of a shared file. Read it after the manifest of the partial file: a download that ends
    /// adds its file to the catalog first and removes the partial file then. The other order could find
    /// neither.
    fn shared_manifest(&self, content: &ContentKey) -> Option<Arc<Manifest>> {
        self.state.catalog.read().by_content(content).map(|file| Arc::clone(&file.manifest))
    }

    fn move_to_upload_front(&mut self, id: ConnId, body: &[u8], actions: &mut ConnActions<()>) {
        let front = self.upload_fronts[self.next_upload_front].clone();
        self.next_upload_front = (self.next_upload_front + 1) % self.upload_fronts.len();
        let body = body.to_vec();
        // If the mailbox is full the connection is closed, and the requester uses another source.
        actions.hand_over(id, move |parts| drop(front.send(upload::Event::Moved { parts, body })));
    }
}

impl Service for Control {
    type Session = ();
    type Event = ();
    type Decoder = Decoder;

    fn accepted(&mut self, _peer: SocketAddr, _local: SocketAddr) {}

    fn message(
        &mut self,
        id: ConnId,
        _session: &mut (),
        body: &[u8],
        actions: &mut ConnActions<()>,
    ) -> NextRead {
        let reply = match decode(body) {
            Ok(PeerRequest::Identify) => {
                PeerReply::Identity { node: self.state.node, nonce: *self.state.nonce.lock() }
            }
            Ok(PeerRequest::Load { asker, content }) => {
                let load = self.state.load_counter.lock();
                let yours = content.map_or(0, |content| load.yours(asker, content));
                PeerReply::Load { node: self.state.node, load: load.load(), yours }
            }
            Ok(PeerRequest::Manifest { content, first_piece }) => self.manifest_page(&content, first_piece),
            Ok(PeerRequest::Have { content }) => self.have(&content),
            Ok(PeerRequest::Piece { .. }) => {
                self.move_to_upload_front(id, body, actions);
                return NextRead::Next;
            }
            Err(error) => {
                actions.send(id, PeerReply::malformed(&error.to_string()).framed());
                return NextRead::Close;
            }
        };
        actions.send(id, reply.framed());
        NextRead::Next
    }

    fn malformed_reply(&mut self, error: &FrameError) -> Option<Vec<u8>> {
        Some(PeerReply::malformed(&error.to_string()).framed())
    }

    fn event(&mut self, _event: (), _actions: &mut ConnActions<()>) {}

    fn sent(&mut self, _id: ConnId, _session: &mut (), _tag: u64, _actions: &mut ConnActions<()>) {}

    fn closed(&mut self, _id: ConnId, _session: (), _why: &Closed, _actions: &mut ConnActions<()>) {}
}
